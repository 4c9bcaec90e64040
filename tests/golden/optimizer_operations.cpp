// Optimisers, schedulers, clipping, and whole training runs.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <stdexcept>

#include "operations.hpp"
#include "retort/retort.hpp"

namespace retort::golden {
namespace {

/// Options that every optimiser has under the same name.
template <class Options>
Options common_options(const Arguments& args) {
  Options options;
  options.lr = args.number("optim.lr", options.lr);
  options.weight_decay = args.number("optim.weight_decay", options.weight_decay);
  options.maximize = args.flag("optim.maximize", options.maximize);
  return options;
}

template <class Options>
Options adam_options(const Arguments& args) {
  Options options = common_options<Options>(args);
  const std::vector<double> betas =
      args.get("optim.betas", std::vector<double>{options.betas.first, options.betas.second});
  options.betas = {betas.at(0), betas.at(1)};
  options.eps = args.number("optim.eps", options.eps);
  options.amsgrad = args.flag("optim.amsgrad", options.amsgrad);
  return options;
}

SGDOptions sgd_options(const Arguments& args) {
  auto options = common_options<SGDOptions>(args);
  options.momentum = args.number("optim.momentum", options.momentum);
  options.dampening = args.number("optim.dampening", options.dampening);
  options.nesterov = args.flag("optim.nesterov", options.nesterov);
  return options;
}

LionOptions lion_options(const Arguments& args) {
  auto options = common_options<LionOptions>(args);
  const std::vector<double> betas =
      args.get("optim.betas", std::vector<double>{options.betas.first, options.betas.second});
  options.betas = {betas.at(0), betas.at(1)};
  return options;
}

std::unique_ptr<Optimizer> make_optimizer(const Tensors& parameters, const Arguments& args) {
  const std::string name = args.text("optim.optimizer", "");
  if (name == "SGD") return std::make_unique<SGD>(parameters, sgd_options(args));
  if (name == "Adam") return std::make_unique<Adam>(parameters, adam_options<AdamOptions>(args));
  if (name == "AdamW") return std::make_unique<AdamW>(parameters, adam_options<AdamWOptions>(args));
  if (name == "RMSprop") {
    auto options = common_options<RMSpropOptions>(args);
    options.alpha = args.number("optim.alpha", options.alpha);
    options.eps = args.number("optim.eps", options.eps);
    options.momentum = args.number("optim.momentum", options.momentum);
    options.centered = args.flag("optim.centered", options.centered);
    return std::make_unique<RMSprop>(parameters, options);
  }
  if (name == "Adagrad") {
    auto options = common_options<AdagradOptions>(args);
    options.lr_decay = args.number("optim.lr_decay", options.lr_decay);
    options.eps = args.number("optim.eps", options.eps);
    options.initial_accumulator_value =
        args.number("optim.initial_accumulator_value", options.initial_accumulator_value);
    return std::make_unique<Adagrad>(parameters, options);
  }
  throw std::runtime_error("no optimiser " + name);
}

/// Makes the scheduler that the case names and returns its step.
std::function<void()> make_scheduler(Optimizer& optimizer, const Arguments& args) {
  const std::string name = args.text("sched.scheduler", "");
  const auto stepping = [](auto scheduler) { return [scheduler] { scheduler->step(); }; };
  if (name.empty()) return [] {};
  if (name == "StepLR") {
    StepLROptions options;
    options.step_size = args.integer("sched.step_size", options.step_size);
    options.gamma = args.number("sched.gamma", options.gamma);
    return stepping(std::make_shared<StepLR>(optimizer, options));
  }
  if (name == "LinearLR") {
    LinearLROptions options;
    options.start_factor = args.number("sched.start_factor", options.start_factor);
    options.end_factor = args.number("sched.end_factor", options.end_factor);
    options.total_iters = args.integer("sched.total_iters", options.total_iters);
    return stepping(std::make_shared<LinearLR>(optimizer, options));
  }
  if (name == "CosineAnnealingLR") {
    CosineAnnealingLROptions options;
    options.T_max = args.integer("sched.T_max", options.T_max);
    options.eta_min = args.number("sched.eta_min", options.eta_min);
    return stepping(std::make_shared<CosineAnnealingLR>(optimizer, options));
  }
  if (name == "OneCycleLR") {
    OneCycleLROptions options;
    options.max_lr = args.number("sched.max_lr", options.max_lr);
    if (args.has("sched.total_steps")) options.total_steps = args.integer("sched.total_steps", 0);
    if (args.has("sched.epochs")) options.epochs = args.integer("sched.epochs", 0);
    if (args.has("sched.steps_per_epoch")) options.steps_per_epoch = args.integer("sched.steps_per_epoch", 0);
    options.pct_start = args.number("sched.pct_start", options.pct_start);
    options.anneal_strategy = args.text("sched.anneal_strategy", options.anneal_strategy);
    options.div_factor = args.number("sched.div_factor", options.div_factor);
    options.final_div_factor = args.number("sched.final_div_factor", options.final_div_factor);
    options.three_phase = args.flag("sched.three_phase", options.three_phase);
    return stepping(std::make_shared<OneCycleLR>(optimizer, options));
  }
  if (name == "LinearWarmup") {
    LinearWarmupOptions options;
    options.warmup_steps = args.integer("sched.warmup_steps", options.warmup_steps);
    return stepping(std::make_shared<LinearWarmup>(optimizer, options));
  }
  LambdaLROptions options;
  if (name == "LinearWarmupDecay") {
    const double warmup = args.number("sched.warmup_steps", 1), total = args.number("sched.total_steps", 1);
    options.lr_lambda = [=](std::int64_t step) {
      const auto e = static_cast<double>(step);
      return e < warmup ? (e + 1) / warmup : std::max(0.0, (total - e) / (total - warmup));
    };
  } else if (name == "ExpLambda") {
    const double gamma = args.number("sched.gamma", 1);
    options.lr_lambda = [=](std::int64_t step) { return std::pow(gamma, static_cast<double>(step)); };
  } else {
    throw std::runtime_error("no scheduler " + name);
  }
  return stepping(std::make_shared<LambdaLR>(optimizer, options));
}

/// Values gathered step by step: [steps, shape of one].
class Trace {
 public:
  void add(const Tensor& value) {
    const std::vector<double> part = value.values<double>();
    values_.insert(values_.end(), part.begin(), part.end());
    shape_ = value.shape();
    dtype_ = value.dtype();
    ++steps_;
  }
  void add(double value, DType dtype = DType::float64) { add(full({}, value, dtype)); }
  Tensor get() const {
    Shape shape = shape_;
    shape.insert(shape.begin(), steps_);
    return tensor(values_, shape).to(dtype_);
  }

