// Optimiser updates, each in one pass over a parameter of n elements and its state. The gradient is never
// written. Explicitly instantiated for float and double; arithmetic in T, with factors rounded once. The
// order of operations is that of PyTorch 2 (the algorithms in torch.optim's documentation).
#pragma once

#include <cstdint>

namespace retort::kernels {

struct SgdUpdate {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize;
  bool first;  ///< the momentum buffer is not yet initialised and becomes the undamped gradient
};
/// `buffer` may be null if momentum is 0.
template <class T>
void sgd(T* parameter, const T* gradient, T* buffer, std::int64_t n, const SgdUpdate& update);

struct AdamUpdate {
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled;  ///< AdamW: parameter *= 1 - lr·weight_decay, instead of gradient += weight_decay·parameter
  bool maximize;
  std::int64_t step;  ///< from 1
};
/// m and v are the moments; v_max (or null) the largest v so far, for amsgrad.
/// parameter -= lr/(1-beta1^step) · m / (sqrt(v)/sqrt(1-beta2^step) + eps)
template <class T>
void adam(T* parameter, const T* gradient, T* m, T* v, T* v_max, std::int64_t n, const AdamUpdate& update);

struct RmspropUpdate {
  double lr, alpha, eps, weight_decay, momentum;
  bool centered, maximize;
};
/// `average` (mean gradient) is null unless centered, `buffer` unless momentum > 0.
template <class T>
void rmsprop(T* parameter, const T* gradient, T* square_average, T* average, T* buffer, std::int64_t n,
             const RmspropUpdate& update);

struct AdagradUpdate {
  double lr, lr_decay, weight_decay, eps;
  bool maximize;
  std::int64_t step;  ///< from 1
};
template <class T>
void adagrad(T* parameter, const T* gradient, T* sum, std::int64_t n, const AdagradUpdate& update);

struct LionUpdate {
  double lr, beta1, beta2, weight_decay;
  bool maximize;
};
/// parameter = parameter·(1 - lr·weight_decay) - lr·sign(beta1·m + (1-beta1)·g), then m = beta2·m +
/// (1-beta2)·g.
template <class T>
void lion(T* parameter, const T* gradient, T* m, std::int64_t n, const LionUpdate& update);

/// average += (1 - decay)·(value - average); used by ExponentialMovingAverage.
template <class T>
void move_average(T* average, const T* value, std::int64_t n, double decay);

/// x *= factor; used by clip_grad_norm.
template <class T>
void scale_in_place(T* x, std::int64_t n, double factor);
/// x = min(max(x, -limit), limit); NaN is kept.
template <class T>
void clamp_in_place(T* x, std::int64_t n, double limit);

}  // namespace retort::kernels
