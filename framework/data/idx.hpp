// The IDX files of MNIST, Fashion-MNIST and their kin.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/data/dataset.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Reads an IDX file, plain or gzip (decided by content). Unsigned bytes of two or more dimensions are
/// images: float32 in [0, 1], value / 255. Unsigned bytes of one dimension are labels: int64. Signed integers
/// become int64; float and double stay. IoError that names file and cause: missing, truncated, trailing
/// bytes, no IDX file, an unknown element type, no or more than 8 dimensions, or, compressed, more than 10
/// million labels: no more than 64 MB and 16 times the file are taken, of a compressed one 64 MB and 4 times
/// what it states.
Tensor load_idx(const std::string& path);
/// The same from memory; messages give `name` as the file.
Tensor parse_idx(std::span<const std::byte> bytes, std::string_view name = "memory");

/// Loads the training and the test set of a folder that holds the four files train-images-idx3-ubyte,
/// train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each plain or with .gz, also
/// spelled train-images.idx3-ubyte and so on. Inputs are float32 [N, rows·columns] in [0, 1], targets int64
/// [N]. IoError when a file is missing or broken, or images and labels differ in number.
std::pair<Dataset, Dataset> load_idx_pair(const std::string& folder);

}  // namespace retort
