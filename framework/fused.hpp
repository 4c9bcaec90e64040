// fused: an elementwise operation, its gradients and all higher orders from one generic callable.
//
//     rt::Tensor swish_gate(const rt::Tensor& x, const rt::Tensor& y) {
//       const auto f = [](const auto& a, const auto& b) { return a * sigmoid(b) + tanh(a); };
//       return rt::fused("swish_gate", f, x, y);
//     }
// The callable is compiled with the user's flags and, with g++, additionally for processors with AVX2.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "retort/framework/core/op.hpp"
#include "retort/framework/core/require.hpp"
#include "retort/framework/kernels/dual.hpp"
#include "retort/framework/kernels/register.hpp"
#include "retort/framework/ops/elementwise.hpp"

namespace [[RETORT_EXPORT]] retort {
namespace detail {

/// A tensor of element type T as an argument of a fused callable: + - * /, comparisons and functions are the
/// library's operations. A number becomes a tensor of shape {}.
template <class T>
struct Traced : lanes::Arithmetic<Traced<T>> {
  class Condition {
   public:
    Condition() = default;
    explicit Condition(Tensor values) : holds(std::move(values)) {}
    friend Condition operator&(const Condition& a, const Condition& b) {
      return Condition(a.holds * b.holds);
    }
    friend Condition operator|(const Condition& a, const Condition& b) {
      return Condition(not_equal(a.holds + b.holds, 0));
    }
    friend Condition operator!(const Condition& a) { return Condition(equal(a.holds, 0)); }
    Tensor holds;
  };

  Traced() = default;
  explicit Traced(Tensor values) : tensor(std::move(values)) {}
  template <class N>
    requires std::is_arithmetic_v<N>
  Traced(N number) : tensor(full({}, number, dtype_of<T>)) {}  // NOLINT: implicit by design
  Tensor tensor;

