// Elementwise operations with NumPy broadcasting.
//
// The shapes of the two tensors of a binary operation broadcast (otherwise ShapeError). float32 with float64
// gives float64; int64 with a float type gives that type. A Scalar does not change the tensor's type, except
// that a floating-point number makes an int64 tensor float32. Division and functions with fractional values,
// such as exp, sqrt and gelu, convert int64 to float32.
#pragma once

#include <optional>

#include "retort/framework/core/engine_ops.hpp"
#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// a + b. Tensors broadcast and promote; a number does not promote.
[[nodiscard]] Tensor add(const Tensor& a, Scalar b);
/// a - b, broadcast and promoted as add().
[[nodiscard]] Tensor sub(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor sub(const Tensor& a, Scalar b);
[[nodiscard]] Tensor sub(Scalar a, const Tensor& b);
/// a · b, broadcast and promoted as add().
[[nodiscard]] Tensor mul(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor mul(const Tensor& a, Scalar b);
/// a / b; two int64 operands give float32. x/0 is ±inf, 0/0 is NaN.
[[nodiscard]] Tensor div(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor div(const Tensor& a, Scalar b);
[[nodiscard]] Tensor div(Scalar a, const Tensor& b);
/// -x.
[[nodiscard]] Tensor neg(const Tensor& x);

/// The operations add(), sub(), mul(), div() and neg() as operators.
inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator+(const Tensor& a, Scalar b) { return add(a, b); }
inline Tensor operator+(Scalar a, const Tensor& b) { return add(b, a); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator-(const Tensor& a, Scalar b) { return sub(a, b); }
inline Tensor operator-(Scalar a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator*(const Tensor& a, Scalar b) { return mul(a, b); }
inline Tensor operator*(Scalar a, const Tensor& b) { return mul(b, a); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator/(const Tensor& a, Scalar b) { return div(a, b); }
inline Tensor operator/(Scalar a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& x) { return neg(x); }

/// e^x; dx = g·y.
[[nodiscard]] Tensor exp(const Tensor& x);
/// Natural logarithm: log 0 = -inf, and NaN for negative x; dx = g / x.
[[nodiscard]] Tensor log(const Tensor& x);
/// Hyperbolic tangent; dx = g·(1 - y²).
[[nodiscard]] Tensor tanh(const Tensor& x);
/// 1 / (1 + e^-x), without overflow.
[[nodiscard]] Tensor sigmoid(const Tensor& x);
/// √x: NaN for negative x; the gradient at 0 is infinite.
[[nodiscard]] Tensor sqrt(const Tensor& x);
/// |x|; the gradient at 0 is 0.
[[nodiscard]] Tensor abs(const Tensor& x);
/// max(x, 0), and -0 for -0; the gradient at 0 is 0. NaN propagates, and its gradient is g.
[[nodiscard]] Tensor relu(const Tensor& x);
/// x · sigmoid(x). NaN for -inf, as in PyTorch.
[[nodiscard]] Tensor silu(const Tensor& x);
/// min(max(x, 0), 6); the gradient at 0 and 6 is 0. NaN propagates, and its gradient is g.
[[nodiscard]] Tensor relu6(const Tensor& x);
/// relu6(x + 3) / 6; the gradient at -3 and 3 is 0. NaN propagates, and its gradient is 0.
[[nodiscard]] Tensor hardsigmoid(const Tensor& x);
/// x · relu6(x + 3) / 6 (Howard et al., 2019); the gradient is 0 at -3 and 1 at 3. 0 for -inf, where PyTorch
/// gives NaN.
[[nodiscard]] Tensor hardswish(const Tensor& x);
/// x for x > 0, otherwise weight·x (He et al., 2015). The gradient at 0 is the weight.
/// Shapes: weight [1], for all elements, or [C] for x [N, C, ...].
/// Throws: ShapeError if the weight does not fit.
[[nodiscard]] Tensor prelu(const Tensor& x, const Tensor& weight);

/// sin x, with x in radians; dx = g·cos x.
[[nodiscard]] Tensor sin(const Tensor& x);
/// cos x, with x in radians; dx = -g·sin x.
[[nodiscard]] Tensor cos(const Tensor& x);
/// The error function 2/√π ∫₀ˣ exp(-t²) dt.
[[nodiscard]] Tensor erf(const Tensor& x);
/// 1 - erf(x), accurate even where it is small.
[[nodiscard]] Tensor erfc(const Tensor& x);
/// ln(1 + x), accurate for small x.
[[nodiscard]] Tensor log1p(const Tensor& x);
/// e^x - 1, accurate for small x.
[[nodiscard]] Tensor expm1(const Tensor& x);

/// The formula of gelu: exact, or the tanh approximation.
enum class GeluApproximation { none, tanh };
/// x · Φ(x), where Φ is the standard normal distribution function (Hendrycks and Gimpel, 2016) or its tanh
/// approximation Φ(x) ≈ (1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2. NaN for -inf, as in PyTorch.
[[nodiscard]] Tensor gelu(const Tensor& x, GeluApproximation approximate = GeluApproximation::none);

struct SoftplusOptions {
  double beta = 1;
  double threshold = 20;
};
/// ln(1 + exp(beta·x)) / beta, a smooth relu; x where beta·x > threshold.
/// Throws: ValueError unless beta is positive and finite, or if the threshold is NaN.
[[nodiscard]] Tensor softplus(const Tensor& x, SoftplusOptions options = {});
/// x for x > 0, otherwise alpha·(e^x - 1) (Clevert, Unterthiner and Hochreiter, 2016). The gradient at 0 is
/// alpha.
/// Throws: ValueError unless alpha is finite.
[[nodiscard]] Tensor elu(const Tensor& x, double alpha = 1);
/// x for x > 0, otherwise slope·x. The gradient at 0 is `slope`.
/// Throws: ValueError unless the slope is finite.
[[nodiscard]] Tensor leaky_relu(const Tensor& x, double slope = 0.01);
/// ln(e^a + e^b) without overflow, with broadcasting. Equal infinities give that infinity.
[[nodiscard]] Tensor logaddexp(const Tensor& a, const Tensor& b);

/// x^exponent; the gradient for an exponent of 0 is 0.
[[nodiscard]] Tensor pow(const Tensor& x, Scalar exponent);
/// x^y for the exponent y. d/dx is 0 where y = 0; d/dy is 0 where x = 0 and y >= 0.
[[nodiscard]] Tensor pow(const Tensor& x, const Tensor& exponent);
[[nodiscard]] Tensor pow(Scalar base, const Tensor& exponent);

/// min(max(x, lo), hi), where either bound may be absent. NaN propagates. The gradient passes at the bounds.
/// Throws: ValueError if both bounds are absent.
[[nodiscard]] Tensor clamp(const Tensor& x, std::optional<double> lo, std::optional<double> hi);

/// The larger of a and b; NaN if either is. Ties share the gradient evenly.
[[nodiscard]] Tensor maximum(const Tensor& a, const Tensor& b);
/// The smaller of a and b, with the conventions of maximum().
[[nodiscard]] Tensor minimum(const Tensor& a, const Tensor& b);

/// a where the int64 condition is not 0, otherwise b. All three broadcast.
/// Edge cases: if the condition changes after the call, backward() uses the former values, or with
/// create_graph throws GraphError.
/// Throws: TypeError if the condition is not int64.
[[nodiscard]] Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor where(const Tensor& condition, const Tensor& a, Scalar b);
[[nodiscard]] Tensor where(const Tensor& condition, Scalar a, const Tensor& b);

/// a == b: int64 0 or 1, without history. If either is NaN, 0.
[[nodiscard]] Tensor equal(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor equal(const Tensor& a, Scalar b);
/// a != b: int64 0 or 1, without history. If either is NaN, 1.
[[nodiscard]] Tensor not_equal(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor not_equal(const Tensor& a, Scalar b);
/// a < b: int64 0 or 1, without history. If either is NaN, 0.
[[nodiscard]] Tensor less(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor less(const Tensor& a, Scalar b);
/// a <= b: int64 0 or 1, without history. If either is NaN, 0.
[[nodiscard]] Tensor less_equal(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor less_equal(const Tensor& a, Scalar b);
/// a > b: int64 0 or 1, without history. If either is NaN, 0.
[[nodiscard]] Tensor greater(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor greater(const Tensor& a, Scalar b);
/// a >= b: int64 0 or 1, without history. If either is NaN, 0.
[[nodiscard]] Tensor greater_equal(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor greater_equal(const Tensor& a, Scalar b);
/// int64 1 where x is NaN, otherwise 0; without history.
[[nodiscard]] Tensor isnan(const Tensor& x);
/// int64 0 where x is NaN or infinite, otherwise 1; without history.
[[nodiscard]] Tensor isfinite(const Tensor& x);

}  // namespace retort
