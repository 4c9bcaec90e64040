#include "retort/framework/kernels/optimizer_updates.hpp"

#include <cmath>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

constexpr std::int64_t grain = 65536;  // about ten microseconds

/// Calls f(i, count) for the registers of n elements, on all threads. Moving averages of units that no longer
/// get a gradient decay to 0 instead of denormal numbers, in which rounding would keep them forever.
template <class T, class F>
void for_registers(std::int64_t n, const F& f) {
  parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    const FlushToZero flush(true);
    const F update = f;  // The compiler would load what f holds again after each store.
    std::int64_t i = begin;
    for (; i + lanes<T> <= end; i += lanes<T>) update(i, lanes<T>);
    if (i < end) update(i, end - i);
  });
}

template <class T>
Batch<T> constant(double value) {
  return Batch<T>(static_cast<T>(value));
}

/// The gradient used by an update: negated to maximise, then with the parameter's weight decay added.
template <class T>
class Gradient {
 public:
  Gradient(const T* gradient, bool maximize, double weight_decay)
      : gradient_(gradient),
        sign_(maximize ? T{-1} : T{1}),
        decay_(static_cast<T>(weight_decay)),
        decays_(weight_decay != 0) {}
  Batch<T> at(std::int64_t i, std::int64_t count, const Batch<T>& parameter) const {
    const Batch<T> g = load_lanes(gradient_ + i, count, T{0}) * sign_;
    return decays_ ? fma<T>(decay_, parameter, g) : g;
  }

 private:
  const T* gradient_;
  Batch<T> sign_, decay_;
  bool decays_;
};

}  // namespace

template <class T>
void sgd(T* parameter, const T* gradient, T* buffer, std::int64_t n, const SgdUpdate& update) {
  const Gradient<T> gradients(gradient, update.maximize, update.weight_decay);
  const Batch<T> rate = constant<T>(-update.lr), momentum = constant<T>(update.momentum);
  const Batch<T> undamped = constant<T>(1 - update.dampening);
  const bool first = update.first, nesterov = update.nesterov;
  for_registers<T>(n, [=](std::int64_t i, std::int64_t count) {
    const Batch<T> p = load_lanes(parameter + i, count, T{0});
    Batch<T> g = gradients.at(i, count, p);
    if (buffer != nullptr) {
      const Batch<T> b = first ? g : fma<T>(undamped, g, momentum * load_lanes(buffer + i, count, T{0}));
      store_lanes(buffer + i, b, count);
      g = nesterov ? fma<T>(momentum, b, g) : b;
    }
    store_lanes<T>(parameter + i, fma<T>(rate, g, p), count);
  });
}

template <class T>
void adam(T* parameter, const T* gradient, T* m, T* v, T* v_max, std::int64_t n, const AdamUpdate& update) {
  const Gradient<T> gradients(gradient, update.maximize, update.decoupled ? 0 : update.weight_decay);
  const double steps = static_cast<double>(update.step);
  const double correction1 = 1 - std::pow(update.beta1, steps),
               correction2 = 1 - std::pow(update.beta2, steps);
  const Batch<T> beta1 = constant<T>(update.beta1), rest1 = constant<T>(1 - update.beta1);
  const Batch<T> beta2 = constant<T>(update.beta2), rest2 = constant<T>(1 - update.beta2);
  const Batch<T> rate = constant<T>(-update.lr / correction1), root = constant<T>(std::sqrt(correction2));
  const Batch<T> eps = constant<T>(update.eps);
  const Batch<T> keep = constant<T>(update.decoupled ? 1 - update.lr * update.weight_decay : 1);
  for_registers<T>(n, [=](std::int64_t i, std::int64_t count) {
    const Batch<T> p = load_lanes(parameter + i, count, T{0});
    const Batch<T> g = gradients.at(i, count, p);
    const Batch<T> mean = fma<T>(rest1, g, beta1 * load_lanes(m + i, count, T{0}));
    Batch<T> square = fma<T>(rest2 * g, g, beta2 * load_lanes(v + i, count, T{0}));
    store_lanes(m + i, mean, count);
    store_lanes(v + i, square, count);
    if (v_max != nullptr) {
      const Batch<T> greatest = load_lanes(v_max + i, count, T{0});
      square = select(square == square, max_of<T>(square, greatest), square);  // NaN is kept
      store_lanes(v_max + i, square, count);
    }
    store_lanes<T>(parameter + i, fma<T>(rate, mean / (xsimd::sqrt(square) / root + eps), p * keep), count);
  });
}

template <class T>
void rmsprop(T* parameter, const T* gradient, T* square_average, T* average, T* buffer, std::int64_t n,
             const RmspropUpdate& update) {
  const Gradient<T> gradients(gradient, update.maximize, update.weight_decay);
  const Batch<T> alpha = constant<T>(update.alpha), rest = constant<T>(1 - update.alpha);
  const Batch<T> rate = constant<T>(-update.lr), eps = constant<T>(update.eps);
  const Batch<T> momentum = constant<T>(update.momentum);
  for_registers<T>(n, [=](std::int64_t i, std::int64_t count) {
    const Batch<T> p = load_lanes(parameter + i, count, T{0});
    const Batch<T> g = gradients.at(i, count, p);
    Batch<T> square = fma<T>(rest * g, g, alpha * load_lanes(square_average + i, count, T{0}));
    store_lanes(square_average + i, square, count);
    if (average != nullptr) {
      const Batch<T> mean = fma<T>(rest, g, alpha * load_lanes(average + i, count, T{0}));
      store_lanes(average + i, mean, count);
      square = max_of<T>(Batch<T>(T{0}), square - mean * mean);  // a variance, up to rounding; NaN is kept
    }
    Batch<T> step = g / (xsimd::sqrt(square) + eps);
    if (buffer != nullptr) {
      step = fma<T>(momentum, load_lanes(buffer + i, count, T{0}), step);
      store_lanes(buffer + i, step, count);
    }
    store_lanes<T>(parameter + i, fma<T>(rate, step, p), count);
  });
}

