// Numerical checks of gradients.
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

/// The result of a check; converts to bool and streams the first mismatch.
struct GradcheckReport {
  /// True if no mismatch was found.
  bool passed = true;
  /// Position of the input; for gradgradcheck, the number of inputs denotes the cotangent.
  std::int64_t input = -1;
  std::int64_t element = -1;  ///< flat index of its element
  double analytic = 0;        ///< the derivative of the rule
  double numeric = 0;         ///< the central difference
  std::string what = {};      ///< description of the mismatch; empty if passed

  /// Returns `passed`.
  explicit operator bool() const { return passed; }
};
/// Prints the result, with the first mismatch if any.
std::ostream& operator<<(std::ostream& stream, const GradcheckReport& report);

/// A function to check.
using DifferentiableFunction = std::function<Tensor(const std::vector<Tensor>&)>;

/// Compares the gradients of the inputs that require one (of all inputs if none does) with central
/// differences (f(x + eps) - f(x - eps)) / 2 eps, for a fixed random cotangent of the output. Checks both
/// rules of an operation, .vjp and .fast_vjp. f must be deterministic.
///
/// The values of the inputs are restored. Since they changed in between, a graph that was recorded over the
/// inputs before the check can no longer be differentiated: backward() throws GraphError.
///
/// Throws: TypeError if an input is float32 or the result is not float64; ValueError if f is empty, no input
/// is float64, an input or the result is undefined, or an option is out of range; ShapeError if the results
/// of f differ in shape.
GradcheckReport gradcheck(const DifferentiableFunction& f, const Tensors& inputs,
                          GradcheckOptions options = {});
/// As gradcheck(), for the derivatives of the gradients with respect to the inputs and the cotangent. The
/// .vjp rules are differentiated; their gradients must also equal those of the .fast_vjp rules within `atol`
/// and `rtol`. First derivatives are not compared with differences: call gradcheck() as well.
GradcheckReport gradgradcheck(const DifferentiableFunction& f, const Tensors& inputs,
                              GradcheckOptions options = {});

}  // namespace retort
