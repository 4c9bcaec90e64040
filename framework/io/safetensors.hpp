// The safetensors format, which Python reads and writes.
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

/// Pairs of strings stored in a safetensors file in addition to its tensors, in order.
using Metadata = std::vector<std::pair<std::string, std::string>>;

/// The storage format of floating-point tensors: unchanged, or rounded (to nearest, ties to even) to 16 bits.
/// In float16, values beyond 65504 become infinite; bfloat16 has float32's range and 8 bits of precision.
enum class FloatStorage : std::uint8_t { as_is, float16, bfloat16 };

/// The storage format of int64 tensors: unchanged, or 32 bits.
enum class IntegerStorage : std::uint8_t { as_is, int32 };

struct SafetensorsOptions {
  FloatStorage floats = FloatStorage::as_is;        ///< storage of float32 and float64 tensors
  IntegerStorage integers = IntegerStorage::as_is;  ///< storage of int64 tensors
};

/// Writes the named tensors, completely or not at all (see AtomicFile). Equal arguments give the same bytes.
/// Eight-byte elements precede others in the data, so that everything is aligned; the header keeps the order
/// of `tensors`.
/// Throws: ValueError if a tensor is undefined, a name is not UTF-8 or is "__metadata__", a metadata key is
/// given twice, there are more than 16,384 tensors, or an integer does not fit into int32 storage; IoError if
/// writing fails.
void save_safetensors(const std::string& path, const StateDict& tensors, const Metadata& metadata = {},
                      const SafetensorsOptions& options = {});

/// Reads all tensors, in the order of the header: F32 as float32, F64 as float64, I64 as int64; F16 and BF16
/// become float32; the other integer types up to 32 bits and BOOL become int64. Entries of other types are
/// skipped. `metadata`, if given, receives the metadata. At most 16,384 entries. Allocation is bounded by the
/// file's length.
/// Throws: IoError naming file and entry if the file is invalid: a header that is not the format's JSON, an
/// unknown type, a name that is given twice, or data that overlap, have gaps or do not match shape and type.
StateDict load_safetensors(const std::string& path, Metadata* metadata = nullptr);
/// Reads only the tensors with the given names.
/// Throws: IoError; also if a name is not in the file or its type is not supported.
StateDict load_safetensors(const std::string& path, const std::vector<std::string>& names);
/// As load_safetensors, from memory; errors use `name` as the file name.
StateDict parse_safetensors(std::span<const std::byte> bytes, Metadata* metadata = nullptr,
                            std::string_view name = "memory");

/// Reads only the metadata, from the header.
Metadata load_safetensors_metadata(const std::string& path);

/// The header's description of a tensor, of any type.
struct SafetensorsEntry {
  std::string name = {};
  std::string dtype = {};  ///< as stored: "F32", "F64", "F16", "BF16", "I64", …
  Shape shape = {};
};
/// Reads the entries of a file from its header.
std::vector<SafetensorsEntry> safetensors_entries(const std::string& path);

namespace detail {
template <class T>
concept RangeOfPairs = requires(const T& range) {
  range.begin()->first;
  range.end()->second;
};
}  // namespace detail

/// As above, for other maps, such as std::map<std::string, Tensor>.
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
