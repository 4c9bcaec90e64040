#include "distill/run/data.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <retort/framework/base/error.hpp>
#include <retort/framework/base/random.hpp>
#include <retort/framework/data/idx.hpp>
#include <span>

namespace distill {

using retort::IoError;
using retort::message;
using retort::Tensor;

Data load_data(const std::string& folder) {
  Data data;
  std::tie(data.train, data.test) = retort::load_idx_pair(folder);
  if (data.train.empty() || data.test.empty())
    throw IoError(message("{}: holds {} training and {} test images; both are needed", folder,
                          data.train.size(), data.test.size()));
  data.pixels = data.train.inputs().size(1);
  if (data.pixels == 0 || data.test.inputs().size(1) != data.pixels)
    throw IoError(message("{}: training images have {} pixels, test images {}; they must be equal", folder,
                          data.pixels, data.test.inputs().size(1)));
  const auto train_labels = data.train.targets().data<std::int64_t>();
  const auto test_labels = data.test.targets().data<std::int64_t>();
  const auto [least, most] = std::minmax_element(train_labels.begin(), train_labels.end());
  data.classes = *most + 1;
  if (*least < 0 || data.classes < 2)
    throw IoError(message("{}: the training labels go from {} to {}; at least the classes 0 and 1 are needed",
                          folder, *least, *most));
  const auto [test_least, test_most] = std::minmax_element(test_labels.begin(), test_labels.end());
  if (*test_least < 0 || *test_most >= data.classes)
    throw IoError(message("{}: the test labels go from {} to {}, but the training labels end at {}", folder,
                          *test_least, *test_most, data.classes - 1));
  return data;
}

Data hold_out(const Data& data, std::int64_t count) {
  if (count == 0) return data;
  if (count >= data.train.size())
    throw retort::ValueError(message("--held-out is {}, but the training set has {}{}", count,
                                     data.train.size(), data.train.size() == 1 ? " image" : " images"));
  std::vector<std::int64_t> rows = shuffled(data.train.size(), 0);
  const auto middle = rows.begin() + count;
  std::sort(rows.begin(), middle);
  std::sort(middle, rows.end());
  return {data.train.subset({middle, rows.end()}), data.train.subset({rows.begin(), middle}), data.pixels,
          data.classes, "held-out training"};
}

std::string checksum_of(const retort::Dataset& data) {
  const auto images = std::as_bytes(data.inputs().data<float>());
  const auto labels = std::as_bytes(data.targets().data<std::int64_t>());
  uLong sum = 0;
  for (const auto bytes : {images, labels})
    sum = ::crc32_z(sum, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "crc32:%08lx", sum);
  return text.data();
}

void require_images(const Data& data, std::int64_t student_images, std::int64_t held_out) {
  const std::int64_t available = data.train.size() - held_out;
  if (student_images > available)
    throw retort::ValueError(message("--student-images is {}, but the training set has {} images{}{}",
                                     student_images, data.train.size(), held_out > 0 ? ", of which " : "",
                                     held_out > 0 ? message("{} are held out", held_out) : ""));
}

void require_classes(const Data& data, std::int64_t top_k) {
  if (top_k > data.classes)
    throw retort::ValueError(message("--top-k is {}, but the data has {} classes", top_k, data.classes));
}

std::vector<std::int64_t> shuffled(std::int64_t n, std::uint64_t seed) {
  retort::Generator generator(seed);
  generator.set_position(std::uint64_t{1} << 60);  // far beyond the draws of initialisation and dropout
  return retort::random_permutation(n, generator);
}

retort::Dataset with_answers(const retort::Dataset& images, const Tensor& logits) {
  return {{"input", images.inputs()}, {"target", images.targets()}, {"teacher", logits}};
}

retort::Dataset with_answers(const retort::Dataset& images, const retort::SparseTeacher& answers) {
  return {{"input", images.inputs()},
          {"target", images.targets()},
          {"indices", answers.indices},
          {"log_probs", answers.log_probs},
          {"log_tail", answers.log_tail}};
}

retort::Dataset draw(const retort::Dataset& all, std::int64_t count, std::uint64_t seed) {
  if (count == all.size()) return all;
  std::vector<std::int64_t> rows = shuffled(all.size(), seed);
  rows.resize(count);
  return all.subset(rows);
}

}  // namespace distill