  friend Traced operator+(const Traced& a, const Traced& b) { return Traced(a.tensor + b.tensor); }
  friend Traced operator-(const Traced& a, const Traced& b) { return Traced(a.tensor - b.tensor); }
  friend Traced operator*(const Traced& a, const Traced& b) { return Traced(a.tensor * b.tensor); }
  friend Traced operator/(const Traced& a, const Traced& b) { return Traced(a.tensor / b.tensor); }
  friend Traced operator-(const Traced& a) { return Traced(-a.tensor); }
  friend Condition operator<(const Traced& a, const Traced& b) { return Condition(less(a.tensor, b.tensor)); }
  friend Condition operator<=(const Traced& a, const Traced& b) {
    return Condition(less_equal(a.tensor, b.tensor));
  }
  friend Condition operator>(const Traced& a, const Traced& b) { return b < a; }
  friend Condition operator>=(const Traced& a, const Traced& b) { return b <= a; }
  friend Condition operator==(const Traced& a, const Traced& b) {
    return Condition(equal(a.tensor, b.tensor));
  }
  friend Condition operator!=(const Traced& a, const Traced& b) {
    return Condition(not_equal(a.tensor, b.tensor));
  }
  friend Traced where(const Condition& c, const Traced& a, const Traced& b) {
    return Traced(retort::where(c.holds, a.tensor, b.tensor));
  }
  friend Traced exp(const Traced& x) { return Traced(retort::exp(x.tensor)); }
  friend Traced log(const Traced& x) { return Traced(retort::log(x.tensor)); }
  friend Traced tanh(const Traced& x) { return Traced(retort::tanh(x.tensor)); }
  friend Traced sigmoid(const Traced& x) { return Traced(retort::sigmoid(x.tensor)); }
  friend Traced sqrt(const Traced& x) { return Traced(retort::sqrt(x.tensor)); }
  friend Traced abs(const Traced& x) { return Traced(retort::abs(x.tensor)); }
  friend Traced relu(const Traced& x) { return Traced(retort::relu(x.tensor)); }
  friend Traced sin(const Traced& x) { return Traced(retort::sin(x.tensor)); }
  friend Traced cos(const Traced& x) { return Traced(retort::cos(x.tensor)); }
  friend Traced erf(const Traced& x) { return Traced(retort::erf(x.tensor)); }
  friend Traced erfc(const Traced& x) { return Traced(retort::erfc(x.tensor)); }
  friend Traced erfc(const Traced& x, Traced& bell) {             // and exp(-x²)
    const Traced bounded = max(min(x, Traced(30)), Traced(-30));  // keeps the derivative at infinite x at 0
    bell = exp(-bounded * bounded);
    return erfc(x);
  }
  friend Traced log1p(const Traced& x) { return Traced(retort::log1p(x.tensor)); }
  friend Traced expm1(const Traced& x) { return Traced(retort::expm1(x.tensor)); }
  friend Traced pow(const Traced& x, double exponent) { return Traced(retort::pow(x.tensor, exponent)); }
  friend Traced pow(const Traced& x, const Traced& y) { return Traced(retort::pow(x.tensor, y.tensor)); }
  friend Traced max(const Traced& a, const Traced& b) { return Traced(maximum(a.tensor, b.tensor)); }
  friend Traced min(const Traced& a, const Traced& b) { return Traced(minimum(a.tensor, b.tensor)); }
};

/// Computes n elements, a multiple of 16: outputs from inputs, which are arrays of one float type. f is the
/// callable.
using FusedBlock = void (*)(const void* f, const void* const* in, void* const* out, Index n);

/// Calls `block` for all elements of `shape`, to which the inputs broadcast: at most 7, of one float type.
/// Outputs have that shape; an undefined one is passed as a null pointer. Broadcast inputs are expanded piece
/// by piece.
void run_fused(const Shape& shape, DType dtype, std::span<const Tensor> in, std::span<const Tensor> out,
               FusedBlock block, const void* f);
/// The broadcast shape of the inputs.
Shape fused_shape(const char* name, std::span<const Tensor> in);

/// out[0] = f(in...).
template <class T, class F, int N>
struct FusedValue {
  template <int bytes>
  static void run(const void* f, const void* const* in, void* const* out, Index n) {
    using R = lanes::Register<T, bytes>;
    [&]<int... K>(std::integer_sequence<int, K...>) {
      // Copies, which the compiler need not load again after each store.
      const std::array<const T*, N> from{static_cast<const T*>(in[K])...};
      T* const y = static_cast<T*>(out[0]);
      const auto& call = *static_cast<const F*>(f);
      for (Index i = 0; i < n; i += R::size) R(call(R::load(from[K] + i)...)).store(y + i);
    }(std::make_integer_sequence<int, N>());
  }
};

/// out[k] = in[N] · ∂f/∂in[k] for the inputs in `mask`; null outputs are skipped.
template <class T, class F, int N, unsigned mask>
struct FusedGradients {
  template <int bytes>
  static void run(const void* f, const void* const* in, void* const* out, Index n) {
    using R = lanes::Register<T, bytes>;
    using D = Dual<R, N>;
    [&]<int... K>(std::integer_sequence<int, K...>) {
      const std::array<const T*, N> from{static_cast<const T*>(in[K])...};
      const std::array<T*, N> to{static_cast<T*>(out[K])...};
      const auto* const upstream = static_cast<const T*>(in[N]);
      const auto& call = *static_cast<const F*>(f);
      const auto argument = [&](int k, Index i) {
        const R x = R::load(from[k] + i);
        return (mask >> k & 1) != 0 ? D::variable(x, k) : D(x);
      };
      for (Index i = 0; i < n; i += R::size) {
        const D y(call(argument(K, i)...));
        const R g = R::load(upstream + i);
        const auto give = [&](int k) {
          if (to[k]) (y.depends_on(k) ? y.partial(k, g) : R(0)).store(to[k] + i);
        };
        (((mask >> K & 1) != 0 ? give(K) : void()), ...);
      }
    }(std::make_integer_sequence<int, N>());
  }
};

// Everything that a loop calls is inlined into it, including the callable, so that all of it is compiled for
// the loop's target.
template <class Loop>
[[gnu::flatten]] void run_native(const void* f, const void* const* in, void* const* out, Index n) {
  Loop::template run<lanes::native_bytes>(f, in, out, n);
}
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__) && \
    !(defined(__AVX2__) && defined(__FMA__))
template <class Loop>
[[gnu::flatten, gnu::target("avx2,fma")]] void run_wide(const void* f, const void* const* in,
                                                        void* const* out, Index n) {
  Loop::template run<32>(f, in, out, n);
}
template <class Loop>
FusedBlock fused_block() {
  static const bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return wide ? run_wide<Loop> : run_native<Loop>;
}
#else
template <class Loop>
FusedBlock fused_block() {
  return run_native<Loop>;
}
#endif

template <class F, int N>
class Fused {
 public:
  Fused(F f, std::array<Tensor, N> inputs) : f_(std::move(f)), inputs_(std::move(inputs)) {}

  Tensor value(const char* name) const {
    const Tensor y = Access::make(Array(fused_shape(name, inputs_), inputs_[0].dtype(), name));
    visit_floating(y.dtype(), [&]<class T>(T) {
      run_fused(y.shape(), y.dtype(), inputs_, {&y, 1}, fused_block<FusedValue<T, F, N>>(), &f_);
    });
    return y;
  }

