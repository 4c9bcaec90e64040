// The edge table of KLDivLoss: value, both gradients and second order, prob and log targets, all reductions.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "framework/ops/references.hpp"
#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
const Reduction all_reductions[] = {Reduction::none, Reduction::sum, Reduction::mean, Reduction::batchmean};

/// The divergence's value and derivatives at one pair, each NaN where the table has NaN.
struct Pair {
  double x, t;
  double value, dx, dt;  ///< of the term
  double dxdt, dtdt;     ///< its second derivatives; d²/dx² is 0
};

/// Value and derivatives to second order as the engine gives them, upstream gradient 1.
struct Found {
  Tensor value, fast_dx, fast_dt, dx, dt, dx_of_dx, dt_of_dx, dx_of_dt, dt_of_dt;
};
Found derive(const std::vector<double>& xs, const std::vector<double>& ts, bool log_target,
             Reduction reduction, DType dtype) {
  const Tensor x = tensor(xs).to(dtype).set_requires_grad(), t = tensor(ts).to(dtype).set_requires_grad();
  const auto loss = [&] { return kl_div(x, t, {.reduction = reduction, .log_target = log_target}); };
  Found found;
  found.value = loss();
  const Tensor upstream = ones_like(found.value);
  const Tensors fast = grad({found.value}, {x, t}, {.grad_outputs = {upstream}});
  found.fast_dx = fast[0], found.fast_dt = fast[1];
  const Tensors first = grad({loss()}, {x, t}, {.grad_outputs = {upstream}, .create_graph = true});
  found.dx = first[0].detach(), found.dt = first[1].detach();
  const auto second = [&](const Tensor& of, const Tensor& by) {
    if (!of.requires_grad()) return zeros_like(by);
    const Tensor result =
        grad({of}, {by}, {.grad_outputs = {ones_like(of)}, .retain_graph = true, .allow_unused = true})[0];
    return result.defined() ? result : zeros_like(by);
  };
  found.dx_of_dx = second(first[0], x), found.dt_of_dx = second(first[0], t);
  found.dx_of_dt = second(first[1], x), found.dt_of_dt = second(first[1], t);
  return found;
}

void check_element(const Tensor& got, std::size_t i, double want, const std::string& what) {
  const double value = got.values<double>()[i];
  const double tolerance = got.dtype() == DType::float64 ? 1e-12 : 2e-5;
  const bool equal = std::isnan(want)   ? std::isnan(value)
                     : std::isinf(want) ? value == want
                                        : std::abs(value - want) <= tolerance * (1 + std::abs(want));
  BOOST_CHECK_MESSAGE(equal, what << " is " << value << " instead of " << want);
}

/// Places each pair among ordinary ones, so that full vectors, partial ones and single elements are covered.
void check_pairs(const std::vector<Pair>& pairs, bool log_target) {
  for (const DType dtype : {DType::float64, DType::float32}) {
    for (const std::size_t size : {1, 3, 7, 17, 33}) {
      for (const Pair& pair : pairs) {
        for (const Reduction reduction : all_reductions) {
          const std::size_t place = size / 2;
          const double plain_x = -1.5, plain_t = log_target ? std::log(0.25) : 0.25;
          const double plain_value = 0.25 * (std::log(0.25) + 1.5);
          std::vector<double> xs(size, plain_x), ts(size, plain_t);
          xs[place] = pair.x, ts[place] = pair.t;
          const Found found = derive(xs, ts, log_target, reduction, dtype);
          const auto count = static_cast<double>(size);
          const double divisor =
              reduction == Reduction::mean || reduction == Reduction::batchmean ? count : 1;
          const std::string what =
              message("{}{}, {}, size {}, x = {}, t = {}: ", log_target ? "log target: " : "",
                      name(reduction), name(dtype), size, pair.x, pair.t);
          if (reduction == Reduction::none) {
            check_element(found.value, place, pair.value, what + "value");
          } else {
            check_element(found.value, 0, (pair.value + (count - 1) * plain_value) / divisor, what + "value");
          }
          for (const Tensor& dx : {found.fast_dx, found.dx})
            check_element(dx, place, pair.dx / divisor, what + "dx");
          for (const Tensor& dt : {found.fast_dt, found.dt})
            check_element(dt, place, pair.dt / divisor, what + "dt");
          if (std::isnan(pair.value) || std::isinf(pair.x))
            continue;  // second order is of interest where it is a number
          check_element(found.dx_of_dx, place, 0, what + "d2/dxdx");
          check_element(found.dt_of_dx, place, pair.dxdt / divisor, what + "d2/dxdt");
          check_element(found.dx_of_dt, place, pair.dxdt / divisor, what + "d2/dtdx");
          check_element(found.dt_of_dt, place, pair.dtdt / divisor, what + "d2/dtdt");
        }
      }
    }
  }
}

