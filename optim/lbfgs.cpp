#include "retort/optim/lbfgs.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "retort/framework/core/state_checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/layout.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

double dot(const Tensor& a, const Tensor& b) { return sum(a * b).item<double>(); }
double largest(const Tensor& x) { return x.size() == 0 ? 0 : amax(abs(x)).item<double>(); }

/// The minimum of the cubic through two points with their slopes, clamped to [low, high]; the midpoint if
/// there is none.
template <class Point>
double cubic_minimum(const Point& a, const Point& b, double low, double high) {
  const auto& [left, right] = a.t <= b.t ? std::pair(a, b) : std::pair(b, a);
  const double d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t);
  const double square = d1 * d1 - a.slope * b.slope;
  if (!(square >= 0)) return (low + high) / 2;
  const double d2 = std::sqrt(square);
  const double part = (right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2);
  return std::min(std::max(right.t - (right.t - left.t) * part, low), high);
}

}  // namespace

LBFGS::LBFGS(Tensors parameters, LBFGSOptions options)
    : Optimizer("LBFGS", std::move(parameters), {},
                {{"lr", options.lr, at_least_0},
                 {"max_iter", double(options.max_iter), at_least_1},
                 {"max_eval", double(options.max_eval.value_or(options.max_iter * 5 / 4)), at_least_1},
                 {"tolerance_grad", options.tolerance_grad, at_least_0},
                 {"tolerance_change", options.tolerance_change, at_least_0},
                 {"history_size", double(options.history_size), at_least_1},
                 {"line_search_fn", double(options.line_search_fn.has_value()), flag}}) {
  if (options.line_search_fn && *options.line_search_fn != "strong_wolfe")
    throw ValueError(
        message("LBFGS: line_search_fn is '{}'; give 'strong_wolfe' or none", *options.line_search_fn));
}

void LBFGS::update(const Tensor&, const Tensor&, State&) {
  throw ValueError("LBFGS: step() needs the closure; call step(closure) of the optimiser itself");
}

/// The gradients of all parameters as one vector, in the widest of their types.
Tensor LBFGS::flat_gradient() const {
  DType dtype = DType::float32;
  for (const Tensor& parameter : parameters()) dtype = promote(dtype, parameter.dtype());
  Tensors parts;
  for (const Tensor& parameter : parameters()) {
    const bool moves = parameter.grad().defined() && parameter.requires_grad();
    parts.push_back(moves ? reshape(parameter.grad().detach(), {-1}).to(dtype)
                          : zeros({parameter.size()}, dtype));
  }
  return concat(parts, 0);
}

void LBFGS::write(const Tensor& flat) const {
  std::int64_t begin = 0;
  for (const Tensor& parameter : parameters()) {
    const std::int64_t end = begin + parameter.size();
    if (parameter.requires_grad()) detail::copy_values(slice(flat, 0, begin, end), parameter);
    begin = end;
  }
}

/// -H·g by the two-loop recursion of L-BFGS.
Tensor LBFGS::direction(const Tensor& gradient) {
  Tensor result = -gradient;
  std::vector<double> weights(pairs_.size());
  for (std::size_t i = pairs_.size(); i-- > 0;) {
    weights[i] = dot(pairs_[i].parameters, result) * pairs_[i].inverse;
    result = result - pairs_[i].gradient * weights[i];
  }
  result = result * scale_;
  for (std::size_t i = 0; i < pairs_.size(); ++i)
    result =
        result + pairs_[i].parameters * (weights[i] - dot(pairs_[i].gradient, result) * pairs_[i].inverse);
  return result;
}

