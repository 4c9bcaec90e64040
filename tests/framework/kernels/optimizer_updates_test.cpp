#include "retort/framework/kernels/optimizer_updates.hpp"

#include <algorithm>

#include "kernel_test.hpp"

BOOST_AUTO_TEST_SUITE(kernels_optimizer_updates)

using namespace kernel_test;
namespace kernels = retort::kernels;

namespace {

/// A parameter, its gradients and up to three pieces of state, updated by the kernel in T and by one line per
/// element in double.
template <class T, class Kernel, class Reference>
void compare(const char* name, Kernel kernel, Reference reference) {
  Worst worst;
  for (std::int64_t n : {0, 1, 3, 7, 8, 9, 17, 33, 100, 140'000}) {
    const auto start = random_values<T>(n, -1, 1, 1);
    std::vector<std::vector<T>> gradients;
    for (unsigned step = 1; step <= 5; ++step) gradients.push_back(random_values<T>(n, -1, 1, 10 + step));
    const auto trained = for_threads([&] {
      auto all = poisoned<T>(4 * n);
      std::copy(start.begin(), start.end(), all.begin());
      std::fill(all.begin() + n, all.end(), T{0});
      int step = 0;
      for (const auto& g : gradients) {
        const auto before = g;
        kernel(++step, n, all.data(), g.data(), all.data() + n, all.data() + 2 * n, all.data() + 3 * n);
        BOOST_TEST(same_bits(g, before));
      }
      return all;
    });
    for (std::int64_t i = 0; i < n; ++i) {
      double p = static_cast<double>(start[i]), state[3] = {0, 0, 0};
      int step = 0;
      for (const auto& g : gradients) reference(++step, p, static_cast<double>(g[i]), state);
      worst.see(static_cast<double>(trained[i]), p, 64 * epsilon<T> * (1 + std::fabs(p)));
      for (int k = 0; k < 3; ++k)
        worst.see(static_cast<double>(trained[(k + 1) * n + i]), state[k],
                  64 * epsilon<T> * (1 + std::fabs(state[k])));
    }
  }
  worst.check(name);
}

}  // namespace

BOOST_AUTO_TEST_CASE_TEMPLATE(sgd, T, FloatTypes) {
  for (double momentum : {0.0, 0.9})
    for (double decay : {0.0, 0.1})
      for (bool nesterov : {false, true})
        for (bool maximize : {false, true}) {
          if (nesterov && momentum == 0) continue;
          const double dampening = nesterov ? 0 : 0.3;
          compare<T>(
              "sgd",
              [&](int step, std::int64_t n, T* p, const T* g, T* buffer, T*, T*) {
                kernels::sgd(p, g, momentum == 0 ? nullptr : buffer, n,
                             {0.1, momentum, dampening, decay, nesterov, maximize, step == 1});
              },
              [&](int step, double& p, double g, double* state) {
                g = (maximize ? -g : g) + decay * p;
                if (momentum != 0) {
                  state[0] = step == 1 ? g : momentum * state[0] + (1 - dampening) * g;
                  g = nesterov ? g + momentum * state[0] : state[0];
                }
                p -= 0.1 * g;
              });
        }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(adam, T, FloatTypes) {
  for (bool decoupled : {false, true})
    for (bool amsgrad : {false, true})
      for (bool maximize : {false, true})
        compare<T>(
            "adam",
            [&](int step, std::int64_t n, T* p, const T* g, T* m, T* v, T* v_max) {
              kernels::adam(p, g, m, v, amsgrad ? v_max : nullptr, n,
                            {0.01, 0.8, 0.95, 1e-2, 0.1, decoupled, maximize, step});
            },
            [&](int step, double& p, double g, double* state) {
              if (maximize) g = -g;
              if (decoupled)
                p *= 1 - 0.01 * 0.1;
              else
                g += 0.1 * p;
              state[0] = 0.8 * state[0] + (1 - 0.8) * g;
              state[1] = 0.95 * state[1] + (1 - 0.95) * g * g;
              if (amsgrad) state[2] = std::max(state[2], state[1]);
              const double v = amsgrad ? state[2] : state[1];
              p -= 0.01 / (1 - std::pow(0.8, step)) * state[0] /
                   (std::sqrt(v) / std::sqrt(1 - std::pow(0.95, step)) + 1e-2);
            });
}

BOOST_AUTO_TEST_CASE_TEMPLATE(rmsprop, T, FloatTypes) {
  for (bool centered : {false, true})
    for (double momentum : {0.0, 0.9})
      compare<T>(
          "rmsprop",
          [&](int, std::int64_t n, T* p, const T* g, T* square, T* average, T* buffer) {
            kernels::rmsprop(p, g, square, centered ? average : nullptr, momentum == 0 ? nullptr : buffer, n,
                             {0.01, 0.9, 1e-2, 0.1, momentum, centered, true});
          },
          [&](int, double& p, double g, double* state) {
            g = -g + 0.1 * p;
            state[0] = 0.9 * state[0] + (1 - 0.9) * g * g;
            double square = state[0];
            if (centered) {
              state[1] = 0.9 * state[1] + (1 - 0.9) * g;
              square -= state[1] * state[1];
            }
            double step = g / (std::sqrt(square) + 1e-2);
            if (momentum != 0) step = state[2] = momentum * state[2] + step;
            p -= 0.01 * step;
          });
}

BOOST_AUTO_TEST_CASE_TEMPLATE(adagrad, T, FloatTypes) {
  compare<T>(
      "adagrad",
      [&](int step, std::int64_t n, T* p, const T* g, T* sum, T*, T*) {
        kernels::adagrad(p, g, sum, n, {0.1, 0.2, 0.1, 0.5, false, step});
      },
      [&](int step, double& p, double g, double* state) {
        g += 0.1 * p;
        state[0] += g * g;
        // A small eps would amplify roundings wherever a gradient nearly cancels.
        p -= 0.1 / (1 + (step - 1) * 0.2) * g / (std::sqrt(state[0]) + 0.5);
      });
}

BOOST_AUTO_TEST_CASE_TEMPLATE(nan_is_not_hidden, T, FloatTypes) {
  std::vector<T> p(9, T{1}), g(9, not_a_number<T>), m(9), v(9), v_max(9, T{5});
  kernels::adam(p.data(), g.data(), m.data(), v.data(), v_max.data(), 9,
                {0.1, 0.9, 0.999, 1e-8, 0, false, false, 1});
  for (T value : p) BOOST_TEST(std::isnan(value));
  for (T value : v_max) BOOST_TEST(std::isnan(value));
}

// The mean square less the squared mean tends to 0; rounding must not make it negative.
BOOST_AUTO_TEST_CASE_TEMPLATE(a_centred_square_is_never_negative, T, FloatTypes) {
  for (const double gradient : {0.1, -0.3, 1e-3, 7.0, 1e-12, 1e15})
    for (const double alpha : {0.5, 0.9, 0.99}) {
      std::vector<T> p(9), g(9, static_cast<T>(gradient)), square(9), average(9), buffer(9);
      for (int step = 0; step < 5000; ++step)
        kernels::rmsprop(p.data(), g.data(), square.data(), average.data(), buffer.data(), 9,
                         {1e-6, alpha, 1e-8, 0, 0.5, true, false});
      for (T value : p) BOOST_TEST(std::isfinite(value), gradient << ", alpha " << alpha);
    }
  std::vector<T> p(9), g(9, not_a_number<T>), square(9), average(9);
  kernels::rmsprop<T>(p.data(), g.data(), square.data(), average.data(), nullptr, 9,
                      {0.1, 0.9, 1e-8, 0, 0, true, false});
  for (T value : p) BOOST_TEST(std::isnan(value));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(scaling_and_clamping, T, FloatTypes) {
  for (std::int64_t n : sizes) {
    const auto x = random_values<T>(n, -2, 2);
    auto scaled = x, clamped = x;
    kernels::scale_in_place(scaled.data(), n, 0.5);
    kernels::clamp_in_place(clamped.data(), n, 1.0);
    for (std::int64_t i = 0; i < n; ++i) {
      BOOST_TEST(scaled[i] == x[i] * static_cast<T>(0.5));
      BOOST_TEST(clamped[i] == std::clamp(x[i], T{-1}, T{1}));
    }
  }
  std::vector<T> x{not_a_number<T>, infinity<T>, -infinity<T>};
  kernels::clamp_in_place(x.data(), 3, 2.0);
  BOOST_TEST(std::isnan(x[0]));
  BOOST_TEST(x[1] == T{2});
  BOOST_TEST(x[2] == T{-2});
}

#if defined(__SSE2__)
// Rounding would hold a denormal number times 0.9 where it is, and every step would take a hundred times as
// long.
BOOST_AUTO_TEST_CASE_TEMPLATE(averages_without_gradients_end_at_zero, T, FloatTypes) {
  std::vector<T> p(20, T{1}), buffer(20, T{1}), m(20, T{1}), v(20, T{1});
  const std::vector<T> g(20, T{0});
  for (int step = 2; step < 10000; ++step) {
    kernels::sgd<T>(p.data(), g.data(), buffer.data(), 20, {0.1, 0.9, 0, 0, false, false, false});
    kernels::adam<T>(p.data(), g.data(), m.data(), v.data(), nullptr, 20,
                     {0.1, 0.9, 0.9, 1e-8, 0, false, false, step});
  }
  for (const auto* average : {&buffer, &m, &v}) BOOST_TEST(*average == std::vector<T>(20, T{0}));
}
#endif

BOOST_AUTO_TEST_SUITE_END()
