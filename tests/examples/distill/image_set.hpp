// A small set of images in MNIST's four files.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "framework/io/files.hpp"

namespace retort::tests {

/// An IDX file of unsigned bytes.
inline void write_idx(const std::string& path, const std::vector<std::uint32_t>& extents,
                      const std::string& bytes) {
  std::string text = {0, 0, 8, static_cast<char>(extents.size())};
  for (const std::uint32_t extent : extents)
    for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(extent >> shift & 0xFF);
  write_file(path, text + bytes);
}

/// Noisy images of 6 × 6 pixels: class k of three is bright in its own two rows.
inline void write_images(const std::string& folder, const std::string& stem, std::uint32_t count,
                         unsigned seed) {
  std::minstd_rand random(seed);
  std::string pixels, labels;
  for (std::uint32_t i = 0; i < count; ++i) {
    labels += static_cast<char>(i % 3);
    for (std::uint32_t pixel = 0; pixel < 36; ++pixel)
      pixels += static_cast<char>(random() % 160 + (pixel / 12 == i % 3 ? 60 : 0));
  }
  write_idx(folder + "/" + stem + "-images-idx3-ubyte", {count, 6, 6}, pixels);
  write_idx(folder + "/" + stem + "-labels-idx1-ubyte", {count}, labels);
}

/// MNIST's four files, small: 300 images to train with and 150 to test.
inline void write_image_set(const std::string& folder) {
  write_images(folder, "train", 300, 1);
  write_images(folder, "t10k", 150, 2);
}

}  // namespace retort::tests
