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
  const auto [least, most] = std::ranges::minmax(data.train.targets().data<std::int64_t>());
  data.classes = most + 1;
  if (least < 0 || data.classes < 2)
    throw IoError(message("{}: the training labels go from {} to {}; at least the classes 0 and 1 are needed",
                          folder, least, most));
  const auto [test_least, test_most] = std::ranges::minmax(data.test.targets().data<std::int64_t>());
  if (test_least < 0 || test_most >= data.classes)
    throw IoError(message("{}: the test labels go from {} to {}, but the training labels end at {}", folder,
                          test_least, test_most, data.classes - 1));
  return data;
}

Data hold_out(const Data& data, std::int64_t count) {
  if (count == 0) return data;
  if (count >= data.train.size())
    throw retort::ValueError(
        message("--held-out is {}, but the training set has {} images", count, data.train.size()));
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
