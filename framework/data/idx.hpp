// IDX files, the format of MNIST and Fashion-MNIST.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/data/dataset.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Reads an IDX file, plain or gzip (detected by content). Unsigned bytes with two or more dimensions are
/// images: float32 in [0, 1], value / 255. Unsigned bytes with one dimension are labels: int64. Signed
/// integers become int64; float and double are kept. Uses at most 64 MB plus 16 times the size of a plain
/// file, or for a compressed file 64 MB plus 4 times the stated size.
/// Throws: IoError naming file and cause if the file is missing, truncated, not an IDX file, has trailing
/// bytes, an unknown element type, no dimensions or more than 8, or is compressed and has more than 10
/// million labels.
Tensor load_idx(const std::string& path);
/// As load_idx, from memory; errors use `name` as the file name.
Tensor parse_idx(std::span<const std::byte> bytes, std::string_view name = "memory");

/// Loads the training and the test set from a folder with the four files train-images-idx3-ubyte,
/// train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each plain or with .gz, also
/// spelled train-images.idx3-ubyte etc. Inputs are float32 [N, rows·columns] in [0, 1], targets int64 [N].
/// Throws: IoError if a file is missing or invalid, or the numbers of images and labels differ.
std::pair<Dataset, Dataset> load_idx_pair(const std::string& folder);

}  // namespace retort