  /// Gradients in one pass over registers.
  std::array<Tensor, N> gradients(const Tensor& g, Needs needs) const {
    std::array<Tensor, N> out;
    std::array<Tensor, N + 1> in;
    unsigned wanted = 0;
    for (int k = 0; k < N; ++k) {
      in[k] = inputs_[k].detach();
      if (!needs[k] || !inputs_[k].requires_grad()) continue;
      wanted |= 1u << k;
      out[k] = empty(g.shape(), g.dtype());
    }
    in[N] = g;
    visit_floating(g.dtype(), [&]<class T>(T) {
      run_fused(g.shape(), g.dtype(), in, out, gradient_block<T>(wanted), &f_);
    });
    return out;
  }

  /// Gradients in recorded operations.
  std::array<Tensor, N> recorded_gradients(const Tensor& g, Needs needs) const {
    std::array<Tensor, N> out;
    visit_floating(g.dtype(), [&]<class T>(T) {
      using D = Dual<Traced<T>, N>;
      const D y = [&]<int... K>(std::integer_sequence<int, K...>) {
        const auto argument = [&](int k) {
          const Traced<T> x(inputs_[k]);
          return needs[k] && inputs_[k].requires_grad() ? D::variable(x, k) : D(x);
        };
        return D(f_(argument(K)...));
      }(std::make_integer_sequence<int, N>());
      for (int k = 0; k < N; ++k)
        if (needs[k] && inputs_[k].requires_grad())
          out[k] = y.depends_on(k) ? y.partial(k, Traced<T>(g)).tensor : zeros_like(g);
    });
    return out;
  }

  const std::array<Tensor, N>& inputs() const { return inputs_; }

 private:
  // For two inputs there is also a loop for either gradient; otherwise only one that computes all.
  template <class T>
  static FusedBlock gradient_block([[maybe_unused]] unsigned wanted) {
    if constexpr (N == 2) {
      if (wanted == 1) return fused_block<FusedGradients<T, F, N, 1>>();
      if (wanted == 2) return fused_block<FusedGradients<T, F, N, 2>>();
    }
    return fused_block<FusedGradients<T, F, N, (1u << N) - 1>>();
  }

  F f_;
  std::array<Tensor, N> inputs_;
};

}  // namespace detail

/// Applies an elementwise operation y = f(inputs...) to 1 to 6 tensors. f is a generic callable over `const
/// auto&` arguments, written with + - * /, numbers, comparisons (combined by &, | and !) and the unqualified
/// functions `exp log sin cos tanh sigmoid sqrt abs relu erf erfc log1p expm1 pow max min where`. Numbers,
/// including captured ones, do not change the element type. f is called with registers for the value, with
/// dual numbers for all gradients in one pass, and with tensors for recorded gradients and so for higher
/// orders. It must be a pure function: it is called many times, on several threads, and kept in the graph.
/// `name` must outlive the graph (a string literal).
/// Shapes: the inputs broadcast and promote as in `+`; if all are int64, they are converted to float32. The
/// result has the broadcast shape.
/// Edge cases: relu and abs have gradient 0 at 0. Ties in max or min share the gradient evenly. The branch
/// that `where`, max, min or relu does not select gets exactly 0 in the first order, even if that 0 is then
/// multiplied by infinity. Otherwise NaN propagates. pow(x, 0) is 1 with gradient 0; d/dy x^y is 0 where x =
/// 0 and y >= 0. A callable class (not a lambda) used in files compiled for different instruction sets must
/// be in an unnamed namespace, since the linker keeps only one of the functions generated from it.
/// Throws: ShapeError if the shapes do not broadcast.
template <class F, class... Inputs>
[[nodiscard]] Tensor fused(const char* name, F f, const Inputs&... inputs) {
  constexpr int count = sizeof...(Inputs);
  static_assert(count >= 1 && count <= 6, "fused takes 1 to 6 tensors after the callable");
  static_assert((std::is_convertible_v<const Inputs&, const Tensor&> && ...),
                "the arguments of fused after the callable are tensors; capture numbers in the callable");
  (detail::require_defined(name, inputs), ...);
  DType dtype = DType::int64;
  ((dtype = promote(dtype, static_cast<const Tensor&>(inputs).dtype())), ...);
  if (dtype == DType::int64) dtype = DType::float32;
  detail::Fused<F, count> operation(std::move(f), {static_cast<const Tensor&>(inputs).to(dtype)...});
  const Tensors in(operation.inputs().begin(), operation.inputs().end());
  return record(
      {.name = name,
       .inputs = in,
       .value = operation.value(name),
       .vjp = [operation](const Tensor& g, Needs needs) { return operation.recorded_gradients(g, needs); },
       .fast_vjp = [operation](const Tensor& g, Needs needs) { return operation.gradients(g, needs); }});
}

}  // namespace retort