 private:
  std::vector<double> values_;
  Shape shape_;
  DType dtype_ = DType::float64;
  std::int64_t steps_ = 0;
};

/// Parameters of their own, learning, and their names.
Tensors parameters_of(const NamedTensors& in, const std::vector<std::string>& names) {
  Tensors parameters;
  for (const std::string& name : names) parameters.push_back(in.at(name).clone().set_requires_grad());
  return parameters;
}

Results replay(const Arguments& args, const NamedTensors& in) {
  const Tensors parameters = parameters_of(in, {"param0", "param1"});
  const auto optimizer = make_optimizer(parameters, args);
  std::vector<Trace> traces(parameters.size());
  for (std::int64_t step = 0; step < args.integer("steps", 0); ++step) {
    for (std::size_t i = 0; i < parameters.size(); ++i)
      parameters[i].set_grad(select(in.at("grad_steps" + std::to_string(i)), 0, step));
    optimizer->step();
    for (std::size_t i = 0; i < parameters.size(); ++i) traces[i].add(parameters[i]);
  }
  return {.outputs = {{"trajectory0", traces[0].get()}, {"trajectory1", traces[1].get()}}};
}

/// The options of a group: those that all share, replaced by its own.
Arguments with_group(const Arguments& args, std::int64_t group) {
  Arguments own = args;
  for (const char* name : {"lr", "weight_decay", "momentum", "dampening", "eps", "alpha"}) {
    const std::string key = "groups." + std::to_string(group) + "." + name;
    if (args.has(key)) own.set(std::string("optim.") + name, args.number(key, 0));
  }
  return own;
}

template <class O, class Options>
Results replay_groups(const Arguments& args, const NamedTensors& in,
                      Options (*options_of)(const Arguments&)) {
  Tensors parameters;
  while (in.contains("param" + std::to_string(parameters.size())))
    parameters.push_back(in.at("param" + std::to_string(parameters.size())).clone().set_requires_grad());
  const std::int64_t count = args.integer("groups", 0), steps = args.integer("steps", 0);
  const auto group_at = [&](std::int64_t g) {
    ParameterGroup<Options> group{.options = options_of(with_group(args, g))};
    for (const std::int64_t place : args.integers("groups." + std::to_string(g) + ".params"))
      group.parameters.push_back(parameters.at(place));
    return group;
  };
  const auto added_at = [&](std::int64_t g) {
    return args.integer("groups." + std::to_string(g) + ".added_at", 0);
  };
  std::vector<ParameterGroup<Options>> first;
  for (std::int64_t g = 0; g < count; ++g)
    if (added_at(g) == 0) first.push_back(group_at(g));
  O optimizer(first);
  const auto step_scheduler = make_scheduler(optimizer, args);
  std::vector<Trace> traces(parameters.size());
  std::vector<double> rates;
  for (std::int64_t step = 0; step < steps; ++step) {
    for (std::int64_t g = 0; g < count; ++g) {
      if (added_at(g) == step && step > 0) optimizer.add_group(group_at(g));
      rates.push_back(g < optimizer.group_count() ? optimizer.lr(g) : 0);
    }
    for (std::size_t i = 0; i < parameters.size(); ++i)
      parameters[i].set_grad(select(in.at("grad_steps" + std::to_string(i)), 0, step));
    optimizer.step();
    step_scheduler();
    for (std::size_t i = 0; i < parameters.size(); ++i) traces[i].add(parameters[i]);
  }
  Results results;
  for (std::size_t i = 0; i < parameters.size(); ++i)
    results.outputs["trajectory" + std::to_string(i)] = traces[i].get();
  results.outputs["lr"] = tensor(rates, {steps, count});
  return results;
}

Results optimizer_groups(const Arguments& args, const NamedTensors& in) {
  const std::string name = args.text("optim.optimizer", "");
  if (name == "SGD") return replay_groups<SGD>(args, in, sgd_options);
  if (name == "Adam") return replay_groups<Adam>(args, in, adam_options<AdamOptions>);
  if (name == "AdamW") return replay_groups<AdamW>(args, in, adam_options<AdamWOptions>);
  if (name == "Lion") return replay_groups<Lion>(args, in, lion_options);
  throw std::runtime_error("no optimiser " + name);
}

Results lbfgs(const Arguments& args, const NamedTensors& in) {
  LBFGSOptions options;
  options.lr = args.number("optim.lr", options.lr);
  options.max_iter = args.integer("optim.max_iter", options.max_iter);
  if (args.has("optim.max_eval")) options.max_eval = args.integer("optim.max_eval", 0);
  options.tolerance_grad = args.number("optim.tolerance_grad", options.tolerance_grad);
  options.tolerance_change = args.number("optim.tolerance_change", options.tolerance_change);
  options.history_size = args.integer("optim.history_size", options.history_size);
  if (args.has("optim.line_search_fn")) options.line_search_fn = args.text("optim.line_search_fn", "");
  const Tensor x = in.at("x0").clone().set_requires_grad();
  const auto objective = [&]() -> Tensor {
    if (args.text("objective", "") == "quadratic")
      return 0.5 * sum(x * matmul(in.at("A"), x)) - sum(in.at("b") * x);
    const Tensor left = slice(x, 0, 0, -1), right = slice(x, 0, 1, std::nullopt);
    return sum(args.number("steepness", 1) * pow(right - left * left, 2) + pow(1 - left, 2));
  };
  LBFGS optimizer({x}, options);
  Trace trajectory, loss;
  for (std::int64_t step = 0; step < args.integer("steps", 0); ++step) {
    loss.add(optimizer.step([&] {
      optimizer.zero_grad();
      const Tensor value = objective();
      value.backward();
      return value;
    }));
    trajectory.add(x);
  }
  return {.outputs = {{"trajectory", trajectory.get()}, {"loss", loss.get()}}};
}

Results schedule(const Arguments& args, const NamedTensors&) {
  const auto optimizer = make_optimizer({zeros({1}).set_requires_grad()}, args);
  const auto step_scheduler = make_scheduler(*optimizer, args);
  Trace lr, momentum;
  for (std::int64_t step = 0; step < args.integer("steps", 0); ++step) {
    lr.add(optimizer->lr());
    momentum.add(optimizer->momentum().value());
    optimizer->step();
    step_scheduler();
  }
  return {.outputs = {{"lr", lr.get()}, {"momentum", momentum.get()}}};
}

Results plateau(const Arguments& args, const NamedTensors& in) {
  const auto optimizer = make_optimizer({zeros({1}).set_requires_grad()}, args);
  ReduceLROnPlateauOptions options;
  options.mode = args.text("sched.mode", options.mode);
  options.factor = args.number("sched.factor", options.factor);
  options.patience = args.integer("sched.patience", options.patience);
  options.threshold = args.number("sched.threshold", options.threshold);
  options.threshold_mode = args.text("sched.threshold_mode", options.threshold_mode);
  options.cooldown = args.integer("sched.cooldown", options.cooldown);
  options.min_lr = args.number("sched.min_lr", options.min_lr);
  options.eps = args.number("sched.eps", options.eps);
  ReduceLROnPlateau scheduler(*optimizer, options);
  Trace lr;
  for (const double metric : in.at("metrics").values<double>()) {
    lr.add(optimizer->lr());
    scheduler.step(metric);
  }
  lr.add(optimizer->lr());
  return {.outputs = {{"lr", lr.get()}}};
}

Results clip(const Arguments& args, const NamedTensors& in, bool by_value) {
  Tensors parameters;
  for (const auto& item : in) {
    parameters.push_back(zeros_like(item.second).set_requires_grad());
    parameters.back().set_grad(item.second.clone());
  }
  Results results;
  if (by_value) {
    clip_grad_value(parameters, args.number("clip_value", 0));
  } else {
    const double norm_type =
        args.is_text("norm_type") ? std::numeric_limits<double>::infinity() : args.number("norm_type", 2);
    const double norm = clip_grad_norm(parameters, args.number("max_norm", 0), norm_type);
    results.outputs["total_norm"] = full({}, norm, parameters[0].dtype());
  }
  for (std::size_t i = 0; i < parameters.size(); ++i)
    results.outputs["clipped" + std::to_string(i)] = parameters[i].grad();
  return results;
}

Results train_linear_mse(const Arguments& args, const NamedTensors& in) {
  const Tensors parameters = parameters_of(in, {"w", "b"});
  const auto optimizer = make_optimizer(parameters, args);
  const auto step_scheduler = make_scheduler(*optimizer, args);
  Trace loss, w, b;
  for (std::int64_t step = 0; step < args.integer("steps", 0); ++step) {
    optimizer->zero_grad();
    const Tensor error = mse_loss(linear(in.at("x"), parameters[0], parameters[1]), in.at("y"));
    loss.add(error);
    error.backward();
    optimizer->step();
    step_scheduler();
    w.add(parameters[0]);
    b.add(parameters[1]);
  }
  return {.outputs = {{"loss", loss.get()}, {"w", w.get()}, {"b", b.get()}}};
}

Results train_distill_mlp(const Arguments& args, const NamedTensors& in, bool fused) {
  const Tensors parameters = parameters_of(in, {"w1", "b1", "w2", "b2"});
  const auto optimizer = make_optimizer(parameters, args);
  const auto step_scheduler = make_scheduler(*optimizer, args);
  const double temperature = args.number("T", 1), alpha = args.number("alpha", 1);
  DistillationLoss distill({.temperature = temperature, .alpha = alpha});
  Trace losses, norms;
  for (std::int64_t step = 0; step < args.integer("steps", 0); ++step) {
    optimizer->zero_grad();
    const Tensor hidden = relu(linear(in.at("x"), parameters[0], parameters[1]));
    const Tensor student = linear(hidden, parameters[2], parameters[3]);
    Tensor loss;
    if (fused) {
      loss = distill({.student = student, .teacher = in.at("teacher"), .labels = in.at("labels")});
    } else {
      const Tensor divergence =
          kl_div(log_softmax(student / temperature, 1), softmax(in.at("teacher") / temperature, 1),
                 {.reduction = Reduction::batchmean});
      loss = alpha * temperature * temperature * divergence +
             (1 - alpha) * cross_entropy(student, in.at("labels"));
    }
    losses.add(loss);
    loss.backward();
    norms.add(clip_grad_norm(parameters, args.number("clip_norm", 1)), loss.dtype());
    optimizer->step();
    step_scheduler();
  }
  return {.outputs = {{"loss", losses.get()},
                      {"grad_norm", norms.get()},
                      {"w1", parameters[0]},
                      {"b1", parameters[1]},
                      {"w2", parameters[2]},
                      {"b2", parameters[3]}}};
}

}  // namespace

std::vector<Form> optimizer_operation(const std::string& op) {
  using A = const Arguments&;
  using In = const NamedTensors&;
  if (op == "optimizer") return {{"class", replay}};
  if (op == "optimizer_groups") return {{"class", optimizer_groups}};
  if (op == "LBFGS") return {{"class", lbfgs}};
  if (op == "lr_schedule") return {{"class", schedule}};
  if (op == "reduce_on_plateau") return {{"class", plateau}};
  if (op == "clip_grad_norm") return {{"function", [](A args, In in) { return clip(args, in, false); }}};
  if (op == "clip_grad_value") return {{"function", [](A args, In in) { return clip(args, in, true); }}};
  if (op == "train_linear_mse") return {{"training", train_linear_mse}};
  if (op == "train_distill_mlp")
    return {{"composed", [](A args, In in) { return train_distill_mlp(args, in, false); }},
            {"fused", [](A args, In in) { return train_distill_mlp(args, in, true); }}};
  return {};
}

}  // namespace retort::golden
