// Accuracy of the float32 kernels against float64 against their bounds, with eps = 2^-23, on 10^6 random
// values with offsets up to 1e4. Prints the worst ratio of an error to its bound.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <iostream>
#include <vector>

#include "framework/ops/references.hpp"
#include "retort/retort.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

constexpr double eps = 0x1p-23;

/// Rows of one kind: `classes` normal draws of some width around an offset.
struct Rows {
  std::int64_t classes;
  double width, offset;
};
const Rows kinds[] = {{10, 1, 0},   {10, 20, 0},    {33, 3, 1e4}, {33, 3, -1e4},
                      {1000, 5, 0}, {1000, 1, 1e4}, {32000, 4, 0}};

/// About 150,000 values of a kind: seven kinds make a million.
std::vector<float> draw(const Rows& kind, std::uint64_t seed) {
  Generator generator(seed);
  const std::int64_t rows = std::max<std::int64_t>(1, 150'000 / kind.classes);
  std::vector<float> values = randn({rows * kind.classes}, DType::float32, generator).values<float>();
  for (float& value : values)
    value = static_cast<float>(kind.offset + kind.width * static_cast<double>(value));
  return values;
}

Tensor matrix(const std::vector<float>& values, std::int64_t classes) {
  return tensor(values, {static_cast<std::int64_t>(values.size()) / classes, classes});
}

class Worst {
 public:
  explicit Worst(const char* what) : what_(what) {}
  ~Worst() {
    std::cout << "accuracy, " << what_ << ": worst error is " << ratio_ << " of its bound, over " << count_
              << " values\n";
    BOOST_TEST(ratio_ <= 1.0);
  }
  Worst(const Worst&) = delete;
  Worst& operator=(const Worst&) = delete;
  void see(double got, double want, double bound) {
    ++count_;
    const double error = std::abs(got - want);
    if (!(error <= ratio_ * bound)) ratio_ = bound > 0 && !std::isnan(error) ? error / bound : HUGE_VAL;
  }

 private:
  const char* what_;
  double ratio_ = 0;
  std::int64_t count_ = 0;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(accuracy)

BOOST_AUTO_TEST_CASE(softmax_family) {
  Worst softmax_error("softmax"), log_softmax_error("log_softmax"), logsumexp_error("logsumexp");
  for (const Rows& kind : kinds) {
    const std::vector<float> values = draw(kind, 1);
    const Tensor x = matrix(values, kind.classes);
    const Tensor p = softmax(x, 1), log_p = log_softmax(x, 1), lse = logsumexp(x, 1);
    const auto classes = static_cast<std::size_t>(kind.classes);
    for (std::size_t row = 0; row * classes < values.size(); ++row) {
      const Doubles exact(values.begin() + row * classes, values.begin() + (row + 1) * classes);
      const double most = largest(exact);
      const Doubles want = log_softmax_of(exact);
      for (std::size_t c = 0; c < classes; ++c) {
        const std::size_t i = row * classes + c;
        const double value = std::exp(want[c]);
        // Below the smallest normal number a float cannot hold more than an absolute error.
        softmax_error.see(p.data<float>()[i], value,
                          4 * eps * (1 + std::abs(exact[c] - most)) * value + 0x1p-149);
        log_softmax_error.see(log_p.data<float>()[i], want[c], 4 * eps * (1 + std::abs(want[c])));
      }
      logsumexp_error.see(lse.data<float>()[row], log_sum_exp(exact),
                          4 * eps * (1 + std::abs(most) + std::log(static_cast<double>(classes))));
    }
  }
}

BOOST_AUTO_TEST_CASE(softmax_family_along_the_first_dimension) {
  Worst softmax_error("softmax, dim 0"), log_softmax_error("log_softmax, dim 0"),
      logsumexp_error("logsumexp, dim 0");
  for (const Rows& kind : kinds) {
    const std::vector<float> values = draw(kind, 2);
    const auto classes = static_cast<std::size_t>(kind.classes), columns = values.size() / classes;
    const Tensor x = tensor(values, {kind.classes, static_cast<std::int64_t>(columns)});
    const Tensor p = softmax(x, 0), log_p = log_softmax(x, 0), lse = logsumexp(x, 0);
    for (std::size_t column = 0; column < columns; ++column) {
      Doubles exact;
      for (std::size_t c = 0; c < classes; ++c) exact.push_back(values[c * columns + column]);
      const double most = largest(exact);
      const Doubles want = log_softmax_of(exact);
      for (std::size_t c = 0; c < classes; ++c) {
        const std::size_t i = c * columns + column;
        const double value = std::exp(want[c]);
        softmax_error.see(p.data<float>()[i], value,
                          4 * eps * (1 + std::abs(exact[c] - most)) * value + 0x1p-149);
        log_softmax_error.see(log_p.data<float>()[i], want[c], 4 * eps * (1 + std::abs(want[c])));
      }
      logsumexp_error.see(lse.data<float>()[column], log_sum_exp(exact),
                          4 * eps * (1 + std::abs(most) + std::log(static_cast<double>(classes))));
    }
  }
}

BOOST_AUTO_TEST_CASE(divergence) {
  Worst term_error("kl_div, terms"), sum_error("kl_div, sum"), log_sum_error("kl_div, sum, log target");
  for (const Rows& kind : kinds) {
    const Tensor x = log_softmax(matrix(draw(kind, 3), kind.classes), 1);
    const Tensor log_t = log_softmax(matrix(draw(kind, 4), kind.classes), 1), t = exp(log_t);
    const Tensor terms = kl_div(x, t, {.reduction = Reduction::none});
    double sum = 0, log_sum = 0, bound = 0, log_bound = 0;
    for (std::size_t i = 0; i < x.data<float>().size(); ++i) {
      const double xi = x.data<float>()[i], ti = t.data<float>()[i], ui = log_t.data<float>()[i];
      const double term = ti == 0 ? 0 : ti * (std::log(ti) - xi), log_term = std::exp(ui) * (ui - xi);
      const double size = ti == 0 ? 0 : std::abs(ti) * (std::abs(std::log(ti)) + std::abs(xi));
      term_error.see(terms.data<float>()[i], term, 4 * eps * size + 0x1p-149);
      sum += term, log_sum += log_term;
      bound += size, log_bound += std::exp(ui) * (std::abs(ui) + std::abs(xi));
    }
    sum_error.see(kl_div(x, t, {.reduction = Reduction::sum}).item<float>(), sum, 4 * eps * bound);
    log_sum_error.see(kl_div(x, log_t, {.reduction = Reduction::sum, .log_target = true}).item<float>(),
                      log_sum, 4 * eps * log_bound);
  }
}

BOOST_AUTO_TEST_CASE(sums_of_ten_million) {
  Worst error("sum of 10^7 floats");
  Generator generator(5);
  for (const double offset : {0.0, 1.0, 1e4}) {
    const Tensor x = rand({10'000'000}, DType::float32, generator) + offset;
    double exact = 0, absolute = 0, lost = 0;
    for (const float value : x.data<float>()) {
      const double next = exact + (value - lost);  // Kahan's sum
      lost = (next - exact) - (value - lost);
      exact = next;
      absolute += std::abs(static_cast<double>(value));
    }
    error.see(sum(x).item<float>(), exact, 4 * eps * absolute);
    const Tensor columns = sum(reshape(x, {1'000'000, 10}), 0);
    error.see(sum(columns.to(DType::float64)).item<double>(), exact, 4 * eps * absolute);
    error.see(mean(x).item<float>(), exact / 1e7, 4 * eps * absolute / 1e7);
  }
}

BOOST_AUTO_TEST_CASE(fused_distillation) {
  Worst error("distillation_loss");
  for (const Rows& kind : kinds) {
    const std::vector<float> s = draw(kind, 6), t = draw(kind, 7);
    const double T = 4;
    const Tensor loss =
        distillation_loss({.student = matrix(s, kind.classes), .teacher = matrix(t, kind.classes)},
                          {.temperature = T, .reduction = Reduction::none});
    const auto classes = static_cast<std::size_t>(kind.classes);
    for (std::size_t row = 0; row * classes < s.size(); ++row) {
      Doubles x(s.begin() + row * classes, s.begin() + (row + 1) * classes);
      Doubles u(t.begin() + row * classes, t.begin() + (row + 1) * classes);
      for (double& value : x) value /= T;
      for (double& value : u) value /= T;
      // The softened logits themselves are rounded, offset included.
      const double logits = std::max(std::abs(largest(x)), std::abs(largest(u)));
      x = log_softmax_of(x), u = log_softmax_of(u);
      double exact = 0, size = 0;
      for (std::size_t c = 0; c < classes; ++c) {
        exact += std::exp(u[c]) * (u[c] - x[c]);
        size += std::exp(u[c]) * (std::abs(u[c]) + std::abs(x[c]));
      }
      error.see(loss.data<float>()[row], T * T * exact, 4 * eps * T * T * (size + logits));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
