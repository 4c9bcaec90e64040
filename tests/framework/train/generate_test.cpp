#include "retort/framework/train/generate.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <set>

#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;
using retort::tests::contains;
using retort::tests::thrown_text;

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

BOOST_AUTO_TEST_CASE(the_prompt_and_all_calls_have_the_models_classes) {
  const auto model = [](const Tensor& tokens) { return counting(tokens, 1); };
  for (const std::int64_t token : {std::int64_t{5}, std::int64_t{-1}}) {
    const Tensor prompt = tensor(Numbers{0, 1, 2, token}, {2, 2});
    const std::string text = thrown_text<IndexError>([&] { generate(model, prompt); });
    BOOST_TEST(
        contains(text, message("token {} at position 1 of row 1, which is out of range [0, 5)", token)),
        text);
  }
  std::int64_t classes = 6;
  const std::string text = thrown_text<ShapeError>([&] {
    generate(
        [&](const Tensor& tokens) {
          return zeros({1, tokens.size(1), --classes});
        },
        zeros({1, 3}, DType::int64), {.length = 2});
  });
  BOOST_TEST(contains(text, "logits of 4 classes after logits of 5"), text);
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

BOOST_AUTO_TEST_CASE(top_p_keeps_the_fewest_tokens_that_reach_it) {
  // Probabilities 0.4, 0.3, 0.2 and 0.1, in another order.
  const auto model = [](const Tensor& tokens) {
    const Tensor p = tensor({0.2, 0.4, 0.1, 0.3});
    return log(p) + zeros({tokens.size(0), tokens.size(1), 1}, DType::float64);
  };
  const Tensor prompt = zeros({400, 1}, DType::int64);
  Generator generator(3);
  const auto drawn = [&](GenerateOptions options) {
    options.generator = &generator;
    const Numbers tokens = select(generate(model, prompt, options), 1, 1).values<std::int64_t>();
    return std::set(tokens.begin(), tokens.end());
  };
  using Set = std::set<std::int64_t>;
  BOOST_TEST((drawn({.top_p = 1e-9}) == Set{1}));
  BOOST_TEST((drawn({.top_p = 0.39}) == Set{1}));
  BOOST_TEST((drawn({.top_p = 0.41}) == Set{1, 3}));
  BOOST_TEST((drawn({.top_p = 0.75}) == Set{0, 1, 3}));
  BOOST_TEST((drawn({.top_p = 0.95}) == Set{0, 1, 2, 3}));
  BOOST_TEST((drawn({}) == Set{0, 1, 2, 3}));
  // After top_k = 2 the probabilities are 4/7 and 3/7; after the temperature, 0.4² : 0.3² : 0.2² : 0.1².
  BOOST_TEST((drawn({.top_k = 2, .top_p = 0.56}) == Set{1}));
  BOOST_TEST((drawn({.top_k = 2, .top_p = 0.58}) == Set{1, 3}));
  BOOST_TEST((drawn({.temperature = 0.5, .top_p = 0.53}) == Set{1}));
  BOOST_TEST((drawn({.temperature = 0.5, .top_p = 0.54}) == Set{1, 3}));
  // The tokens that are kept have their relative probabilities.
  const Tensor text =
      generate(model, zeros({4000, 1}, DType::int64), {.top_p = 0.6, .generator = &generator});
  const double share = mean(equal(select(text, 1, 1), 1).to(DType::float64)).item<double>();
  BOOST_TEST(std::abs(share - 4.0 / 7) < 0.03);
}

BOOST_AUTO_TEST_CASE(an_end_token_ends_a_sequence) {
  int calls = 0;
  const auto model = [&](const Tensor& tokens) {
    ++calls;
    return counting(tokens, 100);
  };
  // The first sequence ends at once and the second two tokens later; the end token of a prompt is ignored.
  const Tensor prompt = tensor(Numbers{0, 3, 4, 1}, {2, 2});
  const Tensor text = generate(model, prompt, {.length = 10, .end_token = 4});
  BOOST_TEST(text.shape() == (Shape{2, 5}));
  BOOST_TEST(text.values<std::int64_t>() == (Numbers{0, 3, 4, 4, 4, 4, 1, 2, 3, 4}));
  BOOST_TEST(calls == 3);
  BOOST_TEST(generate(model, prompt, {.length = 2, .end_token = 4}).values<std::int64_t>() ==
             (Numbers{0, 3, 4, 4, 4, 1, 2, 3}));
  BOOST_TEST(generate(model, prompt, {.length = 0, .end_token = 4}).shape() == (Shape{2, 2}));
  BOOST_TEST(generate(model, zeros({0, 2}, DType::int64), {.length = 3, .end_token = 4}).size(0) == 0);
  BOOST_TEST(tests::thrown_text<ValueError>([&] { (void)generate(model, prompt, {.end_token = 5}); }) ==
             "generate: end_token is 5; it must be in [0, 5), as the model's tokens");
  BOOST_CHECK_THROW(generate(model, prompt, {.end_token = -1}), ValueError);
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
  for (const double outside : {0.0, -0.1, 1.1, std::nan("")})
    BOOST_CHECK_THROW(generate(model, prompt, {.top_p = outside}), ValueError);
  BOOST_CHECK_THROW(generate([](const Tensor&) { return ones({1, 5}); }, prompt), ShapeError);
  BOOST_TEST(tests::thrown_text<TypeError>([&] {
               (void)generate([](const Tensor&) { return ones({1, 1, 5}, DType::int64); }, prompt);
             }) == "generate: the model's logits are int64; they must be float32 or float64");
  BOOST_TEST(tests::thrown_text<ValueError>([&] {
               (void)generate([](const Tensor&) { return Tensor(); }, prompt);
             }).starts_with("generate: the model's result is undefined"));
  BOOST_TEST(tests::thrown_text<ShapeError>([&] {
               (void)generate([](const Tensor&) { return ones({1, 1, 0}); }, prompt);
             }) ==
             "generate: the model returned (1, 1, 0) for tokens (1, 1); expected (N, L, C) with C >= 1");
  const auto broken = [](const Tensor&) { return full({1, 1, 5}, std::numeric_limits<double>::quiet_NaN()); };
  BOOST_CHECK_THROW(generate(broken, prompt), ValueError);
  for (const double bad : {std::nan(""), -std::numeric_limits<double>::infinity()}) {
    int step = 0;
    const auto breaks = [&](const Tensor& tokens) {
      Tensor logits = counting(tokens, 1);
      if (step++ == 2)
        for (float& logit : logits.mutable_data<float>().subspan(5)) logit = static_cast<float>(bad);
      return logits;
    };
    const std::string text = thrown_text<ValueError>([&] {
      generate(breaks, zeros({3, 1}, DType::int64), {.length = 5});
    });
    BOOST_TEST(text == (std::isnan(bad)
                            ? "generate: the model's logits of sequence 1 are NaN at step 2"
                            : "generate: the highest of the model's logits of sequence 1 is -inf at "
                              "step 2; no token can be drawn"));
  }
  for (const double everywhere :
       {-std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()})
    for (const double temperature : {0.0, 1.0})
      BOOST_CHECK_THROW(generate(
                            [=](const Tensor&) {
                              return full({1, 1, 5}, everywhere);
                            },
                            prompt, {.temperature = temperature}),
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
