// L-BFGS.
#pragma once

#include <functional>
#include <string>

#include "retort/optim/optimizer.hpp"

namespace [[RETORT_EXPORT]] retort {

struct LBFGSOptions {
  double lr = 1;
  std::int64_t max_iter = 20;                 ///< iterations per step
  std::optional<std::int64_t> max_eval = {};  ///< evaluations of the closure per step; absent: max_iter · 5/4
  double tolerance_grad = 1e-7;               ///< a step ends when no gradient is larger in magnitude
  double tolerance_change = 1e-9;             ///< a step ends when the loss and the parameters change by less
  std::int64_t history_size = 100;            ///< number of curvature pairs to keep
  std::optional<std::string> line_search_fn = {};  ///< "strong_wolfe"; absent: steps of length lr
};

/// The limited-memory quasi-Newton method of Broyden, Fletcher, Goldfarb and Shanno, for full batches: the
/// direction is -H·g, where H approximates the inverse Hessian from the last history_size changes of
/// parameters and gradients. With "strong_wolfe" the length of each step is found by cubic interpolation (c1
/// = 1e-4, c2 = 0.9), which may use up what is left of max_eval.
///
///     rt::LBFGS optimizer(model.parameters(), {.line_search_fn = "strong_wolfe"});
///     const double loss = optimizer.step([&] {
///       optimizer.zero_grad();
///       const rt::Tensor loss = rt::mse_loss(model(x), y);
///       loss.backward();
///       return loss;
///     });
///
/// There is one group of parameters. A parameter without a gradient counts as one with gradient 0.
/// Throws: ValueError for an option out of range.
/// Nocedal and Wright, "Numerical optimization" (2006), algorithms 3.5, 3.6 and 7.5; follows
/// torch.optim.LBFGS.
class LBFGS : public Optimizer {
 public:
  explicit LBFGS(Tensors parameters, LBFGSOptions options = {});

  /// Iterates until one of the tolerances or limits is reached, and returns the loss before the step.
  /// `closure` computes the loss and the gradients of all parameters from their current values; it is called
  /// at least once.
  double step(const std::function<Tensor()>& closure);

  /// Also the curvature pairs, under names that begin with lbfgs, so that training resumes with the same
  /// bits.
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

 protected:
  void update(const Tensor& parameter, const Tensor& gradient, State& state) override;

 private:
  /// A point on a line search: the loss, gradient and slope at the length t.
  struct Point {
    double t = 0, loss = 0;
    Tensor gradient = {};
    double slope = 0;
  };
  using Evaluate = std::function<Point(double)>;
  /// A change of the gradients and of the parameters, and 1 over their product.
  struct Pair {
    Tensor gradient, parameters;
    double inverse;
  };

  Tensor flat_gradient() const;
  void write(const Tensor& flat) const;
  Tensor direction(const Tensor& gradient);
  static std::pair<Point, std::int64_t> search(const Evaluate& evaluate, const Point& start, double t,
                                               double largest, std::int64_t budget);

  // The state that the next step depends on.
  std::vector<Pair> pairs_;
  double scale_ = 1;  // of the initial approximation of the inverse Hessian
  double length_ = 0;
  std::int64_t iterations_ = 0, evaluations_ = 0;
  Tensor direction_, gradient_;  // of the last iteration
};

}  // namespace retort
