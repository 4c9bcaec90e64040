// Numerical checks of derivatives.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

struct GradcheckOptions {
  double eps = 1e-6;   ///< step of the central difference
  double atol = 1e-5;  ///< |analytic - numeric| <= atol + rtol * |numeric|
  double rtol = 1e-3;
};

/// What a check found; tests as bool and streams the first mismatch.
struct GradcheckReport {
  /// The result.
  bool passed = true;
  std::int64_t input = -1;    ///< position of the input
  std::int64_t element = -1;  ///< flat index of its element
  /// The two values that differ.
  double analytic = 0;
  double numeric = 0;
  std::string what = {};  ///< in words; empty when passed

  /// True if no mismatch was found.
  explicit operator bool() const { return passed; }
};
/// Prints the result, with the first mismatch if there is one.
std::ostream& operator<<(std::ostream& stream, const GradcheckReport& report);

/// A function of tensors to be checked.
using DifferentiableFunction = std::function<Tensor(const std::vector<Tensor>&)>;

/// Compares the gradient of every input that requires one (of all inputs when none does) with central
/// differences (f(x + eps) - f(x - eps)) / 2 eps, for a fixed random cotangent of the output. Both rules of
/// an operation are checked, its .vjp and its .fast_vjp. Inputs are float64 (TypeError otherwise); their
/// values are the same afterwards. f must be deterministic.
GradcheckReport gradcheck(const DifferentiableFunction& f, const Tensors& inputs,
                          GradcheckOptions options = {});
/// The same for the derivatives of the gradients, with respect to the inputs and to the cotangent.
/// The derivatives are of the .vjp rules; their gradients must also equal those of the .fast_vjp rules.
GradcheckReport gradgradcheck(const DifferentiableFunction& f, const Tensors& inputs,
                              GradcheckOptions options = {});

}  // namespace retort
