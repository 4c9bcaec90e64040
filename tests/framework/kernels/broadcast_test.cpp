#include "retort/framework/kernels/broadcast.hpp"

#include "kernel_test.hpp"

BOOST_AUTO_TEST_SUITE(kernels_broadcast)

using retort::Shape;
using retort::kernels::Broadcast;
using retort::kernels::RowWalk;

namespace {

/// The offset of an operand's element for each element of the result, by BroadcastLayout.
template <int N>
std::vector<std::int64_t> offsets(const Broadcast<N>& plan, int k) {
  std::vector<std::int64_t> found;
  if (plan.size == 0) return found;
  const std::int64_t n = plan.row_length();
  RowWalk<N> walk(plan, 0);
  for (std::int64_t row = 0; row < plan.size / n; ++row, walk.next()) {
    BOOST_TEST(RowWalk<N>(plan, row).at == walk.at, boost::test_tools::per_element());
    for (std::int64_t i = 0; i < n; ++i) found.push_back(walk.at[k] + i * plan.step(k));
  }
  return found;
}

/// The same by NumPy's rule.
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
    const auto a = operand(round % 2 == 0), b = operand(round % 2 == 1), c = operand(round % 3 == 0);
    const Shape a_shape(a), b_shape(b), c_shape(c);
    const Broadcast<2> two({&a_shape, &b_shape}, result);
    BOOST_TEST(offsets(two, 0) == by_rule(a, result), boost::test_tools::per_element());
    BOOST_TEST(offsets(two, 1) == by_rule(b, result), boost::test_tools::per_element());
    const Broadcast<3> three({&a_shape, &b_shape, &c_shape}, result);
    BOOST_TEST(offsets(three, 0) == by_rule(a, result), boost::test_tools::per_element());
    BOOST_TEST(offsets(three, 2) == by_rule(c, result), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(dimensions_walked_alike_are_merged) {
  const Shape a{4, 1, 3, 5};
  const auto rank = [&](const Shape& b) { return Broadcast<2>({&a, &b}, a).rank; };
  BOOST_TEST(rank(a) == 1);
  BOOST_TEST(rank({1, 1}) == 1);
  BOOST_TEST(rank({5}) == 2);
  BOOST_TEST(rank({3, 5}) == 2);
}

BOOST_AUTO_TEST_SUITE_END()
