// The images, and which of them a student sees.
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

/// Reads a folder of MNIST's four IDX files. IoError that names file and cause when one is missing, broken or
/// empty, when training and test images differ in size, or when there are no two classes.
Data load_data(const std::string& folder);

/// The data with `count` of its training images, chosen at random but always the same, in place of the test
/// images. Throws: ValueError if no training image would be left.
Data hold_out(const Data& data, std::int64_t count);

/// A checksum: "crc32:" and eight digits, of the images' bytes (float32) followed by the labels'
/// (int64).
std::string checksum_of(const retort::Dataset& data);

/// The examples of one student.
struct Examples {
  retort::Tensor images = {};  ///< [n, pixels]
  retort::Tensor labels = {};  ///< int64 [n]
  retort::Tensor teacher_logits =
      {};                             ///< [n, classes]; not used, and perhaps undefined, if `sparse` is given
  retort::SparseTeacher sparse = {};  ///< indices undefined: none
};

/// ValueError when the training set cannot give a student `student_images`, in addition to those that are
/// held out.
void require_images(const Data& data, std::int64_t student_images, std::int64_t held_out);

/// ValueError when the data has fewer than `top_k` classes.
void require_classes(const Data& data, std::int64_t top_k);

/// `count` of the examples, drawn by the seed.
Examples draw(const Examples& all, std::int64_t count, std::uint64_t seed);

/// The answers at `rows`, int64 [n].
retort::SparseTeacher rows_of(const retort::SparseTeacher& teacher, const retort::Tensor& rows);

/// The examples at `rows`.
Examples pick(const Examples& all, const std::vector<std::int64_t>& rows);

/// 0 … n-1 in an order that the seed decides, from other random numbers than a network's first weights.
std::vector<std::int64_t> shuffled(std::int64_t n, std::uint64_t seed);

}  // namespace distill
