// Arrays in NumPy's .npy files.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Writes the values as a .npy file of version 1.0 (little-endian, C order), completely or not at all.
/// Throws: ValueError if the tensor is undefined; IoError if the file cannot be written.
void save_npy(const std::string& path, const Tensor& tensor);

/// Reads a .npy file of version 1, 2 or 3, of either byte order, in C or Fortran order. float32, float64 and
/// int64 are kept; float16 becomes float32; bool, int8 to int32 and uint8 to uint32 become int64.
/// Throws: IoError naming file and cause if the element type is not supported, the header is malformed, there
/// are more than 8 dimensions, or the length of the data does not match the shape.
Tensor load_npy(const std::string& path);
/// As load_npy, from memory; errors use `name` as the file name.
Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name = "memory");

}  // namespace retort
