// NLLLoss, CrossEntropyLoss and MSELoss: cases that the golden files and the op table do not cover.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <string>

#include "framework/ops/references.hpp"
#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;
using namespace retort::tests;

namespace {
constexpr double inf = std::numeric_limits<double>::infinity();
bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
}  // namespace

BOOST_AUTO_TEST_SUITE(classification_losses)

BOOST_AUTO_TEST_CASE(a_class_out_of_range_is_named_with_its_place_and_the_number_of_classes) {
  const Tensor x = uniform({4, 3}, 1);
  for (const std::int64_t wrong : {3, -1, 17, -101}) {
    const Tensor labels = tensor<std::int64_t>({0, 1, wrong, 2}, {4});
    for (const std::string& text : {thrown_text<IndexError>([&] { nll_loss(x, labels); }),
                                    thrown_text<IndexError>([&] { cross_entropy(x, labels); })}) {
      BOOST_TEST(holds(text, std::to_string(wrong)));  // the value
      BOOST_TEST(holds(text, "position 2"));
      BOOST_TEST(holds(text, "[0, 3)"));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_ignored_class_may_be_out_of_range) {
  const Tensor x = uniform({3, 3}, 1).set_requires_grad();
  const Tensor labels = tensor({0, 255, 2});
  const Tensor loss = nll_loss(x, labels, {.ignore_index = 255});
  BOOST_TEST(loss.item<double>() == -(x.data<double>()[0] + x.data<double>()[8]) / 2,
             boost::test_tools::tolerance(1e-14));
  loss.backward();
  for (std::size_t i = 3; i < 6; ++i) BOOST_TEST(x.grad().values<double>()[i] == 0.0);
}

BOOST_AUTO_TEST_CASE(an_ignored_row_may_hold_anything) {
  const Tensor x = tensor<double>({1, 2, inf, std::nan("")}, {2, 2}).set_requires_grad();
  const Tensor labels = tensor({1, -100});
  for (const bool create_graph : {false, true}) {
    const Tensor loss = nll_loss(x, labels);
    BOOST_TEST(loss.item<double>() == -2.0);
    const Tensor g = grad({loss}, {x}, {.create_graph = create_graph})[0];
    BOOST_TEST(g.data<double>()[1] == -1.0);
    BOOST_TEST(g.data<double>()[2] == 0.0);
    BOOST_TEST(g.data<double>()[3] == 0.0);
  }
}

BOOST_AUTO_TEST_CASE(the_mean_of_nothing_is_nan) {
  const Tensor none = zeros({0, 3}, DType::float64), no_labels = zeros({0}, DType::int64);
  BOOST_TEST(std::isnan(nll_loss(none, no_labels).item<double>()));
  BOOST_TEST(std::isnan(cross_entropy(none, no_labels).item<double>()));
  BOOST_TEST(std::isnan(mse_loss(none, none).item<double>()));
  BOOST_TEST(std::isnan(cross_entropy(none, none).item<double>()));
  const Tensor x = uniform({2, 3}, 1), ignored = tensor({-100, -100});
  BOOST_TEST(std::isnan(nll_loss(x, ignored).item<double>()));
  BOOST_TEST(std::isnan(cross_entropy(x, ignored, {.label_smoothing = 0.1}).item<double>()));
  BOOST_TEST(std::isnan(nll_loss(x, tensor({0, 0}), {.weight = tensor({0.0, 1.0, 1.0})}).item<double>()));
  BOOST_TEST(nll_loss(x, ignored, {.reduction = Reduction::sum}).item<double>() == 0.0);
}

BOOST_AUTO_TEST_CASE(batchmean_belongs_to_the_divergences) {
  const Tensor x = uniform({2, 3}, 1), labels = tensor({0, 1});
  for (const std::string& text :
       {thrown_text<ValueError>([&] { nll_loss(x, labels, {.reduction = Reduction::batchmean}); }),
        thrown_text<ValueError>([&] { cross_entropy(x, labels, {.reduction = Reduction::batchmean}); }),
        thrown_text<ValueError>([&] { mse_loss(x, x, {.reduction = Reduction::batchmean}); }),
        thrown_text<ValueError>([&] { NLLLoss({.reduction = Reduction::batchmean})(x, labels); }),
        thrown_text<ValueError>([&] { CrossEntropyLoss({.reduction = Reduction::batchmean})(x, labels); }),
        thrown_text<ValueError>([&] { MSELoss({.reduction = Reduction::batchmean})(x, x); })})
    BOOST_TEST(holds(text, "batchmean"));
}

BOOST_AUTO_TEST_CASE(types_and_shapes_that_do_not_fit) {
  const Tensor x = uniform({4, 3}, 1), labels = tensor({0, 1, 2, 0});
  BOOST_CHECK_THROW(nll_loss(x, x), TypeError);
  BOOST_CHECK_THROW(nll_loss(labels, labels), TypeError);
  BOOST_CHECK_THROW(cross_entropy(labels, labels), TypeError);
  BOOST_CHECK_THROW(nll_loss(full({}, 1.0), full({}, 0, DType::int64)), ShapeError);
  const std::string shape = thrown_text<ShapeError>([&] { nll_loss(x, tensor({0, 1})); });
  BOOST_TEST(holds(shape, "(4, 3)"));
  BOOST_TEST(holds(shape, "(2)"));
  const std::string weight = thrown_text<ShapeError>([&] {
    cross_entropy(x, labels, {.weight = tensor({1.0, 2.0})});
  });
  BOOST_TEST(holds(weight, "(2)"));
  BOOST_TEST(holds(weight, "(4, 3)"));
  BOOST_CHECK_THROW(cross_entropy(x, probabilities({4, 3}, 1), {.weight = tensor({1.0, 2.0})}), ShapeError);
  BOOST_CHECK_THROW(cross_entropy(x, probabilities({4, 3}, 1), {.ignore_index = 1}), ValueError);
  for (const double wrong : {-0.1, 1.1, std::nan("")})
    BOOST_CHECK_THROW(cross_entropy(x, labels, {.label_smoothing = wrong}), ValueError);
  const std::string mse = thrown_text<ShapeError>([] { mse_loss(zeros({4, 1}), zeros({4})); });
  BOOST_TEST(mse == "mse_loss: input has shape (4, 1) but target has shape (4); they must be equal");
}

BOOST_AUTO_TEST_CASE(a_class_with_probability_zero_that_is_not_the_target_costs_nothing) {
  const Tensor logits = tensor<double>({1, -inf, 2}, {1, 3}).set_requires_grad();
  const Tensor loss = cross_entropy(logits, tensor({2}));
  BOOST_TEST(loss.item<double>() == std::log(1 + std::exp(-1.0)), boost::test_tools::tolerance(1e-14));
  for (const bool create_graph : {false, true}) {
    const Tensor g = grad({cross_entropy(logits, tensor({2}))}, {logits}, {.create_graph = create_graph})[0];
    for (const double value : g.values<double>()) BOOST_TEST(std::isfinite(value));
    BOOST_TEST(g.data<double>()[1] == 0.0);
  }
  BOOST_TEST(cross_entropy(logits, tensor({1})).item<double>() == inf);
}

BOOST_AUTO_TEST_CASE(huge_logits_stay_finite) {
  const Tensor logits = tensor<float>({1e4f, -1e4f, -1e4f, 1e4f}, {2, 2}).set_requires_grad();
  const Tensor loss = cross_entropy(logits, tensor({1, 1}));
  BOOST_TEST(loss.item<float>() == 1e4f);
  loss.backward();
  for (const float value : logits.grad().values<float>()) BOOST_TEST(std::isfinite(value));
}

BOOST_AUTO_TEST_CASE(cross_entropy_is_the_nll_of_log_softmax_and_of_one_hot_probabilities) {
  const Tensor x = uniform({6, 5}, 1).set_requires_grad(), labels = indices({6}, 2, 5);
  const Tensor direct = cross_entropy(x, labels);
  const Tensor composed = nll_loss(log_softmax(x, 1), labels);
  const Tensor by_probabilities = cross_entropy(x, one_hot(labels, 5).to(DType::float64));
  BOOST_TEST(direct.item<double>() == composed.item<double>(), boost::test_tools::tolerance(1e-14));
  BOOST_TEST(direct.item<double>() == by_probabilities.item<double>(), boost::test_tools::tolerance(1e-14));
}

BOOST_AUTO_TEST_CASE(a_float64_weight_does_not_widen_a_float32_loss) {
  const Tensor x = uniform({4, 3}, 1).to(DType::float32), labels = tensor({0, 1, 2, 0});
  const Tensor loss = cross_entropy(x, labels, {.weight = tensor({1.f, 2.f, 0.5f}), .label_smoothing = 0.1});
  BOOST_TEST((loss.dtype() == DType::float32));
}

BOOST_AUTO_TEST_SUITE_END()