/// Installs a handler that collects warnings during its lifetime.
class Heard {
 public:
  Heard() {
    previous_ = set_warning_handler([this](std::string_view text) { texts.emplace_back(text); });
  }
  ~Heard() { set_warning_handler(previous_); }
  Heard(const Heard&) = delete;
  Heard& operator=(const Heard&) = delete;
  std::vector<std::string> texts;

 private:
  WarningHandler previous_;
};

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

BOOST_AUTO_TEST_SUITE(kl_div_loss)

BOOST_AUTO_TEST_CASE(plain_pairs_by_the_closed_form) {
  const Heard heard;
  std::vector<Pair> prob, log;
  for (const double x : {-3.0, -0.5, -1e4}) {
    for (const double t : {0.125, 0.75, 1.0}) {
      prob.push_back({x, t, t * (std::log(t) - x), -t, std::log(t) + 1 - x, -1, 1 / t});
      const double u = std::log(t);
      log.push_back({x, u, t * (u - x), -t, t * (u - x + 1), -t, t * (u - x + 2)});
    }
  }
  check_pairs(prob, false);
  check_pairs(log, true);
}

BOOST_AUTO_TEST_CASE(a_target_of_zero_gives_zero_to_any_order_for_any_number) {
  const Heard heard;
  std::vector<Pair> prob, log;
  for (const double x : {-1.0, 0.0, 1e4, -1e4, inf, -inf}) {
    for (const double zero : {0.0, -0.0}) prob.push_back({x, zero, 0, 0, 0, 0, 0});
    log.push_back({x, -inf, 0, 0, 0, 0, 0});
  }
  check_pairs(prob, false);
  check_pairs(log, true);
}

