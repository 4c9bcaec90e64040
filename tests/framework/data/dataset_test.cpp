#include "retort/framework/data/dataset.hpp"

#include <boost/test/unit_test.hpp>

#include "retort/framework/base/error.hpp"
#include "tests_support.hpp"

using namespace retort;
using retort::tests::thrown_text;

namespace {

using Integers = std::vector<std::int64_t>;

// Rows 0 … n-1: the inputs [n, 2] are (10 i, 10 i + 1), the targets i.
Dataset numbered(std::int64_t n, DType dtype = DType::float32) {
  const Tensor inputs = empty({n, 2}, DType::int64);
  for (std::int64_t i = 0; i < 2 * n; ++i) inputs.mutable_data<std::int64_t>()[i] = 10 * (i / 2) + i % 2;
  return Dataset(inputs.to(dtype), arange(n));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(dataset)

BOOST_AUTO_TEST_CASE(inputs_and_targets_share_their_values) {
  const Tensor inputs = ones({3, 2}).set_requires_grad();
  const Dataset data(inputs, arange(3));
  BOOST_TEST(data.size() == 3);
  BOOST_TEST(data.inputs().data<float>().data() == inputs.data<float>().data());
  BOOST_TEST(!data.inputs().requires_grad());
  BOOST_TEST(Dataset().size() == 0);
  BOOST_TEST(Dataset().empty());
}

BOOST_AUTO_TEST_CASE(first_dimensions_must_be_equal) {
  const std::string text = thrown_text<ShapeError>([] { Dataset(ones({3, 2}), ones({2})); });
  BOOST_TEST(text.find("(3, 2)") != std::string::npos);
  BOOST_TEST(text.find("(2)") != std::string::npos);
  BOOST_CHECK_THROW(Dataset(ones({}), ones({})), ShapeError);
}

BOOST_AUTO_TEST_CASE(rows_come_in_the_order_asked_for) {
  for (const DType dtype : {DType::float32, DType::float64, DType::int64}) {
    const Batch batch = numbered(5, dtype).rows(Integers{3, 4, 0, 0, 2});
    BOOST_TEST((batch.input.dtype() == dtype));
    BOOST_TEST(batch.input.shape() == (Shape{5, 2}));
    BOOST_TEST(batch.input.values<int>() == (std::vector<int>{30, 31, 40, 41, 0, 1, 0, 1, 20, 21}),
               boost::test_tools::per_element());
    BOOST_TEST(batch.target.values<std::int64_t>() == (Integers{3, 4, 0, 0, 2}),
               boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(parts_are_datasets) {
  const Dataset data = numbered(5);
  const Dataset part = data.slice(1, 4);
  BOOST_TEST(part.size() == 3);
  BOOST_TEST(part.targets().values<std::int64_t>() == (Integers{1, 2, 3}), boost::test_tools::per_element());
  BOOST_TEST(part.inputs().values<int>() == (std::vector<int>{10, 11, 20, 21, 30, 31}),
             boost::test_tools::per_element());
  BOOST_TEST(data.subset({4, 1}).targets().values<std::int64_t>() == (Integers{4, 1}),
             boost::test_tools::per_element());
  BOOST_TEST(data.subset({}).inputs().shape() == (Shape{0, 2}));
  BOOST_TEST(data.slice(5, 5).size() == 0);
  BOOST_TEST(Dataset().slice(0, 0).size() == 0);
}

BOOST_AUTO_TEST_CASE(rows_that_are_not_there_are_named) {
  const Dataset data = numbered(5);
  BOOST_TEST(thrown_text<IndexError>([&] {
               data.subset({1, 5});
             }) == "Dataset: row 5 is out of range [0, 5)");
  BOOST_CHECK_THROW(data.subset({-1}), IndexError);
  BOOST_CHECK_THROW(data.slice(-1, 2), IndexError);
  BOOST_CHECK_THROW(data.slice(3, 2), IndexError);
  BOOST_CHECK_THROW(data.slice(3, 6), IndexError);
  BOOST_CHECK_THROW(Dataset().subset({0}), IndexError);
}

BOOST_AUTO_TEST_CASE(rows_may_be_of_any_rank_or_hold_nothing) {
  const Dataset images(ones({3, 2, 2, 2}), zeros({3, 4}));
  BOOST_TEST(images.rows(Integers{2}).input.shape() == (Shape{1, 2, 2, 2}));
  const Dataset none(ones({3, 0}), zeros({3}));
  BOOST_TEST(none.rows(Integers{2, 1}).input.shape() == (Shape{2, 0}));
}

BOOST_AUTO_TEST_SUITE_END()
