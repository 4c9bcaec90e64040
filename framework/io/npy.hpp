// Arrays in NumPy's .npy files.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Writes the values as a .npy file of version 1.0 (little-endian, C order), as a whole or not at all.
/// Throws: ValueError for an undefined tensor, IoError when it cannot be written.
void save_npy(const std::string& path, const Tensor& tensor);

/// Reads a .npy file of version 1, 2 or 3, of either byte order, in C or Fortran order. float32, float64 and
/// int64 stay; float16 becomes float32; bool, int8 to int32 and uint8 to uint32 become int64.
/// Throws: IoError that names file and cause for other element types, a malformed header, more than 8
/// dimensions, and data that is not as long as its shape requires.
Tensor load_npy(const std::string& path);
/// The same from memory; messages give `name` as the file.
Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name = "memory");

}  // namespace retort