BOOST_AUTO_TEST_CASE(second_derivatives_at_a_target_of_zero_are_zero_for_infinite_x_too) {
  const Heard heard;
  for (const bool log_target : {false, true}) {
    for (const double x : {-2.0, inf, -inf}) {
      for (const Reduction reduction : all_reductions) {
        const Found found = derive({x}, {log_target ? -inf : 0.0}, log_target, reduction, DType::float64);
        for (const Tensor& second : {found.dx_of_dx, found.dt_of_dx, found.dx_of_dt, found.dt_of_dt})
          BOOST_TEST(second.item<double>() == 0.0);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(not_a_number_is_never_hidden) {
  const Heard heard;
  // The gradient for x where x itself is NaN, or t < 0, may be the formula's, which does not read x.
  for (const bool log_target : {false, true}) {
    std::vector<std::pair<double, double>> pairs{{not_a_number, 0.5},
                                                 {-1.0, not_a_number},
                                                 {not_a_number, not_a_number},
                                                 {not_a_number, log_target ? -inf : 0.0},
                                                 {-inf, not_a_number}};
    if (!log_target)
      pairs.insert(pairs.end(), {{-1.0, -0.5}, {-inf, -1.0}, {-1.0, -1e-300}, {not_a_number, -1.0}});
    for (const auto& [x, t] : pairs) {
      for (const Reduction reduction : all_reductions) {
        const Found found = derive({-1.0, x, -1.0}, {0.5, t, 0.5}, log_target, reduction, DType::float64);
        const std::size_t place = reduction == Reduction::none ? 1 : 0;
        const std::string what =
            message("x = {}, t = {}{}{}", x, t, log_target ? ", log target, " : ", ", name(reduction));
        BOOST_CHECK_MESSAGE(std::isnan(found.value.values<double>()[place]), what << ": the value is hidden");
        for (const Tensor& dt : {found.fast_dt, found.dt})
          BOOST_CHECK_MESSAGE(std::isnan(dt.values<double>()[1]), what << ": the gradient for t is hidden");
        if (!std::isnan(t)) continue;
        for (const Tensor& dx : {found.fast_dx, found.dx})
          BOOST_CHECK_MESSAGE(std::isnan(dx.values<double>()[1]), what << ": the gradient for x is hidden");
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(fast_and_recorded_gradients_agree_on_every_pair_of_edge_values) {
  const Heard heard;
  const double edges[] = {0.0, -0.0, -1.0, 0.5, -1e4, 1e4, 5e-324, 1e-310, inf, -inf, not_a_number};
  for (const bool log_target : {false, true}) {
    for (const double x : edges) {
      for (const double t : edges) {
        const Found found = derive({x}, {t}, log_target, Reduction::sum, DType::float64);
        const std::string what = message("x = {}, t = {}{}", x, t, log_target ? ", log target: " : ": ");
        check_element(found.fast_dx, 0, found.dx.values<double>()[0], what + "fast dx against recorded");
        check_element(found.fast_dt, 0, found.dt.values<double>()[0], what + "fast dt against recorded");
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(infinite_terms_come_out_as_such) {
  const Heard heard;
  const Found masked = derive({-inf}, {0.5}, false, Reduction::none, DType::float64);
  BOOST_TEST(masked.value.item<double>() == inf);
  BOOST_TEST(masked.dx.item<double>() == -0.5);
  BOOST_TEST(masked.dt.item<double>() == inf);
  const Found huge = derive({-3.0}, {inf}, false, Reduction::none, DType::float64);
  BOOST_TEST(huge.value.item<double>() == inf);
  BOOST_TEST(huge.dx.item<double>() == -inf);
  BOOST_TEST(huge.dt.item<double>() == inf);
  BOOST_TEST(huge.fast_dt.item<double>() == inf);
}

BOOST_AUTO_TEST_CASE(a_masked_class_leaves_loss_and_gradients_finite) {
  for (const Reduction reduction : {Reduction::sum, Reduction::batchmean, Reduction::none}) {
    for (const bool log_target : {false, true}) {
      const Tensor student = tensor<double>({1, -inf, 2, 0.5, -inf, 1}, {2, 3}).set_requires_grad();
      const Tensor teacher = tensor<double>({0, -inf, 1, 2, -inf, 0}, {2, 3}).set_requires_grad();
      const Tensor target = log_target ? log_softmax(teacher, 1) : softmax(teacher, 1);
      const Tensor loss =
          kl_div(log_softmax(student, 1), target, {.reduction = reduction, .log_target = log_target});
      const Tensor total = sum(loss);
      BOOST_TEST(std::isfinite(total.item<double>()));
      const Tensors first = grad({total}, {student, teacher}, {.create_graph = true});
      // The same without the masked class.
      const Tensor small_student = tensor<double>({1, 2, 0.5, 1}, {2, 2}).set_requires_grad();
      const Tensor small_teacher = tensor<double>({0, 1, 2, 0}, {2, 2}).set_requires_grad();
      const Tensor small =
          kl_div(log_softmax(small_student, 1), softmax(small_teacher, 1), {.reduction = reduction});
      const Tensors expected = grad({sum(small)}, {small_student, small_teacher});
      for (std::size_t k = 0; k < 2; ++k) {
        const std::vector<double> got = first[k].values<double>(), want = expected[k].values<double>();
        const std::vector<double> kept{got[0], got[2], got[3], got[5]};
        for (std::size_t i = 0; i < 4; ++i) BOOST_TEST(std::abs(kept[i] - want[i]) < 1e-14);
        BOOST_TEST(got[1] == 0.0);
        BOOST_TEST(got[4] == 0.0);
      }
      for (const Tensor& second :
           grad({sum(first[0] * first[0]) + sum(first[1] * first[1])}, {student, teacher}))
        for (const double value : second.values<double>()) BOOST_TEST(std::isfinite(value));
    }
  }
}

BOOST_AUTO_TEST_CASE(denormal_targets_keep_their_terms) {
  const Heard heard;
  for (const double t : {5e-324, 1e-310, 2.2e-308}) {
    const Found found = derive({-0.5}, {t}, false, Reduction::none, DType::float64);
    BOOST_TEST(found.value.item<double>() == t * (std::log(t) + 0.5), boost::test_tools::tolerance(1e-10));
    BOOST_TEST(found.dt.item<double>() == std::log(t) + 1.5, boost::test_tools::tolerance(1e-12));
    BOOST_TEST(found.fast_dt.item<double>() == std::log(t) + 1.5, boost::test_tools::tolerance(1e-12));
    BOOST_TEST(found.fast_dx.item<double>() == -t);
  }
  const float tiny = 1e-40f;
  const Tensor t = tensor({tiny}).set_requires_grad();
  kl_div(tensor({-0.5f}), t, {.reduction = Reduction::sum}).backward();
  BOOST_TEST(t.grad().item<float>() == std::log(tiny) + 1.5f, boost::test_tools::tolerance(1e-5f));
}

BOOST_AUTO_TEST_CASE(logits_of_ten_thousand) {
  const Doubles s[] = {{1e4, -1e4, 0}, {-1e4, 1e4, 9999}}, t[] = {{-1e4, 1e4, 0}, {1e4, 9998, -1e4}};
  double expected = 0;
  for (std::size_t row = 0; row < 2; ++row) {
    const Doubles log_q = log_softmax_of(s[row]), log_p = log_softmax_of(t[row]);
    for (std::size_t c = 0; c < 3; ++c)
      expected += std::exp(log_p[c]) == 0 ? 0 : std::exp(log_p[c]) * (log_p[c] - log_q[c]) / 2;
  }
  const Tensor student = tensor<float>({1e4f, -1e4f, 0, -1e4f, 1e4f, 9999}, {2, 3}).set_requires_grad();
  const Tensor teacher = tensor<float>({-1e4f, 1e4f, 0, 1e4f, 9998, -1e4f}, {2, 3}).set_requires_grad();
  const Tensor loss =
      kl_div(log_softmax(student, 1), softmax(teacher, 1), {.reduction = Reduction::batchmean});
  BOOST_TEST(loss.item<double>() == expected, boost::test_tools::tolerance(1e-6));
  loss.backward();
  for (const Tensor& logits : {student, teacher})
    for (const float value : logits.grad().values<float>()) BOOST_TEST(std::isfinite(value));
}

BOOST_AUTO_TEST_CASE(one_tensor_on_both_sides) {
  for (const bool log_target : {false, true}) {
    for (const Reduction reduction : all_reductions) {
      const Heard heard;
      const KLDivLossOptions options{.reduction = reduction, .log_target = log_target};
      const Tensor z = probabilities({3, 4}, 5).set_requires_grad();
      const Tensor apart = z.detach().clone().set_requires_grad(),
                   other = z.detach().clone().set_requires_grad();
      for (const bool create_graph : {false, true}) {
        const Tensor one = grad({sum(kl_div(z, z, options))}, {z}, {.create_graph = create_graph})[0];
        const Tensors two =
            grad({sum(kl_div(apart, other, options))}, {apart, other}, {.create_graph = create_graph});
        const Tensor both = two[0] + two[1];
        for (std::size_t i = 0; i < 12; ++i)
          BOOST_TEST(one.values<double>()[i] == both.values<double>()[i],
                     boost::test_tools::tolerance(1e-13));
      }
      const auto f = [&](const Tensors& in) { return kl_div(in[0], in[0], options); };
      BOOST_TEST(bool(gradcheck(f, {z})));
      BOOST_TEST(bool(gradgradcheck(f, {z})));
    }
  }
}

BOOST_AUTO_TEST_CASE(shapes_of_none_and_four_dimensions) {
  const Heard heard;
  const Tensor x = full({}, -1.0, DType::float64), t = full({}, 0.5, DType::float64);
  const double term = 0.5 * (std::log(0.5) + 1);
  for (const Reduction reduction : all_reductions) {
    const Tensor loss = kl_div(x, t, {.reduction = reduction});
    BOOST_TEST(loss.item<double>() == term, boost::test_tools::tolerance(1e-14));
    BOOST_TEST((loss.shape() == Shape{}));
  }
  const Tensor x4 = uniform({2, 3, 4, 5}, 1, -3, 0), t4 = uniform({2, 3, 4, 5}, 2, 0, 1);
  const double sum = kl_div(x4, t4, {.reduction = Reduction::sum}).item<double>();
  BOOST_TEST(kl_div(x4, t4, {.reduction = Reduction::mean}).item<double>() == sum / 120,
             boost::test_tools::tolerance(1e-13));
  BOOST_TEST(kl_div(x4, t4, {.reduction = Reduction::batchmean}).item<double>() == sum / 2,
             boost::test_tools::tolerance(1e-13));
  BOOST_TEST((kl_div(x4, t4, {.reduction = Reduction::none}).shape() == Shape{2, 3, 4, 5}));
}

BOOST_AUTO_TEST_CASE(no_element) {
  for (const Shape& shape : {Shape{0, 5}, Shape{5, 0}, Shape{0}}) {
    const Tensor x = zeros(shape, DType::float64).set_requires_grad(), t = zeros(shape, DType::float64);
    for (const bool log_target : {false, true}) {
      for (const Reduction reduction : {Reduction::mean, Reduction::batchmean}) {
        const std::string text = thrown_text<ValueError>(
            [&] { kl_div(x, t, {.reduction = reduction, .log_target = log_target}); });
        BOOST_TEST(holds(text, "kl_div"));
        BOOST_TEST(holds(text, name(reduction).data()));
      }
      const Tensor total = kl_div(x, t, {.reduction = Reduction::sum, .log_target = log_target});
      BOOST_TEST(total.item<double>() == 0.0);
      total.backward();
      BOOST_TEST((x.grad().shape() == shape));
      BOOST_TEST((kl_div(x, t, {.reduction = Reduction::none, .log_target = log_target}).shape() == shape));
    }
  }
}

BOOST_AUTO_TEST_CASE(another_shape_and_integers_are_refused) {
  const std::string text = thrown_text<ShapeError>([] { kl_div(zeros({128, 10}), zeros({128, 1})); });
  BOOST_TEST(text == "kl_div: input has shape (128, 10) but target has shape (128, 1); they must be equal");
  BOOST_CHECK_THROW(kl_div(zeros({2, 3}), zeros({3})), ShapeError);
  BOOST_CHECK_THROW(kl_div(zeros({2, 3}), zeros({})), ShapeError);
  BOOST_CHECK_THROW(kl_div(zeros({1}), zeros({})), ShapeError);
  const std::string type = thrown_text<TypeError>([] { kl_div(zeros({3}), zeros({3}, DType::int64)); });
  BOOST_TEST(holds(type, "int64"));
  BOOST_CHECK_THROW(kl_div(zeros({3}, DType::int64), zeros({3})), TypeError);
}

BOOST_AUTO_TEST_CASE(mixed_types_promote) {
  const Heard heard;
  const Tensor x = tensor({-1.f, -2.f}).set_requires_grad(), t = tensor({0.25, 0.75}).set_requires_grad();
  const Tensor loss = kl_div(x, t, {.reduction = Reduction::sum});
  BOOST_TEST((loss.dtype() == DType::float64));
  loss.backward();
  BOOST_TEST((x.grad().dtype() == DType::float32));
  BOOST_TEST((t.grad().dtype() == DType::float64));
}

BOOST_AUTO_TEST_CASE(the_class_does_what_the_function_does) {
  const Tensor x = uniform({3, 4}, 1, -3, 0), t = probabilities({3, 4}, 2);
  for (const Reduction reduction : all_reductions) {
    for (const std::optional<bool> size_average :
         {std::optional<bool>(), std::optional(true), std::optional(false)}) {
      for (const std::optional<bool> reduce :
           {std::optional<bool>(), std::optional(true), std::optional(false)}) {
        const KLDivLossOptions options{
            .size_average = size_average, .reduce = reduce, .reduction = reduction};
        std::vector<std::string> by_function, by_class;
        Tensor one, two;
        {
          const Heard heard;
          one = kl_div(x, t, options);
          by_function = heard.texts;
        }
        {
          const Heard heard;
          two = KLDivLoss(options)(x, t);
          by_class = heard.texts;
        }
        BOOST_TEST(by_function == by_class, boost::test_tools::per_element());
        BOOST_TEST((one.shape() == two.shape()));
        BOOST_TEST(one.values<double>() == two.values<double>(), boost::test_tools::per_element());
        // The deprecated arguments select the reduction by the table; nothing else is divided.
        Reduction expected = reduction;
        if (size_average || reduce)
          expected = !reduce.value_or(true)        ? Reduction::none
                     : size_average.value_or(true) ? Reduction::mean
                                                   : Reduction::sum;
        const Heard unheard;
        BOOST_TEST(one.values<double>() == kl_div(x, t, {.reduction = expected}).values<double>(),
                   boost::test_tools::per_element());
        BOOST_TEST(
            (by_function.size() == std::size_t(size_average || reduce) + (expected == Reduction::mean)));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_mean_warns_once_and_names_batchmean) {
  const Tensor x = tensor({-1.0, -2.0}), t = tensor({0.25, 0.75});
  const Heard heard;
  kl_div(x, t, {.reduction = Reduction::batchmean});
  BOOST_TEST(heard.texts.empty());
  KLDivLoss loss;
  loss(x, t);
  loss(x, t);
  kl_div(x, t);
  BOOST_REQUIRE_EQUAL(heard.texts.size(), 1u);
  BOOST_TEST(holds(heard.texts[0], "batchmean"));
}

BOOST_AUTO_TEST_CASE(the_deprecated_arguments_warn_once) {
  const Tensor x = tensor({-1.0, -2.0}), t = tensor({0.25, 0.75});
  const Heard heard;
  kl_div(x, t, {.size_average = false});
  kl_div(x, t, {.reduce = false});
  BOOST_REQUIRE_EQUAL(heard.texts.size(), 1u);
  BOOST_TEST(holds(heard.texts[0], "deprecated"));
}

BOOST_AUTO_TEST_CASE(an_input_that_is_no_log_probability_warns_once) {
  const Tensor t = tensor({0.25, 0.75, 0.0});
  for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::batchmean}) {
    for (const bool log_target : {false, true}) {
      const Heard heard;
      const KLDivLossOptions options{.reduction = reduction, .log_target = log_target};
      kl_div(tensor({-1.0, -2.0, 0.0}), t, options);
      kl_div(tensor({-1.0, 9e-6, -inf}), t, options);  // a rounding error above 0
      BOOST_TEST(heard.texts.empty());
      kl_div(tensor({-1.0, 1.1e-5, -1.0}), t, options);
      kl_div(tensor({-1.0, 2.0, -1.0}), t, options);
      BOOST_REQUIRE_EQUAL(heard.texts.size(), 1u);
      BOOST_TEST(holds(heard.texts[0], "input must be log-probabilities: apply log_softmax"));
    }
  }
}

BOOST_AUTO_TEST_CASE(reductions_by_name) {
  for (const Reduction reduction : all_reductions)
    BOOST_TEST((reduction_from_string(name(reduction)) == reduction));
  for (const char* wrong : {"elementwise_mean", "avg", "", "Mean", "mean "}) {
    const std::string text = thrown_text<ValueError>([&] { (void)reduction_from_string(wrong); });
    BOOST_TEST(holds(text, std::string("'") + wrong + "'"));
    BOOST_TEST(holds(text, "batchmean"));
  }
}

BOOST_AUTO_TEST_CASE(zero_is_the_divergence_of_equal_distributions) {
  const Tensor logits = uniform({20, 33}, 3, -5, 5);
  const double loss =
      kl_div(log_softmax(logits, 1), softmax(logits, 1), {.reduction = Reduction::sum}).item<double>();
  BOOST_TEST(std::abs(loss) < 1e-12);
  const Tensor other = uniform({20, 33}, 4, -5, 5);
  BOOST_TEST(kl_div(log_softmax(logits, 1), softmax(other, 1), {.reduction = Reduction::sum}).item<double>() >
             0.0);
}

BOOST_AUTO_TEST_CASE(only_what_is_wanted_gets_a_gradient) {
  const Tensor x = tensor({-1.0, -2.0}).set_requires_grad(), t = tensor({0.25, 0.75});
  kl_div(x, t, {.reduction = Reduction::sum}).backward();
  BOOST_TEST(x.grad().defined());
  BOOST_TEST(!t.grad().defined());
  const Tensor u = t.clone().set_requires_grad();
  kl_div(x.detach(), u, {.reduction = Reduction::sum}).backward();
  BOOST_TEST(u.grad().values<double>()[0] == std::log(0.25) + 2, boost::test_tools::tolerance(1e-14));
}

BOOST_AUTO_TEST_CASE(empty_braces_are_the_default_options) {
  const Tensor x = log_softmax(tensor({1.0, 2.0, 3.0, 4.0}, {2, 2}), 1), t = softmax(x * 2.0, 1);
  const Tensor labels = tensor<std::int64_t>({0, 1}, {2});
  BOOST_TEST(KLDivLoss({})(x, t).item<double>() == kl_div(x, t).item<double>());
  BOOST_TEST(MSELoss({})(x, t).item<double>() == mse_loss(x, t).item<double>());
  BOOST_TEST(NLLLoss({})(x, labels).item<double>() == nll_loss(x, labels).item<double>());
  BOOST_TEST(CrossEntropyLoss({})(x, labels).item<double>() == cross_entropy(x, labels).item<double>());
  BOOST_TEST(DistillationLoss({})({.student = x, .teacher = t}).item<double>() ==
             distillation_loss({.student = x, .teacher = t}).item<double>());
}

BOOST_AUTO_TEST_SUITE_END()
