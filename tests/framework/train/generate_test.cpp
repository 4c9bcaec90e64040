#include "retort/framework/train/generate.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "retort/retort.hpp"

using namespace retort;

namespace {

using Numbers = std::vector<std::int64_t>;

/// Logits by which the token after t is t + 1 modulo 5, by far or by less.
Tensor counting(const Tensor& tokens, double certainty) {
  Tensor next = tokens.clone();
  for (std::int64_t& token : next.mutable_data<std::int64_t>()) token = (token + 1) % 5;
  return one_hot(next, 5).to(DType::float32) * certainty;
}

BOOST_AUTO_TEST_SUITE(generation)

BOOST_AUTO_TEST_CASE(the_model_sees_each_token_once) {
  Numbers lengths;
  const Tensor text = generate(
      [&](const Tensor& tokens) {
        lengths.push_back(tokens.size(1));
        BOOST_TEST(!is_grad_enabled());
        return counting(tokens, 100);
      },
      tensor(Numbers{1, 2, 4, 0}, {2, 2}), {.length = 4});
  BOOST_TEST(text.values<std::int64_t>() == (Numbers{1, 2, 3, 4, 0, 1, 4, 0, 1, 2, 3, 4}));
  BOOST_TEST(lengths == (Numbers{2, 1, 1, 1}));
  BOOST_TEST(
      generate([](const Tensor& t) { return counting(t, 1); }, ones({1, 3}, DType::int64), {.length = 0})
          .shape() == (Shape{1, 3}));
}

BOOST_AUTO_TEST_CASE(temperature_and_top_k_restrict_the_draws) {
  const auto model = [](const Tensor& tokens) { return counting(tokens, 1); };
  const Tensor prompt = zeros({200, 1}, DType::int64);
  const auto distinct_share =
      [&](const GenerateOptions& options) {  // of draws that are not the most probable
        const Tensor text = generate(model, prompt, options);
        return 1 - mean(equal(select(text, 1, 1), 1).to(DType::float64)).item<double>();
      };
  Generator generator(9), same(9);
  const double plain = distinct_share({.generator = &generator});
  BOOST_TEST(std::abs(plain - 4 / (4 + std::exp(1.0))) < 0.1);
  BOOST_TEST(distinct_share({.generator = &same}) == plain);
  BOOST_TEST(distinct_share({.temperature = 0}) == 0);
  for (const double cold : {1e-30, 1e-38, 1e-40, 1e-300, 5e-324})
    BOOST_TEST(distinct_share({.temperature = cold, .generator = &generator}) == 0);
  BOOST_TEST(distinct_share({.temperature = 1e-300, .top_k = 3, .generator = &generator}) == 0);
  BOOST_TEST(distinct_share({.top_k = 1}) == 0);
  BOOST_TEST(distinct_share({.temperature = 0.1, .generator = &generator}) < 0.02);
  const double two = distinct_share({.top_k = 2, .generator = &generator});
  BOOST_TEST(std::abs(two - 1 / (1 + std::exp(1.0))) < 0.1);
  BOOST_TEST(distinct_share({.top_k = 50, .generator = &generator}) > 0.4);
}

BOOST_AUTO_TEST_CASE(bad_input_is_refused) {
  const auto model = [](const Tensor& tokens) { return counting(tokens, 1); };
  const Tensor prompt = zeros({1, 1}, DType::int64);
  BOOST_CHECK_THROW(generate(model, ones({1, 1})), TypeError);
  BOOST_CHECK_THROW(generate(model, zeros({3}, DType::int64)), ShapeError);
  BOOST_CHECK_THROW(generate(model, zeros({1, 0}, DType::int64)), ShapeError);
  BOOST_CHECK_THROW(generate(model, prompt, {.length = -1}), ValueError);
  BOOST_CHECK_THROW(generate(model, prompt, {.temperature = -1}), ValueError);
  BOOST_CHECK_THROW(generate(model, prompt, {.top_k = -1}), ValueError);
  BOOST_CHECK_THROW(generate([](const Tensor&) { return ones({1, 5}); }, prompt), ShapeError);
  const auto broken = [](const Tensor&) { return full({1, 1, 5}, std::numeric_limits<double>::quiet_NaN()); };
  BOOST_CHECK_THROW(generate(broken, prompt), ValueError);
  for (const double everywhere :
       {-std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()})
    BOOST_CHECK_THROW(generate(
                          [=](const Tensor&) {
                            return full({1, 1, 5}, everywhere);
                          },
                          prompt),
                      ValueError);
  BOOST_CHECK_THROW(generate(model, prompt, {.temperature = std::numeric_limits<double>::infinity()}),
                    ValueError);
  BOOST_CHECK_THROW(generate(model, prompt, {.temperature = std::nan("")}), ValueError);
  BOOST_CHECK_THROW(generate({}, prompt), ValueError);
  BOOST_CHECK_THROW(generate(model, Tensor()), ValueError);
  BOOST_CHECK_THROW(generate(broken, prompt, {.temperature = 0}), ValueError);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
