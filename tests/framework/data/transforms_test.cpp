#include "retort/framework/data/transforms.hpp"

#include <boost/test/unit_test.hpp>
#include <set>
#include <utility>

#include "retort/framework/base/error.hpp"
#include "tests_support.hpp"

using namespace retort;
using retort::tests::thrown_text;

namespace {

using Moves = std::set<std::pair<std::int64_t, std::int64_t>>;

// Values 1, 2, … of that shape.
Tensor counted(const Shape& shape, DType dtype = DType::float32) {
  const Tensor values = empty(shape, DType::int64);
  std::int64_t next = 1;
  for (std::int64_t& value : values.mutable_data<std::int64_t>()) value = next++;
  return values.to(dtype);
}

// All ways to move `planes` planes of `before` together, by at most `most`, that give `after`.
Moves explain(std::span<const double> before, std::span<const double> after, std::int64_t planes,
              std::int64_t rows, std::int64_t columns, std::int64_t most) {
  Moves moves;
  for (std::int64_t down = -most; down <= most; ++down) {
    for (std::int64_t right = -most; right <= most; ++right) {
      bool same = true;
      for (std::int64_t i = 0; i < planes * rows * columns; ++i) {
        const std::int64_t plane = i / (rows * columns);
        const std::int64_t row = i / columns % rows - down;
        const std::int64_t column = i % columns - right;
        const bool inside = row >= 0 && row < rows && column >= 0 && column < columns;
        same = same && after[i] == (inside ? before[(plane * rows + row) * columns + column] : 0);
      }
      if (same) moves.insert({down, right});
    }
  }
  return moves;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(transforms)

BOOST_AUTO_TEST_CASE(images_are_moved_by_whole_pixels_and_filled_with_zeros) {
  struct Case {
    Shape shape;
    std::int64_t planes, rows, columns;
  };
  for (const Case& one :
       {Case{{200, 25}, 1, 5, 5}, Case{{200, 4, 7}, 1, 4, 7}, Case{{200, 3, 4, 5}, 3, 4, 5}}) {
    for (const DType dtype : {DType::float32, DType::float64, DType::int64}) {
      const Tensor images = counted(one.shape, dtype);
      const Tensor labels = arange(200);
      Generator generator(5);
      const Batch moved = random_shift(2)({images, labels}, generator);
      BOOST_TEST((moved.input.dtype() == dtype));
      BOOST_TEST(moved.input.shape() == one.shape);
      BOOST_TEST(retort::detail::Access::same(moved.target, labels));
      const std::vector<double> before = images.values<double>();
      const std::vector<double> after = moved.input.values<double>();
      const std::size_t size = before.size() / 200;
      Moves seen;
      for (std::size_t i = 0; i < 200; ++i) {
        const Moves moves =
            explain(std::span(before).subspan(i * size, size), std::span(after).subspan(i * size, size),
                    one.planes, one.rows, one.columns, 2);
        BOOST_REQUIRE(moves.size() == 1U);
        seen.insert(*moves.begin());
      }
      BOOST_TEST(seen.size() == 25U);  // 200 draws miss one of 25 moves once in 140 seeds
    }
  }
}

BOOST_AUTO_TEST_CASE(far_moves_leave_nothing_and_none_everything) {
  const Tensor images = counted({50, 2, 3});
  Generator generator(1);
  BOOST_TEST(random_shift(0)({images, {}}, generator).input.values<float>() == images.values<float>(),
             boost::test_tools::per_element());
  std::int64_t empty_images = 0;
  const Tensor far = random_shift(1'000'000'000'000)({images, {}}, generator).input;
  for (const float value : far.data<float>()) empty_images += value == 0;
  BOOST_TEST(empty_images == 300);
  BOOST_TEST(random_shift(3)({zeros({0, 4}), {}}, generator).input.shape() == (Shape{0, 4}));
}

BOOST_AUTO_TEST_CASE(what_are_no_images_is_refused) {
  BOOST_CHECK_THROW(random_shift(-1), ValueError);
  Generator generator(1);
  BOOST_TEST(thrown_text<ShapeError>([&] {
               random_shift(1)({zeros({2, 12}), {}}, generator);
             }).find("(2, 12)") != std::string::npos);
  BOOST_CHECK_THROW(random_shift(1)({zeros({4}), {}}, generator), ShapeError);
}

BOOST_AUTO_TEST_CASE(draws_depend_on_the_row_and_not_on_its_batch) {
  const Tensor images = counted({30, 1, 4, 4});
  const BatchTransform all =
      compose(random_crop(1), random_horizontal_flip(), random_horizontal_flip(), cutout(2));
  Generator generator(1);
  std::vector<std::int64_t> rows(30);
  for (std::int64_t i = 0; i < 30; ++i) rows[static_cast<std::size_t>(i)] = 29 - i;
  const Dataset data(images, arange(30));
  Batch reversed = data.rows(rows);
  reversed.rows = rows;
  reversed.key = 7;
  Batch some = data.slice(10, 20).rows(std::vector<std::int64_t>{0, 1, 2, 3, 4});
  some.rows = {10, 11, 12, 13, 14};
  some.key = 7;
  const Tensor whole = all(reversed, generator).input;
  const Tensor part = all(some, generator).input;
  for (std::int64_t i = 0; i < 5; ++i)
    BOOST_TEST(slice(part, 0, i, i + 1).values<float>() == slice(whole, 0, 19 - i, 20 - i).values<float>(),
               boost::test_tools::per_element());
  some.key = 8;
  BOOST_TEST(all(some, generator).input.values<float>() != part.values<float>());
}

BOOST_AUTO_TEST_CASE(flips_and_cut_squares) {
  Generator generator(1);
  const Tensor images = counted({400, 2, 3});
  BOOST_TEST(
      random_horizontal_flip(0)({images, {}}, generator).input.values<float>() == images.values<float>(),
      boost::test_tools::per_element());
  const Tensor flipped = random_horizontal_flip(1)({images, {}}, generator).input;
  BOOST_TEST(slice(flipped, 0, 0, 1).values<float>() == (std::vector<float>{3, 2, 1, 6, 5, 4}),
             boost::test_tools::per_element());
  const Tensor some = random_horizontal_flip(0.25)({images, {}}, generator).input;
  std::int64_t changed = 0;
  for (std::int64_t i = 0; i < 400; ++i) changed += some.data<float>()[i * 6] != images.data<float>()[i * 6];
  BOOST_TEST(changed > 70);
  BOOST_TEST(changed < 130);
  BOOST_CHECK_THROW(random_horizontal_flip(1.5), ValueError);

  std::set<std::int64_t> sizes;
  const Tensor cut = cutout(2)({counted({300, 4, 4}), {}}, generator).input;
  for (std::int64_t i = 0; i < 300; ++i) {
    std::int64_t zero = 0;
    for (std::int64_t k = 0; k < 16; ++k) zero += cut.data<float>()[i * 16 + k] == 0;
    sizes.insert(zero);
  }
  BOOST_TEST((sizes == std::set<std::int64_t>{1, 2, 4}));
  for (const float value : cutout(1'000'000'000'000)({images, {}}, generator).input.values<float>())
    BOOST_REQUIRE(value >= 0);
  BOOST_CHECK_THROW(cutout(-1), ValueError);
}

BOOST_AUTO_TEST_CASE(channels_are_normalized) {
  Generator generator(1);
  const Tensor images = counted({2, 2, 1, 2});
  const Batch each = normalize({1, 2}, {2, 0.5})({images, {}}, generator);
  BOOST_TEST(each.input.values<float>() == (std::vector<float>{0, 0.5, 2, 4, 2, 2.5, 10, 12}),
             boost::test_tools::per_element());
  BOOST_TEST(normalize(1, 2)({images, {}}, generator).input.values<float>()[7] == 3.5F);
  BOOST_TEST(normalize(1, 2)({zeros({0, 3}), {}}, generator).input.size() == 0);
  BOOST_CHECK_THROW(normalize(0, 0), ValueError);
  BOOST_CHECK_THROW(normalize({1, 2, 3}, {1, 1, 1})({images, {}}, generator), ShapeError);
  BOOST_CHECK_THROW(normalize(0, 1)({arange(3), {}}, generator), TypeError);
}

BOOST_AUTO_TEST_CASE(mixup_mixes_each_row_with_another) {
  for (const double alpha : {0.2, 1.0, 3.0}) {
    manual_seed(1);
    const Tensor x = counted({500, 1}, DType::float64);
    const Batch mixed = mixup({x, arange(500), {{"id", arange(500)}}}, alpha);
    const std::vector<double> lambda = mixed["lambda"].values<double>();
    const auto other = mixed["target_b"].data<std::int64_t>();
    double mean = 0, square = 0;
    for (std::size_t i = 0; i < 500; ++i) {
      BOOST_TEST(static_cast<std::size_t>(other[i]) != i);
      BOOST_TEST(mixed.input.data<double>()[i] ==
                     lambda[i] * x.data<double>()[i] +
                         (1 - lambda[i]) * x.data<double>()[static_cast<std::size_t>(other[i])],
                 boost::test_tools::tolerance(1e-12));
      mean += lambda[i] / 500;
      square += lambda[i] * lambda[i] / 500;
    }
    BOOST_TEST(mean == 0.5, boost::test_tools::tolerance(0.12));
    BOOST_TEST(square - mean * mean == 0.25 / (2 * alpha + 1), boost::test_tools::tolerance(0.15));
    BOOST_TEST(std::set<std::int64_t>(other.begin(), other.end()).size() == 500U);
  }
  const Batch soft = mixup({ones({4, 2}), one_hot(arange(4), 4).to(DType::float32)}, 0.5);
  BOOST_TEST(sum(soft.target).item<float>() == 4, boost::test_tools::tolerance(1e-6F));
  BOOST_TEST(soft.others.empty());
  BOOST_TEST(mixup({counted({3, 1}), {}}, 0).input.values<float>() == (std::vector<float>{1, 2, 3}),
             boost::test_tools::per_element());
  BOOST_CHECK_THROW(mixup({arange(3), arange(3)}, 1), TypeError);
  BOOST_CHECK_THROW(mixup({ones({3}), arange(3)}, -1), ValueError);
  BOOST_TEST(mixup({ones({0, 3}), arange(0)}, 1).input.size() == 0);
}

BOOST_AUTO_TEST_SUITE_END()