double LBFGS::step(const std::function<Tensor()>& closure) {
  const auto [lr, max_iter, max_eval, tolerance_grad, tolerance_change, history, searches] = options<7>();
  require(lr >= 0, "lr", lr, at_least_0.text);
  if (!closure) throw ValueError("LBFGS: the closure is empty; it must compute the loss and the gradients");
  const auto loss_now = [&] {
    ++evaluations_;
    const Tensor value = closure();
    if (!value.defined() || value.size() != 1)
      throw ValueError("LBFGS: the closure must return the loss, one number; reduce it with mean or sum");
    return value.item<double>();
  };
  const double first_loss = loss_now();
  double loss = first_loss;
  std::int64_t evaluations = 1;
  Tensor gradient = flat_gradient();
  if (largest(gradient) <= tolerance_grad) return first_loss;

  for (double iteration = 1; iteration <= max_iter; ++iteration) {
    if (++iterations_ == 1) {
      direction_ = -gradient;
      pairs_.clear();
      scale_ = 1;
    } else {
      const Tensor change = gradient - gradient_, moved = direction_ * length_;
      if (const double product = dot(change, moved); product > 1e-10) {
        if (static_cast<double>(pairs_.size()) >= history) pairs_.erase(pairs_.begin());
        pairs_.push_back({change, moved, 1 / product});
        scale_ = product / dot(change, change);
      }
      direction_ = direction(gradient);
    }
    gradient_ = gradient;
    const double loss_before = loss;
    length_ = iterations_ == 1 ? std::min(1.0, 1 / sum(abs(gradient)).item<double>()) * lr : lr;
    const double slope = dot(gradient, direction_);
    if (slope > -tolerance_change) break;

    Tensors values;
    for (const Tensor& parameter : parameters())
      values.push_back(reshape(parameter.detach(), {-1}).to(gradient.dtype()));
    const Tensor start = concat(values, 0);
    const auto evaluate = [&](double t) {
      write(start + direction_ * t);
      Point point{.t = t, .loss = loss_now()};
      point.gradient = flat_gradient();
      point.slope = dot(point.gradient, direction_);
      return point;
    };
    if (searches != 0) {
      const auto [point, count] = search(evaluate, {0, loss, gradient, slope}, length_, largest(direction_),
                                         static_cast<std::int64_t>(max_eval) - evaluations);
      write(start + direction_ * point.t);
      length_ = point.t, loss = point.loss, gradient = point.gradient;
      evaluations += count;
    } else if (iteration < max_iter) {
      const Point point = evaluate(length_);
      loss = point.loss, gradient = point.gradient;
      ++evaluations;
    } else {
      write(start + direction_ * length_);
    }
    if (static_cast<double>(evaluations) >= max_eval || largest(gradient) <= tolerance_grad ||
        largest(direction_ * length_) <= tolerance_change || std::abs(loss - loss_before) < tolerance_change)
      break;
  }
  return first_loss;
}

/// Finds a point that satisfies the strong Wolfe conditions, or the best one tried; also returns the number
/// of evaluations, at most budget + 1.
std::pair<LBFGS::Point, std::int64_t> LBFGS::search(const Evaluate& evaluate, const Point& start, double t,
                                                    double largest, std::int64_t budget) {
  constexpr double decrease = 1e-4, curvature = 0.9, least_change = 1e-9;
  const auto too_high = [&](const Point& p) { return p.loss > start.loss + decrease * p.t * start.slope; };
  const auto flat_enough = [&](const Point& p) { return std::abs(p.slope) <= -curvature * start.slope; };

  // Find a bracket: two points with an acceptable one between them.
  Point before = start, now = evaluate(t);
  std::int64_t count = 1;
  std::array<Point, 2> bracket{start, now};
  bool done = false, found = false;
  for (std::int64_t i = 0; i < budget && !found; ++i) {
    found = true;
    if (too_high(now) || (i > 1 && now.loss >= before.loss)) {
      bracket = {before, now};
    } else if (flat_enough(now)) {
      return {now, count};
    } else if (now.slope >= 0) {
      bracket = {before, now};
    } else {
      found = false;
      const double next = cubic_minimum(before, now, now.t + 0.01 * (now.t - before.t), now.t * 10);
      before = std::exchange(now, evaluate(next));
      ++count;
    }
  }
  if (!found) bracket = {start, now};

  // Narrow it.
  const auto by_loss = [&] { return bracket[0].loss <= bracket[1].loss ? 0 : 1; };
  std::size_t low = by_loss();
  bool little_progress = false;
  while (!done && count <= budget) {
    const auto [left, right] = std::minmax(bracket[0].t, bracket[1].t);
    if ((right - left) * largest < least_change) break;
    double next = cubic_minimum(bracket[0], bracket[1], left, right);
    const double margin = 0.1 * (right - left);
    const bool at_edge = std::min(right - next, next - left) < margin;
    if (at_edge && (little_progress || next >= right || next <= left)) {
      next = std::abs(next - right) < std::abs(next - left) ? right - margin : left + margin;
      little_progress = false;
    } else {
      little_progress = at_edge;
    }
    now = evaluate(next);
    ++count;
    const std::size_t high = 1 - low;
    if (too_high(now) || now.loss >= bracket[low].loss) {
      bracket[high] = now;
      low = by_loss();
    } else {
      done = flat_enough(now);
      if (!done && now.slope * (bracket[high].t - bracket[low].t) >= 0) bracket[high] = bracket[low];
      bracket[low] = now;
    }
  }
  return {bracket[low], count};
}

