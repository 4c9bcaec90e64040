// Elementwise operations with NumPy broadcasting.
//
// Binary operations take tensors whose shapes broadcast (ShapeError otherwise); float32 with float64 gives
// float64, int64 with a float type gives that type. A Scalar does not change the tensor's type, except that
// a fraction makes an int64 tensor float32. exp, log, tanh, sigmoid, sqrt, silu, gelu and / take int64 as
// float32.
#pragma once

#include <optional>

#include "retort/framework/core/engine_ops.hpp"
#include "retort/framework/core/factories.hpp"

namespace retort {

/// Sums, differences and products, element by element. Tensors broadcast and promote; a number does not
/// promote.
[[nodiscard]] Tensor add(const Tensor& a, Scalar b);
[[nodiscard]] Tensor sub(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor sub(const Tensor& a, Scalar b);
[[nodiscard]] Tensor sub(Scalar a, const Tensor& b);
[[nodiscard]] Tensor mul(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor mul(const Tensor& a, Scalar b);
/// a / b, of int64 too a true division. x/0 is ±inf, 0/0 NaN.
[[nodiscard]] Tensor div(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor div(const Tensor& a, Scalar b);
[[nodiscard]] Tensor div(Scalar a, const Tensor& b);
/// -x.
[[nodiscard]] Tensor neg(const Tensor& x);

/// The functions of these names as operators.
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
/// Natural logarithm: log 0 = -inf, NaN below; dx = g / x.
[[nodiscard]] Tensor log(const Tensor& x);
[[nodiscard]] Tensor tanh(const Tensor& x);
/// 1 / (1 + e^-x), without overflow.
[[nodiscard]] Tensor sigmoid(const Tensor& x);
/// NaN below 0; the gradient at 0 is infinite.
[[nodiscard]] Tensor sqrt(const Tensor& x);
/// |x|; the gradient at 0 is 0.
[[nodiscard]] Tensor abs(const Tensor& x);
/// max(x, 0); the gradient at 0 is 0. NaN passes, and where x is NaN so does the gradient.
[[nodiscard]] Tensor relu(const Tensor& x);
/// x · sigmoid(x).
[[nodiscard]] Tensor silu(const Tensor& x);

/// sin x and cos x, of radians.
[[nodiscard]] Tensor sin(const Tensor& x);
[[nodiscard]] Tensor cos(const Tensor& x);
/// The error function, 2/√π ∫₀ˣ exp(-t²) dt, and 1 - erf(x), which is accurate where it is small.
[[nodiscard]] Tensor erf(const Tensor& x);
[[nodiscard]] Tensor erfc(const Tensor& x);
/// ln(1 + x) and e^x - 1, accurate for small x.
[[nodiscard]] Tensor log1p(const Tensor& x);
[[nodiscard]] Tensor expm1(const Tensor& x);

/// The form of gelu: exact, or with tanh.
enum class GeluApproximation { none, tanh };
/// x · Φ(x) with Φ the standard normal distribution (Hendrycks and Gimpel, 2016), or with its tanh
/// approximation Φ(x) ≈ (1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2.
[[nodiscard]] Tensor gelu(const Tensor& x, GeluApproximation approximate = GeluApproximation::none);

struct SoftplusOptions {
  double beta = 1;
  double threshold = 20;
};
/// ln(1 + exp(beta·x)) / beta, a smooth relu; x itself where beta·x > threshold.
/// Throws: ValueError unless beta is positive and finite, and for a NaN threshold.
[[nodiscard]] Tensor softplus(const Tensor& x, SoftplusOptions options = {});
/// x above 0, alpha·(e^x - 1) elsewhere (Clevert, Unterthiner and Hochreiter, 2016). The gradient at 0 is
/// alpha. Throws: ValueError unless alpha is finite.
[[nodiscard]] Tensor elu(const Tensor& x, double alpha = 1);
/// x above 0, slope·x elsewhere. The gradient at 0 is `slope`. Throws: ValueError unless it is finite.
[[nodiscard]] Tensor leaky_relu(const Tensor& x, double slope = 0.01);
/// ln(e^a + e^b) without overflow. Shapes: a and b broadcast. Equal infinities give that infinity.
[[nodiscard]] Tensor logaddexp(const Tensor& a, const Tensor& b);

/// x^s; the gradient for s = 0 is 0.
[[nodiscard]] Tensor pow(const Tensor& x, Scalar exponent);
/// x^y. d/dx is 0 where y = 0, d/dy is 0 where x = 0 and y >= 0.
[[nodiscard]] Tensor pow(const Tensor& x, const Tensor& exponent);
[[nodiscard]] Tensor pow(Scalar base, const Tensor& exponent);

/// min(max(x, lo), hi), either bound optional (ValueError without any); NaN passes. The gradient passes at
/// the bounds.
[[nodiscard]] Tensor clamp(const Tensor& x, std::optional<double> lo, std::optional<double> hi);

/// The larger and the smaller of both; NaN when either is. A tie shares the gradient evenly.
[[nodiscard]] Tensor maximum(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor minimum(const Tensor& a, const Tensor& b);

/// a where condition is not 0, else b. The condition is int64 (TypeError otherwise). All three broadcast.
[[nodiscard]] Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor where(const Tensor& condition, const Tensor& a, Scalar b);
[[nodiscard]] Tensor where(const Tensor& condition, Scalar a, const Tensor& b);

/// Comparisons: int64 0 or 1, without history. With NaN on a side only not_equal holds.
[[nodiscard]] Tensor equal(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor equal(const Tensor& a, Scalar b);
[[nodiscard]] Tensor not_equal(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor not_equal(const Tensor& a, Scalar b);
[[nodiscard]] Tensor less(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor less(const Tensor& a, Scalar b);
[[nodiscard]] Tensor less_equal(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor less_equal(const Tensor& a, Scalar b);
[[nodiscard]] Tensor greater(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor greater(const Tensor& a, Scalar b);
[[nodiscard]] Tensor greater_equal(const Tensor& a, const Tensor& b);
[[nodiscard]] Tensor greater_equal(const Tensor& a, Scalar b);
[[nodiscard]] Tensor isnan(const Tensor& x);
[[nodiscard]] Tensor isfinite(const Tensor& x);

}  // namespace retort
