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
  bool compress = false;  ///< deflates the arrays, as numpy.savez_compressed does
};

/// Writes the tensors under their names as a .npz file, which numpy.load reads; as a whole or not at all. The
/// same arguments give the same bytes.
/// Throws: ValueError for an undefined tensor, an empty name, one of more than 65,000 bytes, or more than
/// 16,384 tensors; IoError when the file cannot be written.
void save_npz(const std::string& path, const StateDict& tensors, const NpzOptions& options = {});

/// Reads all arrays of a .npz file, stored or deflated, in the order of the file; element types are those of
/// load_npy. Entries whose names do not end in ".npy" are left out. At most 16,384 entries. Memory for a
/// deflated array is taken only once its data is known to be there.
/// Throws: IoError that names the file, the entry and the cause, also for a wrong checksum.
StateDict load_npz(const std::string& path);
/// Reads the arrays of those names only, whatever the other entries hold.
StateDict load_npz(const std::string& path, const std::vector<std::string>& names);
/// The same from memory; messages give `name` as the file.
StateDict parse_npz(std::span<const std::byte> bytes, std::string_view name = "memory");

}  // namespace retort