StateDict LBFGS::state_dict() const {
  StateDict dict = Optimizer::state_dict();
  const auto number = [](double value) { return full({}, value, DType::float64); };
  const auto copy = [](const Tensor& t) { return t.defined() ? t.clone() : empty({0}, DType::float64); };
  dict["lbfgs.n_iter"] = full({}, iterations_, DType::int64);
  dict["lbfgs.func_evals"] = full({}, evaluations_, DType::int64);
  dict["lbfgs.pairs"] = full({}, static_cast<std::int64_t>(pairs_.size()), DType::int64);
  dict["lbfgs.t"] = number(length_);
  dict["lbfgs.H_diag"] = number(scale_);
  dict["lbfgs.d"] = copy(direction_);
  dict["lbfgs.prev_flat_grad"] = copy(gradient_);
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    dict[message("lbfgs.old_dirs.{}", i)] = copy(pairs_[i].gradient);
    dict[message("lbfgs.old_stps.{}", i)] = copy(pairs_[i].parameters);
    dict[message("lbfgs.ro.{}", i)] = number(pairs_[i].inverse);
  }
  return dict;
}

void LBFGS::load_state_dict(const StateDict& dict) {
  std::vector<detail::ExpectedEntry> expected;
  detail::check_label("LBFGS::load_state_dict", dict, "class", "LBFGS", expected);
  StateDict base, own;
  for (const auto& [name, tensor] : dict) (name.starts_with("lbfgs.") ? own : base)[name] = tensor;
  const auto integer = [&](const char* name) {
    const auto found = own.find(name);
    if (found == own.end() || found->second.size() != 1)
      throw ValueError(message("LBFGS::load_state_dict: the state dict lacks {}, a number", name));
    const auto value = found->second.item<double>();
    require(value >= 0 && value < 0x1p53, name, value, "a count");
    return static_cast<std::int64_t>(value);
  };
  const std::int64_t iterations = integer("lbfgs.n_iter"), evaluations = integer("lbfgs.func_evals");
  const std::int64_t count = integer("lbfgs.pairs");
  std::int64_t size = 0;
  for (const Tensor& parameter : parameters()) size += parameter.size();
  expected = {{"lbfgs.n_iter", {}},
              {"lbfgs.func_evals", {}},
              {"lbfgs.pairs", {}},
              {"lbfgs.t", {}},
              {"lbfgs.H_diag", {}},
              {"lbfgs.d", {size}, true},
              {"lbfgs.prev_flat_grad", {size}, true}};
  require(count <= static_cast<std::int64_t>(own.size()), "lbfgs.pairs", static_cast<double>(count),
          "the number of pairs that follow");
  for (std::int64_t i = 0; i < count; ++i) {
    expected.push_back({message("lbfgs.old_dirs.{}", i), {size}});
    expected.push_back({message("lbfgs.old_stps.{}", i), {size}});
    expected.push_back({message("lbfgs.ro.{}", i), {}});
  }
  detail::check_state("LBFGS::load_state_dict", own, expected);
  Optimizer::load_state_dict(base);

  const auto vector = [&](const std::string& name) {
    const Tensor& entry = own.at(name);
    return entry.size() == size ? entry.clone() : Tensor();
  };
  std::vector<Pair> pairs;
  for (std::int64_t i = 0; i < count; ++i)
    pairs.push_back({vector(message("lbfgs.old_dirs.{}", i)), vector(message("lbfgs.old_stps.{}", i)),
                     own.at(message("lbfgs.ro.{}", i)).item<double>()});
  pairs_ = std::move(pairs);
  scale_ = own.at("lbfgs.H_diag").item<double>();
  length_ = own.at("lbfgs.t").item<double>();
  direction_ = vector("lbfgs.d");
  gradient_ = vector("lbfgs.prev_flat_grad");
  iterations_ = iterations;
  evaluations_ = evaluations;
}

}  // namespace retort
