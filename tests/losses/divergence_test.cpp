// The divergences of distillation_loss at their edges.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "retort/losses/linear_distillation_loss.hpp"
#include "retort/retort.hpp"
#include "tests_support.hpp"

namespace retort::tests {
namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();

std::vector<Divergence> all_divergences() {
  std::vector<Divergence> all;
  for (int i = 0; i <= static_cast<int>(Divergence::logit_mse); ++i)
    all.push_back(static_cast<Divergence>(i));
  return all;
}

struct Outcome {
  Tensor value, student, teacher;
};

/// Loss and both gradients, by the kernel or by the rules in operations.
Outcome outcome(const Tensor& student, const Tensor& teacher, const DistillationLossOptions& options,
                bool recorded, const Tensor& labels = {}) {
  const Tensor s = student.clone().set_requires_grad(), t = teacher.clone().set_requires_grad();
  const Tensor loss = distillation_loss({.student = s, .teacher = t, .labels = labels}, options);
  const Tensors gradients = grad({loss}, {s, t}, {.create_graph = recorded});
  return {loss.detach(), gradients[0].detach(), gradients[1].detach()};
}

bool close(const Tensor& a, const Tensor& b, double tolerance) {
  const std::vector<double> x = a.values<double>(), y = b.values<double>();
  for (std::size_t i = 0; i < x.size(); ++i)
    if (!(std::abs(x[i] - y[i]) <= tolerance * (1 + std::abs(y[i]))) && x[i] != y[i]) return false;
  return x.size() == y.size();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(divergences_of_distillation)

BOOST_AUTO_TEST_CASE(names) {
  for (const Divergence divergence : all_divergences())
    BOOST_TEST((divergence_from_string(name(divergence)) == divergence));
  BOOST_CHECK_THROW(divergence_from_string("kl"), ValueError);
}

BOOST_AUTO_TEST_CASE(kernel_equals_definition) {
  manual_seed(3);
  for (const DType dtype : {DType::float32, DType::float64})
    for (const Divergence divergence : all_divergences())
      for (const std::int64_t classes : {1, 2, 7, 64, 65, 1000, 3000, 270000})
        for (const double temperature : {0.01, 1.0, 3.0, 100.0}) {
          if (classes == 270000 && temperature != 3.0) continue;
          const double spread = temperature == 0.01 ? 0.02 : 2;
          const Tensor s = (randn({2, classes}) * spread).to(dtype),
                       t = (randn({2, classes}) * spread).to(dtype);
          const DistillationLossOptions options{.temperature = temperature,
                                                .alpha = 0.6,
                                                .detach_teacher = false,
                                                .divergence = divergence,
                                                .beta = 0.2,
                                                .standardize = classes == 7 || classes == 65};
          const Tensor labels = zeros({2}, DType::int64);
          const Outcome fast = outcome(s, t, options, false, labels),
                        slow = outcome(s, t, options, true, labels);
          const double tolerance = dtype == DType::float32 ? 2e-4 : 1e-9;
          BOOST_TEST_CONTEXT(name(divergence) << ", " << classes << " classes, T " << temperature) {
            BOOST_TEST(std::isfinite(fast.value.item<double>()));
            BOOST_TEST(close(fast.student, slow.student, tolerance));
            BOOST_TEST(close(fast.teacher, slow.teacher, tolerance));
          }
        }
}

BOOST_AUTO_TEST_CASE(large_logits_and_absent_classes) {
  const Tensor s = tensor(std::vector<double>{1e4, -1e4, 0, -infinite}, {1, 4});
  const Tensor t = tensor(std::vector<double>{-1e4, 1e4, 3, -infinite}, {1, 4});
  for (const DType dtype : {DType::float32, DType::float64})
    for (const Divergence divergence : all_divergences())
      for (const bool standardize : {false, true}) {
        const DistillationLossOptions options{
            .temperature = 2, .detach_teacher = false, .divergence = divergence, .standardize = standardize};
        const Outcome fast = outcome(s.to(dtype), t.to(dtype), options, false),
                      slow = outcome(s.to(dtype), t.to(dtype), options, true);
        BOOST_TEST_CONTEXT(name(divergence) << (standardize ? ", standardized" : "")) {
          BOOST_TEST(std::isfinite(fast.value.item<double>()));
          BOOST_TEST(close(fast.student, slow.student, 1e-5));
          BOOST_TEST(close(fast.teacher, slow.teacher, 1e-5));
          BOOST_TEST(fast.student.values<double>()[3] == 0);
        }
      }
}

BOOST_AUTO_TEST_CASE(nan_and_infinity_show_in_the_loss_and_the_gradients) {
  for (const double value : {std::nan(""), infinite})
    for (const Divergence divergence : all_divergences())
      for (const std::int64_t classes : {5, 100})
        for (const bool of_teacher : {false, true}) {
          const bool mse = divergence == Divergence::logit_mse;
          Tensor good = arange(classes).to(DType::float32) / 10, bad = flip(good, {0});
          bad.mutable_data<float>()[2] = static_cast<float>(value);
          if (of_teacher) std::swap(good, bad);
          const Outcome fast =
              outcome(unsqueeze(bad, 0), unsqueeze(good, 0),
                      {.temperature = 2, .detach_teacher = false, .divergence = divergence}, false);
          BOOST_TEST_CONTEXT(name(divergence) << ", " << classes << " classes, " << value) {
            BOOST_TEST(!std::isfinite(fast.value.item<double>()));
            const std::vector<double> student = fast.student.values<double>(),
                                      teacher = fast.teacher.values<double>();
            for (std::size_t i = 0; i < student.size() && !mse; ++i)
              BOOST_TEST((std::isnan(student[i]) && std::isnan(teacher[i])));
          }
        }
}

BOOST_AUTO_TEST_CASE(equal_logits) {
  manual_seed(4);
  for (const std::int64_t classes : {1, 10, 500}) {
    const Tensor s = randn({3, classes}) * 4;
    for (const Divergence divergence : all_divergences()) {
      const Outcome same =
          outcome(s, s, {.detach_teacher = false, .divergence = divergence, .beta = 0.3}, false);
      BOOST_TEST_CONTEXT(name(divergence) << ", " << classes << " classes") {
        BOOST_TEST(std::abs(same.value.item<double>()) < 1e-6);
        for (const Tensor& gradient : {same.student, same.teacher})
          for (const double g : gradient.values<double>()) BOOST_TEST(std::abs(g) < 1e-6);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(weights_that_add_up_to_0) {
  const Tensor s = randn({3, 5}).set_requires_grad(), t = randn({3, 5});
  for (const Divergence divergence : all_divergences()) {
    const Tensor loss =
        distillation_loss({.student = s, .teacher = t, .weight = tensor(std::vector<float>{1, 0, -1}, {3})},
                          {.divergence = divergence});
    BOOST_TEST(loss.item<double>() == 0);
    for (const double g : grad({loss}, {s})[0].values<double>()) BOOST_TEST(g == 0);
  }
}

// Standardized logits do not depend on the scale, even where their squares or sums overflow.
BOOST_AUTO_TEST_CASE(standardized_large_logits) {
  for (const DType dtype : {DType::float32, DType::float64})
    for (const std::int64_t classes : {10, 200})
      for (const double exponent : {50, 64, 80, 126}) {
        const double factor = std::exp2(dtype == DType::float32 ? exponent : 8 * exponent + 14);
        Generator generator(9);
        const Tensor s = rand({5, classes}, dtype, generator) + 0.5,
                     t = rand({5, classes}, dtype, generator) + 0.5;
        // The rows of ordinary size are not affected by the others.
        const Tensor factors = where(less(reshape(arange(5), {5, 1}), 2), 1.0, full({1, 1}, factor, dtype));
        for (const Divergence divergence : all_divergences())
          for (const bool recorded : {false, true}) {
            const DistillationLossOptions options{.reduction = Reduction::none,
                                                  .detach_teacher = false,
                                                  .divergence = divergence,
                                                  .standardize = true};
            const auto of = [&](const Tensor& by) {
              const Tensor x = s.clone().set_requires_grad(), y = t.clone().set_requires_grad();
              const Tensor loss = distillation_loss({.student = x * by, .teacher = y * by}, options);
              const Tensors gradients = grad({sum(loss)}, {x, y}, {.create_graph = recorded});
              return Outcome{loss.detach(), gradients[0].detach(), gradients[1].detach()};
            };
            const Outcome large = of(factors), plain = of(ones({1, 1}, dtype));
            const double tolerance = dtype == DType::float32 ? 3e-5 : 1e-6;
            const std::string what = message("{}, {}, {} classes, factor {}, {}", name(divergence), dtype,
                                             classes, factor, recorded ? "recorded" : "fast");
            BOOST_TEST(close(large.value, plain.value, tolerance), what);
            if (exponent > 100) continue;  // the gradients underflow
            BOOST_TEST(close(large.student, plain.student, tolerance), what);
            BOOST_TEST(close(large.teacher, plain.teacher, tolerance), what);
          }
      }
}

BOOST_AUTO_TEST_CASE(one_standardized_class) {
  const Tensor s = randn({3, 1}).set_requires_grad(), t = randn({3, 1});
  for (const Divergence divergence : all_divergences()) {
    const Tensor loss =
        distillation_loss({.student = s, .teacher = t}, {.divergence = divergence, .standardize = true});
    BOOST_TEST(loss.item<double>() == 0);
    for (const double g : grad({loss}, {s}, {.create_graph = true})[0].values<double>()) BOOST_TEST(g == 0);
  }
}

BOOST_AUTO_TEST_CASE(standardized_short_rows) {
  manual_seed(6);
  const std::int64_t rows = 37, classes = 10;
  Tensor s = randn({rows, classes}) * 3, t = randn({rows, classes}) * 3;
  float *const of_s = s.mutable_data<float>().data(), *const of_t = t.mutable_data<float>().data();
  of_s[2] = of_t[2] = -std::numeric_limits<float>::infinity();  // an excluded class in the first row
  std::fill_n(of_s + classes, classes, 0.1f);                   // a constant row
  std::fill_n(of_t + 2 * classes, classes, std::nanf(""));      // a masked row
  const Tensor labels = full({rows}, 4, DType::int64), mask = ones({rows}, DType::int64);
  mask.mutable_data<std::int64_t>()[2] = 0;
  for (const Divergence divergence : all_divergences())
    for (const double temperature : {1.0, 2.0}) {
      const DistillationInputs inputs{.student = s.detach().set_requires_grad(),
                                      .teacher = t.detach().set_requires_grad(),
                                      .labels = labels,
                                      .mask = mask};
      const Tensor loss = distillation_loss(inputs, {.temperature = temperature,
                                                     .alpha = 0.7,
                                                     .reduction = Reduction::none,
                                                     .detach_teacher = false,
                                                     .divergence = divergence,
                                                     .standardize = true});
      const Tensors fast = grad({sum(loss)}, {inputs.student, inputs.teacher}, {.retain_graph = true}),
                    slow = grad({sum(loss)}, {inputs.student, inputs.teacher}, {.create_graph = true});
      BOOST_TEST_CONTEXT(name(divergence) << ", T " << temperature) {
        BOOST_TEST(std::isfinite(sum(loss).item<double>()));
        for (std::size_t i = 0; i < 2; ++i) BOOST_TEST(close(fast[i], slow[i], 1e-5));
      }
    }
}

BOOST_AUTO_TEST_CASE(same_bits_for_any_number_of_threads) {
  manual_seed(5);
  const Tensor s = randn({700, 130}), t = randn({700, 130});
  for (const Divergence divergence : all_divergences()) {
    const DistillationLossOptions options{
        .temperature = 2, .detach_teacher = false, .divergence = divergence, .standardize = true};
    set_num_threads(1);
    const Outcome one = outcome(s, t, options, false);
    set_num_threads(3);
    const Outcome three = outcome(s, t, options, false);
    BOOST_TEST(one.value.values<double>() == three.value.values<double>());
    BOOST_TEST(one.student.values<double>() == three.student.values<double>());
    BOOST_TEST(one.teacher.values<double>() == three.teacher.values<double>());
  }
}

BOOST_AUTO_TEST_CASE(ranges_of_beta) {
  const Tensor s = randn({3, 5});
  const auto loss = [&](Divergence divergence, double beta) {
    return distillation_loss({.student = s, .teacher = s}, {.divergence = divergence, .beta = beta});
  };
  for (const double beta : {0.0, 1.0, -0.1, std::nan("")})
    BOOST_CHECK_THROW(loss(Divergence::jensen_shannon, beta), ValueError);
  for (const Divergence skew : {Divergence::skew_kl, Divergence::skew_reverse_kl}) {
    BOOST_CHECK_SMALL(loss(skew, 0).item<double>(), 1e-6);
    for (const double beta : {1.0, -0.1, std::nan("")}) BOOST_CHECK_THROW(loss(skew, beta), ValueError);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retort::tests
