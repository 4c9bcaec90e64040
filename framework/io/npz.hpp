// Named arrays in NumPy's .npz files.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "retort/framework/core/state_dict.hpp"

namespace [[RETORT_EXPORT]] retort {

struct NpzOptions {
  bool compress = false;  ///< deflate the arrays, as numpy.savez_compressed does
};

/// Writes the named tensors as a .npz file, readable by numpy.load, completely or not at all. Equal arguments
/// give the same bytes.
/// Throws: ValueError if a tensor is undefined, a name is empty, longer than 65,000 bytes or contains NUL, or
/// there are more than 16,384 tensors; IoError if the file cannot be written.
void save_npz(const std::string& path, const StateDict& tensors, const NpzOptions& options = {});

/// Reads all arrays of a .npz file, stored or deflated, in the order of the file; element types as in
/// load_npy. Entries whose names do not end in ".npy" are skipped. At most 16,384 entries. Memory for a
/// deflated array is allocated only after its data is known to exist.
/// Throws: IoError naming the file, the entry and the cause; also if a checksum is wrong.
StateDict load_npz(const std::string& path);
/// Reads only the arrays with the given names; other entries are not checked.
StateDict load_npz(const std::string& path, const std::vector<std::string>& names);
/// As load_npz, from memory; errors use `name` as the file name.
StateDict parse_npz(std::span<const std::byte> bytes, std::string_view name = "memory");

}  // namespace retort
