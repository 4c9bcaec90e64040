// Edges of the operations that arrange, scan, sort and measure: cases that the smooth samples of the op table
// miss.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <map>

#include "retort/retort.hpp"

namespace retort {
namespace {

using Doubles = std::vector<double>;
using Integers = std::vector<std::int64_t>;
const double nan = std::numeric_limits<double>::quiet_NaN();
const double inf = std::numeric_limits<double>::infinity();

void check(const Tensor& got, const Doubles& want, double tolerance = 0) {
  const Doubles values = got.values<double>();
  BOOST_REQUIRE_EQUAL(values.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    const bool same = std::isnan(want[i]) ? std::isnan(values[i])
                                          : values[i] == want[i] || std::abs(values[i] - want[i]) <=
                                                                        tolerance * std::abs(want[i]);
    BOOST_CHECK_MESSAGE(same, "element " << i << " is " << values[i] << " instead of " << want[i]);
  }
}
Tensor leaf(const Doubles& values) { return tensor(values).set_requires_grad(); }
Tensor leaf(const Doubles& values, const Shape& shape) { return tensor(values, shape).set_requires_grad(); }
Tensor sign_of(const Tensor& x) { return (greater(x, 0) - less(x, 0)).to(x.dtype()); }
template <class F>
Tensor gradient(F f, const Tensor& x) {
  return grad({sum(f(x))}, {x})[0];
}
/// The gradient by the recorded rule, which is what higher orders derive.
template <class F>
Tensor recorded_gradient(F f, const Tensor& x) {
  return grad({sum(f(x))}, {x}, {.create_graph = true})[0].detach();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(array_operations)

BOOST_AUTO_TEST_CASE(sort_is_stable_and_nan_is_the_largest) {
  const Tensor x = tensor({2.0, nan, 1.0, 2.0, -inf, nan, inf, 1.0});
  const auto [up, from_up] = sort(x);
  check(up, {-inf, 1, 1, 2, 2, inf, nan, nan});
  check(from_up, {4, 2, 7, 0, 3, 6, 1, 5});
  const auto [down, from_down] = sort(x, 0, true);
  check(down, {nan, nan, inf, 2, 2, 1, 1, -inf});
  check(from_down, {1, 5, 6, 0, 3, 2, 7, 4});
  check(argsort(tensor({0.0, -0.0, 0.0})), {0, 1, 2});
  check(sort(tensor({3, 1, 2})).values, {1, 2, 3});
  BOOST_TEST((sort(tensor({3, 1, 2})).values.dtype() == DType::int64));
  const std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
  BOOST_TEST(
      sort(tensor(Integers{5, lowest, 0}), 0, true).values.values<std::int64_t>() == (Integers{5, 0, lowest}),
      boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(topk_takes_the_lower_position_of_equal_elements) {
  const Tensor x = tensor({1.0, 3.0, nan, 3.0, 3.0, 0.0});
  check(topk(x, 3).values, {nan, 3, 3});
  check(topk(x, 3).indices, {2, 1, 3});
  check(topk(x, 2, 0, false).indices, {5, 0});
  check(topk(x, 6, 0, false).indices, {5, 0, 1, 3, 4, 2});
  BOOST_TEST(topk(x, 0).values.shape() == (Shape{0}));
  BOOST_CHECK_THROW((void)topk(x, 7), ValueError);
  BOOST_CHECK_THROW((void)topk(x, -1), ValueError);
  BOOST_CHECK_THROW((void)topk(x, 1, 1), IndexError);
  // Long rows, several threads: the same as sorting.
  manual_seed(3);
  const Tensor rows = randn({7, 5000});
  check(topk(rows, 9, 1).indices, slice(argsort(rows, 1, true), 1, 0, 9).values<double>());
}

BOOST_AUTO_TEST_CASE(prod_is_exact_at_zeros_to_every_order) {
  const auto product = [](const Tensor& x) { return prod(x, 0); };
  for (const auto& [values, want] : std::vector<std::pair<Doubles, Doubles>>{{{2, 3, 4}, {12, 8, 6}},
                                                                             {{0, 3, 4}, {12, 0, 0}},
                                                                             {{0, 0, 4}, {0, 0, 0}},
                                                                             {{5}, {1}},
                                                                             {{0}, {1}}}) {
    check(gradient(product, leaf(values)), want);
    check(recorded_gradient(product, leaf(values)), want);
  }
  const auto second = [&](const Tensor& x) { return grad({prod(x, 0)}, {x}, {.create_graph = true})[0]; };
  check(gradient(second, leaf({0, 0, 4})), {4, 4, 0});
  check(prod(tensor({3, 4})), {12});
  BOOST_TEST((prod(tensor({3, 4})).dtype() == DType::int64));
  const std::int64_t large = std::int64_t{3} << 60;
  BOOST_TEST(prod(tensor(Integers{large, 1})).item<std::int64_t>() == large);
  check(prod(zeros({0, 2}), 0), {1, 1});
  check(prod(zeros({})), {0});
  BOOST_CHECK_THROW((void)prod(zeros({2, 2}), {0, -2}), ValueError);
}

BOOST_AUTO_TEST_CASE(prod_of_any_layout_and_its_gradient) {
  manual_seed(4);
  const std::vector<std::pair<Shape, Dims>> cases{
      {{3, 5}, 0},           {{37}, 0},          {{5, 37}, 1},        {{2, 9, 70}, 1},
      {{2, 130, 3}, {0, 1}}, {{4, 3, 5, 2}, {}}, {{4, 3, 5}, {0, 2}}, {{1, 6, 1}, {0, 2}},
      {{2, 1, 3}, {0, 2}},   {{3, 100000}, 1}};
  for (const DType dtype : {DType::float32, DType::float64})
    for (const auto& [shape, dims] : cases)
      for (const double zeros : {0.0, 0.02}) {
        // Factors near 1 or -1, and some zeros.
        const Tensor size = exp(randn(shape, DType::float64) * 0.01);
        const Tensor signs = sign_of(rand(shape, DType::float64) - 0.5), kept = greater(rand(shape), zeros);
        const Tensor x = (size * signs * kept).to(dtype).detach().set_requires_grad();
        const auto f = [dims = dims](const Tensor& v) { return prod(v, dims); };
        const Tensor exact = exp(sum(log(abs(x.to(DType::float64))), dims)) *
                             sign_of(f(sign_of(x.detach().to(DType::float64))));
        const double tolerance = dtype == DType::float32 ? 1e-6 : 1e-10;
        check(f(x), exact.values<double>(), tolerance);
        const Tensor g = randn(f(x).shape(), dtype);
        const auto weighted = [&](const Tensor& v) { return f(v) * g; };
        check(gradient(weighted, x), recorded_gradient(weighted, x).values<double>(), tolerance);
        BOOST_TEST((prod(x, dims, true).values<double>() == f(x).values<double>()));
      }
  // Intermediate products leave the range in either direction, for each column in another row.
  const Tensor wide = tensor({1e-300, 1e300, 1e300, 1e-300, 1e-300, 1e300, 1e300, 1e-300}, {4, 2});
  for (const auto& order : {wide, transpose(wide, 0, 1)}) {
    const auto f = [&](const Tensor& v) { return prod(v, order.size(0) == 4 ? 0 : 1) * 1e-300; };
    const Tensor x = order.detach().set_requires_grad();
    check(gradient(f, x), (1e-300 / x.detach()).values<double>(), 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(cumsum_keeps_integers_and_sums_float32_in_double) {
  const std::int64_t large = (std::int64_t{1} << 53) + 1;
  BOOST_TEST(cumsum(tensor(Integers{large, 1, 1}), 0).values<std::int64_t>() ==
                 (Integers{large, large + 1, large + 2}),
             boost::test_tools::per_element());
  const Tensor x = full({1 << 20}, 0.1f);
  const float end = cumsum(x, 0).values<float>().back();
  BOOST_TEST(end == static_cast<float>(0.1f * static_cast<double>(1 << 20)));
  check(cumsum(tensor({2.5}, {}), -1), {2.5});
}

BOOST_AUTO_TEST_CASE(norms_neither_overflow_nor_underflow) {
  check(norm(tensor({3e200, 4e200})), {5e200}, 1e-15);
  check(norm(tensor({3e-200, 4e-200})), {5e-200}, 1e-15);
  check(norm(tensor({3e-170, 4e-170, 0.0}), 3), {1e-170 * std::cbrt(91.0)}, 1e-14);
  check(norm(tensor({3e30f, 4e30f})), {static_cast<double>(5e30f)}, 1e-6);
  check(norm(tensor({1e300, 1e300}), 0.5), {4e300}, 1e-14);
  check(norm(leaf({3e200, 4e200, 0, 0}, {2, 2}), 2, 1), {5e200, 0}, 1e-15);  // next to a row of zeros
  check(gradient([](const Tensor& x) { return norm(x); }, leaf({3e-200, 4e-200})), {0.6, 0.8}, 1e-15);
  check(norm(tensor({inf, 1.0})), {inf});
  check(norm(tensor({nan, 1.0})), {nan});
  check(norm(tensor({1e200, nan})), {nan});
  check(norm(tensor({3.0, 0.0, -2.0}), 0), {2});
  check(norm(tensor({3.0, 0.0, -2.0}), -1), {0});
  check(norm(zeros({0})), {0});
  BOOST_CHECK_THROW((void)norm(zeros({0}), inf), ValueError);
  BOOST_CHECK_THROW((void)norm(zeros({0}), -1), ValueError);
  BOOST_CHECK_THROW((void)norm(zeros({2}), nan), ValueError);
  BOOST_TEST(norm(zeros({0, 3}), inf, 1).shape() == (Shape{0}));
}

BOOST_AUTO_TEST_CASE(the_gradient_of_a_norm_is_0_at_a_zero_vector_and_shared_at_ties) {
  for (const double p : {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, inf, -inf, -1.0}) {
    const auto f = [p](const Tensor& x) { return norm(x, p); };
    check(gradient(f, leaf({0, 0, 0})), {0, 0, 0});
    check(recorded_gradient(f, leaf({0, 0, 0})), {0, 0, 0});
  }
  check(gradient([](const Tensor& x) { return norm(x, inf); }, leaf({-2, 1, 2})), {-0.5, 0, 0.5});
  check(gradient([](const Tensor& x) { return norm(x, 1.5); }, leaf({0, 4})), {0, 1});
  check(gradient([](const Tensor& x) { return norm(x, 0); }, leaf({0, 4})), {0, 0});
  const auto second = [](const Tensor& x) { return grad({norm(x)}, {x}, {.create_graph = true})[0]; };
  check(gradient(second, leaf({0, 0})), {0, 0});
}

BOOST_AUTO_TEST_CASE(distances_of_equal_rows_have_gradient_0) {
  for (const double p : {0.5, 1.0, 2.0, 3.0, inf}) {
    const auto f = [p](const Tensor& x) { return cdist(x, tensor({1.0, 2.0}, {1, 2}), p); };
    check(f(leaf({1, 2}, {1, 2})), {0});
    check(gradient(f, leaf({1, 2}, {1, 2})), {0, 0});
  }
  BOOST_TEST(cdist(zeros({2, 0}), zeros({3, 0})).shape() == (Shape{2, 3}));
  check(cdist(zeros({1, 0}), zeros({1, 0})), {0});
  BOOST_TEST(cdist(zeros({4, 1, 2, 3}), zeros({5, 2, 3})).shape() == (Shape{4, 5, 2, 2}));
  BOOST_CHECK_THROW((void)cdist(zeros({2, 2}), zeros({2, 2}), -1), ValueError);
}

BOOST_AUTO_TEST_CASE(distances_of_any_size_and_their_gradients) {
  manual_seed(5);
  const std::vector<std::pair<Shape, Shape>> cases{{{1, 1}, {1, 1}},       {{3, 5}, {7, 5}},
                                                   {{37, 33}, {70, 33}},   {{2, 5, 40}, {2, 33, 40}},
                                                   {{3, 66, 16}, {9, 16}}, {{4, 100}, {17, 100}}};
  for (const DType dtype : {DType::float32, DType::float64})
    for (const auto& [first, second] : cases) {
      const Tensor a = randn(first, dtype).detach().set_requires_grad();
      const Tensor b = randn(second, dtype).detach().set_requires_grad();
      const double tolerance = dtype == DType::float32 ? 1e-5 : 1e-13;
      const Tensor y = cdist(a, b), wide_a = a.detach().to(DType::float64),
                   wide_b = b.detach().to(DType::float64);
      const Tensor exact = norm(unsqueeze(wide_a, -2) - unsqueeze(wide_b, -3), 2, -1);
      check(y, exact.values<double>(), tolerance);
      for (const double scale : {1.0, 1e-3}) {
        const Tensor g = randn(y.shape(), dtype) * scale;
        const Tensors got = grad({y}, {a, b}, {.grad_outputs = {g}, .retain_graph = true});
        const Tensors want = grad({y}, {a, b}, {.grad_outputs = {g}, .create_graph = true});
        for (int k = 0; k < 2; ++k)
          BOOST_TEST(max(abs(got[k] - want[k].detach())).item<double>() <= 20 * tolerance * scale);
      }
      // A row equal to one of the other matrix, and a quotient g/y that overflows, change no other pair.
      const Tensor same =
          concat({a.detach(), slice(b.detach(), -2, 0, 1) + zeros_like(slice(a.detach(), -2, 0, 1))}, -2);
      const Tensor others = slice(cdist(same, b), -2, 0, a.size(-2));
      BOOST_TEST((others.values<double>() == y.values<double>()));
    }
  const Tensor near = tensor({0.f, 0.f, 3e-40f, 4e-40f, 1.f, 1.f}, {3, 2}).set_requires_grad();
  const Tensor slopes = gradient([](const Tensor& x) { return cdist(x, zeros({1, 2})); }, near);
  check(slopes, {0, 0, 0.6, 0.8, std::sqrt(0.5), std::sqrt(0.5)}, 1e-5);
}

BOOST_AUTO_TEST_CASE(cosine_similarity_bounds_each_norm_by_eps) {
  check(cosine_similarity(tensor({0.0, 0.0}), tensor({1.0, 2.0}), 0), {0});
  check(cosine_similarity(tensor({0.3, 0.4}), tensor({3.0, 4.0}), 0, 1.0), {0.5}, 1e-15);
  check(cosine_similarity(tensor({3e200, 4e200}), tensor({3e200, 4e200}), 0), {1}, 1e-15);
  check(gradient(
            [](const Tensor& x) {
              return cosine_similarity(x, tensor({3.0, 4.0}), 0, 1.0);
            },
            leaf({0, 0})),
        {0.6, 0.8}, 1e-15);
  check(cosine_similarity(tensor({2.0}, {}), tensor({-3.0}, {}), 0), {-1});
}

BOOST_AUTO_TEST_CASE(triangles_blank_what_is_not_finite) {
  const Tensor x = tensor({1.0, nan, inf, 4.0}, {2, 2});
  check(tril(x), {1, 0, inf, 4});
  check(triu(x), {1, nan, 0, 4});
  check(gradient([](const Tensor& m) { return tril(m); }, leaf({1, nan, inf, 4}, {2, 2})), {1, 0, 1, 1});
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  check(tril(ones({2, 2}), most), {1, 1, 1, 1});
  check(tril(ones({2, 2}), -most - 1), {0, 0, 0, 0});
  check(triu(ones({2, 2}), most), {0, 0, 0, 0});
  BOOST_TEST((tril(tensor({1, 2, 3, 4}, {2, 2})).dtype() == DType::int64));
  BOOST_TEST(tril(zeros({3, 0})).shape() == (Shape{3, 0}));
}

BOOST_AUTO_TEST_CASE(pads_of_any_size_are_laid_out_or_refused) {
  const Tensor x = tensor({1.0, 2.0, 3.0});
  check(pad(x, {-1, -1}), {2});
  check(pad(x, {-2, 1}, 9), {3, 9});
  check(pad(x, {2, -4}, 9), {9});
  check(pad(x, {}), {1, 2, 3});
  BOOST_TEST(pad(x, {-3, 0}).shape() == (Shape{0}));
  check(pad(zeros({0}), {1, 1}, 5), {5, 5});
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  for (const Integers& padding :
       {Integers{-4, 0}, Integers{0, -4}, Integers{most, 1}, Integers{-most - 1, most}, Integers{1}})
    BOOST_CHECK_THROW((void)pad(x, padding), ShapeError);
  check(flip(tensor({1, 2, 3}), 0), {3, 2, 1});
  BOOST_CHECK_THROW((void)flip(zeros({2, 2}), {0, -2}), ValueError);
  check(repeat(tensor({1, 2}), {2, 2}), {1, 2, 1, 2, 1, 2, 1, 2});
  BOOST_TEST(repeat(tensor({1, 2}), {0}).shape() == (Shape{0}));
  BOOST_CHECK_THROW((void)repeat(tensor({1, 2}), {-1}), ValueError);
  const Tensor eight = repeat(zeros({1, 1, 1, 1, 1, 1, 1, 2}), {2, 2, 2, 2, 2, 2, 2, 2});
  BOOST_TEST(eight.size() == 512);
}

BOOST_AUTO_TEST_CASE(draws_follow_the_probabilities) {
  manual_seed(11);
  const Tensor p = tensor({0.1, 0.0, 0.6, 0.3});
  const std::int64_t n = 20000;
  Doubles counts(4, 0.0);
  for (const std::int64_t c : multinomial(p, n, true).values<std::int64_t>())
    counts[static_cast<std::size_t>(c)] += 1;
  for (std::size_t c = 0; c < 4; ++c)  // within five standard deviations
    BOOST_TEST(std::abs(counts[c] / n - p.values<double>()[c]) <= 5 * 0.5 / std::sqrt(n));
  BOOST_TEST(counts[1] == 0);
  // Without replacement: the first draws follow the probabilities, and no class is drawn twice.
  Doubles first(4, 0.0);
  const Tensor rows = broadcast_to(p, {n, 4});
  const Integers draws = multinomial(rows, 3).values<std::int64_t>();
  for (std::size_t i = 0; i < draws.size(); i += 3) {
    first[static_cast<std::size_t>(draws[i])] += 1;
    BOOST_REQUIRE(draws[i] != draws[i + 1] && draws[i] != draws[i + 2] && draws[i + 1] != draws[i + 2]);
  }
  for (std::size_t c = 0; c < 4; ++c)
    BOOST_TEST(std::abs(first[c] / n - p.values<double>()[c]) <= 5 * 0.5 / std::sqrt(n));
  Generator a(5), b(5);
  check(multinomial(rows, 2, false, a), multinomial(rows, 2, false, b).values<double>());
  BOOST_CHECK_THROW((void)multinomial(p, 4), ValueError);  // three are positive
  BOOST_CHECK_THROW((void)multinomial(p, -1, true), ValueError);
  check(sort(multinomial(tensor({1e308, 0.0, 1e308}), 2)).values, {0, 2});
  for (const std::int64_t c : multinomial(tensor({1e308, 0.0, 1e308}), 100, true).values<std::int64_t>())
    BOOST_TEST(c != 1);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retort
