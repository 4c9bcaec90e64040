// Arrays in NumPy's .npy files.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "retort/framework/core/tensor.hpp"

namespace retort {

/// Writes the values as a .npy file of version 1.0 (little-endian, C order), as a whole or not at all.
/// ValueError for an undefined tensor, IoError when it cannot be written.
void save_npy(const std::string& path, const Tensor& tensor);

/// Reads a .npy file of version 1, 2 or 3 that holds little-endian float32, float64 or int64 in C order.
/// IoError that names file and cause for everything else: another element type or order, a header that is no
/// such dictionary, more than 8 dimensions, data that is not as long as its shape says.
Tensor load_npy(const std::string& path);
/// The same from memory; `name` stands for the file in messages.
Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name = "memory");

}  // namespace retort
