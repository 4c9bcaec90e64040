// Weights in files that Python reads and writes: the safetensors format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "retort/framework/core/state_dict.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Free-form pairs of strings that a safetensors file carries in addition to its tensors, in order.
using Metadata = std::vector<std::pair<std::string, std::string>>;

/// How floating-point tensors are stored: as they are, or rounded (to nearest, ties to even) to 16 bits.
/// In float16 values beyond 65504 become infinite; bfloat16 has float32's range and 8 bits of precision.
enum class FloatStorage : std::uint8_t { as_is, float16, bfloat16 };

/// How int64 tensors are stored: as they are, or in 32 bits.
enum class IntegerStorage : std::uint8_t { as_is, int32 };

struct SafetensorsOptions {
  FloatStorage floats = FloatStorage::as_is;        ///< of float32 and float64 tensors
  IntegerStorage integers = IntegerStorage::as_is;  ///< of int64 tensors
};

/// Writes the tensors under their names, so that the file is there as a whole or not at all (see AtomicFile).
/// The same arguments give the same bytes. Eight-byte elements come first in the data, so that everything is
/// aligned; the header keeps the order of `tensors`.
/// Throws: ValueError for an undefined tensor, a name that is not UTF-8 or is "__metadata__", a metadata key
/// given twice, more than 16,384 tensors, or an integer beyond 32 bits that is to be stored in them; IoError
/// when writing fails.
void save_safetensors(const std::string& path, const StateDict& tensors, const Metadata& metadata = {},
                      const SafetensorsOptions& options = {});

/// Reads all tensors, in the order of the header: F32 as float32, F64 as float64, I64 as int64; F16 and BF16
/// become float32, the other integer types up to 32 bits and BOOL int64. Entries of other types are left
/// out. `metadata`, when given, receives the metadata. At most 16,384 entries. No more is allocated than the
/// file's own length accounts for.
/// Throws: IoError that names file and entry for anything that is not a valid file; safetensors.cpp lists
/// the checks.
StateDict load_safetensors(const std::string& path, Metadata* metadata = nullptr);
/// Reads the tensors of those names only.
/// Throws: IoError, also for a name that is not in the file or whose type is not supported.
StateDict load_safetensors(const std::string& path, const std::vector<std::string>& names);
/// The same from memory; messages give `name` as the file.
StateDict parse_safetensors(std::span<const std::byte> bytes, Metadata* metadata = nullptr,
                            std::string_view name = "memory");

/// The metadata, from the header only.
Metadata load_safetensors_metadata(const std::string& path);

/// The header's description of one tensor, of any type.
struct SafetensorsEntry {
  std::string name = {};
  std::string dtype = {};  ///< as stored: "F32", "F64", "F16", "BF16", "I64", …
  Shape shape = {};
};
/// The entries of a file, from its header only.
std::vector<SafetensorsEntry> safetensors_entries(const std::string& path);

namespace detail {
template <class T>
concept RangeOfPairs = requires(const T& range) {
  range.begin()->first;
  range.end()->second;
};
}  // namespace detail

/// The same as above for other maps, such as std::map<std::string, Tensor>.
template <class Tensors = StateDict, class Strings = Metadata>
  requires detail::RangeOfPairs<Tensors> && detail::RangeOfPairs<Strings> &&
           (!std::is_same_v<Tensors, StateDict> || !std::is_same_v<Strings, Metadata>)
void save_safetensors(const std::string& path, const Tensors& tensors, const Strings& metadata = {},
                      const SafetensorsOptions& options = {}) {
  StateDict entries;
  for (const auto& [name, tensor] : tensors) entries[name] = tensor;
  save_safetensors(path, entries, Metadata(metadata.begin(), metadata.end()), options);
}

}  // namespace retort
