#include "retort/framework/kernels/broadcast.hpp"

#include "kernel_test.hpp"

BOOST_AUTO_TEST_SUITE(kernels_broadcast)

using retort::kernels::Broadcast;
using retort::kernels::RowWalk;

namespace {

/// Where the walk finds an operand's element for each element of the result.
std::vector<std::int64_t> offsets(const Broadcast& plan, bool of_a) {
  std::vector<std::int64_t> found;
  if (plan.size == 0) return found;
  const std::int64_t n = plan.extents[plan.rank - 1];
  const std::int64_t step = (of_a ? plan.a_strides : plan.b_strides)[plan.rank - 1];
  RowWalk walk(plan, 0);
  for (std::int64_t row = 0; row < plan.size / n; ++row, walk.next()) {
    const RowWalk there(plan, row);
    BOOST_TEST(there.a == walk.a);
    BOOST_TEST(there.b == walk.b);
    for (std::int64_t i = 0; i < n; ++i) found.push_back((of_a ? walk.a : walk.b) + i * step);
  }
  return found;
}

/// The same from NumPy's rule.
std::vector<std::int64_t> by_rule(const std::vector<std::int64_t>& operand,
                                  const std::vector<std::int64_t>& result) {
  std::int64_t size = 1;
  for (std::int64_t extent : result) size *= extent;
  std::vector<std::int64_t> found;
  for (std::int64_t i = 0; i < size; ++i) {
    std::int64_t rest = i, at = 0, stride = 1;
    for (std::size_t d = 0; d < result.size(); ++d) {
      const std::int64_t index = rest % result[result.size() - 1 - d];
      rest /= result[result.size() - 1 - d];
      if (d >= operand.size()) continue;
      const std::int64_t extent = operand[operand.size() - 1 - d];
      if (extent != 1) at += index * stride;
      stride *= extent;
    }
    found.push_back(at);
  }
  return found;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_walk_finds_what_the_rule_says) {
  std::mt19937 generator(5);
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::int64_t> result(generator() % 6);
    for (auto& extent : result) extent = 1 + generator() % 4;
    if (round % 31 == 0 && !result.empty()) result.front() = 0;
    const auto operand = [&](bool whole) {
      std::vector<std::int64_t> extents(result.begin() + (whole ? 0 : generator() % (result.size() + 1)),
                                        result.end());
      for (auto& extent : extents)
        if (!whole && generator() % 2) extent = 1;
      return extents;
    };
    const auto a = operand(round % 2 == 0), b = operand(round % 2 == 1);
    const Broadcast plan =
        retort::kernels::broadcast(a.data(), static_cast<int>(a.size()), b.data(), static_cast<int>(b.size()),
                                   result.data(), static_cast<int>(result.size()));
    BOOST_TEST(offsets(plan, true) == by_rule(a, result), boost::test_tools::per_element());
    BOOST_TEST(offsets(plan, false) == by_rule(b, result), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(what_can_be_walked_as_one_is) {
  const std::int64_t a[] = {4, 1, 3, 5}, row[] = {5}, block[] = {3, 5}, one[] = {1, 1};
  const auto rank = [&](const std::int64_t* b, int b_rank) {
    return retort::kernels::broadcast(a, 4, b, b_rank, a, 4).rank;
  };
  BOOST_TEST(rank(a, 4) == 1);
  BOOST_TEST(rank(one, 2) == 1);
  BOOST_TEST(rank(row, 1) == 2);
  BOOST_TEST(rank(block, 2) == 2);
}

BOOST_AUTO_TEST_SUITE_END()
