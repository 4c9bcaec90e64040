// L-BFGS.
#pragma once

#include <functional>
#include <string>

#include "retort/optim/optimizer.hpp"

namespace [[RETORT_EXPORT]] retort {

struct LBFGSOptions {
  double lr = 1;
  std::int64_t max_iter = 20;  ///< iterations per step
  /// Evaluations of the closure per step; max_iter · 5/4 if absent.
  std::optional<std::int64_t> max_eval = {};
  double tolerance_grad = 1e-7;     ///< a step ends if no gradient is larger in magnitude
  double tolerance_change = 1e-9;   ///< a step ends if the loss or all parameters change by less
  std::int64_t history_size = 100;  ///< number of curvature pairs to keep
  std::optional<std::string> line_search_fn = {};  ///< "strong_wolfe"; if absent, steps have length lr
};

/// Limited-memory BFGS for full batches: the direction is -H·g, where H approximates the inverse Hessian from
/// the last history_size changes of parameters and gradients. With "strong_wolfe" the step length is found by
/// cubic interpolation (c1 = 1e-4, c2 = 0.9), which may use all remaining evaluations of max_eval.
///
///     rt::LBFGS optimizer(model.parameters(), {.line_search_fn = "strong_wolfe"});
///     const double loss = optimizer.step([&] {
///       optimizer.zero_grad();
///       const rt::Tensor loss = rt::mse_loss(model(x), y);
///       loss.backward();
///       return loss;
///     });
///
/// Supports one group of parameters. A parameter without a gradient is treated as having gradient 0.
/// Throws: ValueError if an option is out of range.
/// Source: Nocedal and Wright, "Numerical optimization" (2006), algorithms 3.5, 3.6 and 7.5;
/// torch.optim.LBFGS.
class LBFGS : public Optimizer {
 public:
  explicit LBFGS(Tensors parameters, LBFGSOptions options = {});

  /// Iterates until a tolerance or limit is reached and returns the loss before the step. `closure` computes
  /// the loss and the gradients of all parameters from their current values; it is called at least once.
  /// Throws: ValueError unless it returns one number.
  double step(const std::function<Tensor()>& closure);

  /// Includes the curvature pairs, under names starting with lbfgs, so that training resumes with the same
  /// bits.
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

 protected:
  void update(const Tensor& parameter, const Tensor& gradient, State& state) override;

 private:
  /// A point of a line search: the loss, gradient and slope at length t.
  struct Point {
    double t = 0, loss = 0;
    Tensor gradient = {};
    double slope = 0;
  };
  using Evaluate = std::function<Point(double)>;
  /// A change of the gradients and of the parameters, and the inverse of their dot product.
  struct Pair {
    Tensor gradient, parameters;
    double inverse;
  };

  Tensor flat_gradient() const;
  void write(const Tensor& flat) const;
  Tensor direction(const Tensor& gradient);
  static std::pair<Point, std::int64_t> search(const Evaluate& evaluate, const Point& start, double t,
                                               double largest, std::int64_t budget);

  // State needed by the next step.
  std::vector<Pair> pairs_;
  double scale_ = 1;  // scale of the initial approximation of the inverse Hessian
  double length_ = 0;
  std::int64_t iterations_ = 0, evaluations_ = 0;
  Tensor direction_, gradient_;  // of the last iteration
};

}  // namespace retort