template <class T>
void adagrad(T* parameter, const T* gradient, T* sum, std::int64_t n, const AdagradUpdate& update) {
  const Gradient<T> gradients(gradient, update.maximize, update.weight_decay);
  const Batch<T> rate =
      constant<T>(-update.lr / (1 + static_cast<double>(update.step - 1) * update.lr_decay));
  const Batch<T> eps = constant<T>(update.eps);
  for_registers<T>(n, [=](std::int64_t i, std::int64_t count) {
    const Batch<T> p = load_lanes(parameter + i, count, T{0});
    const Batch<T> g = gradients.at(i, count, p);
    const Batch<T> total = fma<T>(g, g, load_lanes(sum + i, count, T{0}));
    store_lanes(sum + i, total, count);
    store_lanes<T>(parameter + i, fma<T>(rate, g / (xsimd::sqrt(total) + eps), p), count);
  });
}

template <class T>
void lion(T* parameter, const T* gradient, T* m, std::int64_t n, const LionUpdate& update) {
  const Gradient<T> gradients(gradient, update.maximize, 0);
  const Batch<T> beta1 = constant<T>(update.beta1), rest1 = constant<T>(1 - update.beta1);
  const Batch<T> beta2 = constant<T>(update.beta2), rest2 = constant<T>(1 - update.beta2);
  const Batch<T> rate = constant<T>(-update.lr), keep = constant<T>(1 - update.lr * update.weight_decay);
  const Batch<T> zero(T{0}), one(T{1});
  for_registers<T>(n, [=](std::int64_t i, std::int64_t count) {
    const Batch<T> p = load_lanes(parameter + i, count, T{0}), mean = load_lanes(m + i, count, T{0});
    const Batch<T> g = gradients.at(i, count, p);
    const Batch<T> direction = fma<T>(rest1, g, beta1 * mean);
    const Batch<T> sign =
        select(direction > zero, one, select(direction < zero, -one, direction));  // NaN is kept
    store_lanes<T>(m + i, fma<T>(rest2, g, beta2 * mean), count);
    store_lanes<T>(parameter + i, fma<T>(rate, sign, p * keep), count);
  });
}

template <class T>
void move_average(T* average, const T* value, std::int64_t n, double decay) {
  const Batch<T> rest = constant<T>(1 - decay);
  for_registers<T>(n, [=](std::int64_t i, std::int64_t count) {
    const Batch<T> a = load_lanes(average + i, count, T{0});
    store_lanes<T>(average + i, fma<T>(rest, load_lanes(value + i, count, T{0}) - a, a), count);
  });
}

template <class T>
void scale_in_place(T* x, std::int64_t n, double factor) {
  const Batch<T> by = constant<T>(factor);
  for_registers<T>(n, [=](std::int64_t i, std::int64_t count) {
    store_lanes<T>(x + i, load_lanes(x + i, count, T{0}) * by, count);
  });
}

template <class T>
void clamp_in_place(T* x, std::int64_t n, double limit) {
  const Batch<T> high = constant<T>(limit), low = constant<T>(-limit);
  for_registers<T>(n, [=](std::int64_t i, std::int64_t count) {
    store_lanes<T>(x + i, min_of<T>(high, max_of<T>(low, load_lanes(x + i, count, T{0}))), count);
  });
}

template void sgd(float*, const float*, float*, std::int64_t, const SgdUpdate&);
template void sgd(double*, const double*, double*, std::int64_t, const SgdUpdate&);
template void adam(float*, const float*, float*, float*, float*, std::int64_t, const AdamUpdate&);
template void adam(double*, const double*, double*, double*, double*, std::int64_t, const AdamUpdate&);
template void rmsprop(float*, const float*, float*, float*, float*, std::int64_t, const RmspropUpdate&);
template void rmsprop(double*, const double*, double*, double*, double*, std::int64_t, const RmspropUpdate&);
template void adagrad(float*, const float*, float*, std::int64_t, const AdagradUpdate&);
template void adagrad(double*, const double*, double*, std::int64_t, const AdagradUpdate&);
template void lion(float*, const float*, float*, std::int64_t, const LionUpdate&);
template void lion(double*, const double*, double*, std::int64_t, const LionUpdate&);
template void move_average(float*, const float*, std::int64_t, double);
template void move_average(double*, const double*, std::int64_t, double);
template void scale_in_place(float*, std::int64_t, double);
template void scale_in_place(double*, std::int64_t, double);
template void clamp_in_place(float*, std::int64_t, double);
template void clamp_in_place(double*, std::int64_t, double);

}  // namespace retort::kernels
