// Kullback–Leibler divergence, elementwise and summed. Explicitly instantiated for float and double. A term
// is t·(log t - x), with log_target exp(t)·(t - x). Edge cases as in losses/kl_div_loss.hpp: t = 0 (log:
// -inf) gives 0 and gradients 0 for any x except NaN; t < 0, or NaN in either, gives NaN.
#pragma once

#include <cstdint>

namespace retort::kernels {

/// out[i] = term(x[i], t[i]).
template <class T>
void kl_terms(const T* x, const T* t, T* out, std::int64_t n, bool log_target);

/// The sum of all terms. Each lane accumulates in blocks, so that the error stays below 4 eps of the absolute
/// sum; the bits are the same for any number of threads. `positive_input` (may be null) is set to true if
/// some x is greater than 1e-5 and thus not a log-probability.
template <class T>
double kl_sum(const T* x, const T* t, std::int64_t n, bool log_target, bool* positive_input);

/// Gradients of sum(g · term) for x and t. g is a single number (g_size 1) or has one element per term
/// (g_size n), and is multiplied by `scale`. dx or dt may be null.
///   dx = -g·t, dt = g·(log t + 1 - x);   log_target: dx = -g·exp(t), dt = g·exp(t)·(t - x + 1)
template <class T>
void kl_backward(const T* x, const T* t, const T* g, std::int64_t g_size, double scale, T* dx, T* dt,
                 std::int64_t n, bool log_target);

}  // namespace retort::kernels
