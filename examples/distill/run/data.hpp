// The images, and the selection of a student's images.
#pragma once

#include <cstdint>
#include <retort/framework/data/dataset.hpp>
#include <retort/losses/sparse_distillation_loss.hpp>
#include <string>
#include <vector>

namespace distill {

struct Data {
  retort::Dataset train = {};  ///< images [N, pixels] in [0, 1], labels int64 [N]
  retort::Dataset test = {};
  std::int64_t pixels = 0;
  std::int64_t classes = 0;     ///< one more than the largest label
  std::string judges = "test";  ///< kind of the images in `test`
};

/// Reads MNIST's four IDX files from a folder.
/// Throws: IoError naming the cause if a file is missing, broken or empty, if training and test images differ
/// in size, if there are fewer than two classes, or if a label is out of range.
Data load_data(const std::string& folder);

/// The data with `count` of its training images in place of the test images; unchanged for 0. The images are
/// chosen at random, but always the same.
/// Throws: ValueError if no training image would be left.
Data hold_out(const Data& data, std::int64_t count);

/// A checksum of the images (float32) followed by the labels (int64): "crc32:" and eight digits.
std::string checksum_of(const retort::Dataset& data);

/// The images and labels with a teacher's answers in further columns: "teacher", its logits [n, classes], or
/// those of a SparseTeacher, "indices", "log_probs" and "log_tail".
retort::Dataset with_answers(const retort::Dataset& images, const retort::Tensor& logits);
retort::Dataset with_answers(const retort::Dataset& images, const retort::SparseTeacher& answers);

/// `count` of the examples, drawn at random with the seed.
retort::Dataset draw(const retort::Dataset& all, std::int64_t count, std::uint64_t seed);

/// 0 … n-1 in a random order that depends on the seed. It uses other random numbers than the initial weights
/// of a network with this seed.
std::vector<std::int64_t> shuffled(std::int64_t n, std::uint64_t seed);

}  // namespace distill
