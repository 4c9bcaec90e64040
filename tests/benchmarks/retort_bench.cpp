// The cases in Retort: form "composed" of the operations that a peer has too, form "fused" with the losses
// made in one.
#include <retort/framework/fused.hpp>
#include <retort/retort.hpp>

#include <algorithm>
#include <memory>
#include <numeric>

#include "layers.hpp"
#include "serve.hpp"

namespace rt = retort;
using bench::Json;

namespace {

using Extents = std::vector<std::int64_t>;

constexpr double temperature = 4, alpha = 0.9;

class Mlp : public rt::Module {
 public:
  explicit Mlp(const Extents& widths) {
    for (std::size_t i = 1; i < widths.size(); ++i) layers.emplace_back(widths[i - 1], widths[i]);
  }
  rt::Tensor operator()(rt::Tensor x) {
    for (std::size_t i = 0; i < layers.size(); ++i) x = layers[i](i == 0 ? x : rt::relu(x));
    return x;
  }

  std::vector<rt::Linear> layers;
  RETORT_MEMBERS(layers)
};

rt::Tensor labels(std::int64_t rows, std::int64_t classes) {
  Extents values(static_cast<std::size_t>(rows));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i * 7919) % classes;
  return rt::tensor(std::move(values), {rows});
}

rt::Tensor leaf(const rt::Shape& shape) { return rt::randn(shape).set_requires_grad(); }

rt::Tensor loss_of(const rt::Tensor& student, const rt::Tensor& teacher, const rt::Tensor& classes,
                   bool fused) {
  if (fused)
    return rt::distillation_loss({.student = student, .teacher = teacher, .labels = classes},
                                 {.temperature = temperature, .alpha = alpha});
  const rt::Tensor soft = rt::no_grad([&] { return rt::softmax(teacher / temperature, 1); });
  const rt::Tensor divergence =
      rt::kl_div(rt::log_softmax(student / temperature, 1), soft, {.reduction = rt::Reduction::batchmean});
  return divergence * (alpha * temperature * temperature) + rt::cross_entropy(student, classes) * (1 - alpha);
}

std::function<void()> step(const Json& request, bool fused) {
  struct State {
    Mlp teacher, student;
    rt::Tensor input, classes, cached = {};
    std::unique_ptr<rt::Optimizer> optimizer = {};
  };
  const Extents teacher = request["teacher"], student = request["student"];
  const std::int64_t batch = request["batch"];
  const auto state = std::make_shared<State>(
      State{Mlp(teacher), Mlp(student), rt::randn({batch, student.front()}), labels(batch, student.back())});
  if (request["cached"]) state->cached = rt::no_grad([&] { return state->teacher(state->input); });
  if (request["optimizer"] == "sgd")
    state->optimizer.reset(new rt::SGD(state->student.parameters(), {.lr = 0.001, .momentum = 0.9}));
  else
    state->optimizer.reset(new rt::Adam(state->student.parameters(), {.lr = 0.0001}));
  return [state, fused] {
    State& s = *state;
    const rt::Tensor answer = s.cached.defined() ? s.cached : rt::no_grad([&] { return s.teacher(s.input); });
    const rt::Tensor loss = loss_of(s.student(s.input), answer, s.classes, fused);
    s.optimizer->zero_grad();
    loss.backward();
    s.optimizer->step();
  };
}

std::function<void()> loss(const Json& request, bool fused) {
  const std::int64_t rows = request["rows"], classes = request["classes"];
  rt::Tensor student = rt::randn({rows, classes}), teacher = rt::randn({rows, classes});
  if (request["from"] == "logits") {
    student.set_requires_grad();
    return [student, teacher, truth = labels(rows, classes), fused]() mutable {
      student.zero_grad();
      loss_of(student, teacher, truth, fused).backward();
    };
  }
  if (fused) return {};
  student = rt::log_softmax(student, 1).set_requires_grad();
  teacher = rt::softmax(teacher, 1);
  return [student, teacher]() mutable {
    student.zero_grad();
    rt::kl_div(student, teacher, {.reduction = rt::Reduction::batchmean}).backward();
  };
}

std::function<void()> divergence(const Json& request, bool fused) {
  const std::string name = request["loss"];
  const std::int64_t rows = request["rows"], classes = request["classes"];
  rt::Tensor student = rt::randn({rows, classes}).set_requires_grad();
  const rt::Tensor teacher = rt::randn({rows, classes});
  const auto backward_of = [&](auto loss) -> std::function<void()> {
    return [student, loss]() mutable {
      student.zero_grad();
      loss(student).backward();
    };
  };
  if (name == "cross_entropy" && !fused)
    return backward_of(
        [truth = labels(rows, classes)](const rt::Tensor& s) { return rt::cross_entropy(s, truth); });
  if (name == "cross_entropy" || !fused) return {};
  if (name == "sparse")
    return backward_of(
        [kept = rt::sparse_teacher(teacher, std::min<std::int64_t>(16, classes), temperature)](
            const rt::Tensor& s) { return rt::sparse_distillation_loss({.student = s, .teacher = kept}); });
  return backward_of([teacher, kind = rt::divergence_from_string(name)](const rt::Tensor& s) {
    return rt::distillation_loss({.student = s, .teacher = teacher},
                                 {.temperature = temperature, .divergence = kind});
  });
}

std::function<void()> linear_loss(const Json& request, bool fused) {
  const std::int64_t rows = request["rows"], classes = request["classes"], features = request["features"];
  return [hidden = leaf({rows, features}), weight = leaf({classes, features}), bias = leaf({classes}),
          teacher = rt::randn({rows, classes}), truth = labels(rows, classes), fused]() mutable {
    for (rt::Tensor* x : {&hidden, &weight, &bias}) x->zero_grad();
    if (fused)
      rt::linear_distillation_loss(
          {.hidden = hidden, .weight = weight, .bias = bias, .teacher_logits = teacher, .labels = truth},
          {.temperature = temperature, .alpha = alpha})
          .backward();
    else
      loss_of(rt::linear(hidden, weight, bias), teacher, truth, true).backward();
  };
}

std::function<void()> gates(const rt::Shape& shape, bool fused) {
  return [x = leaf(shape), y = leaf(shape), z = leaf(shape), w = leaf(shape), g = rt::randn(shape),
          fused]() mutable {
    for (rt::Tensor* t : {&x, &y, &z, &w}) t->zero_grad();
    const auto f = [](const auto& a, const auto& b, const auto& c, const auto& d) {
      return a * sigmoid(b) + tanh(c) * d;
    };
    (fused ? rt::fused("gates", f, x, y, z, w) : f(x, y, z, w)).backward(g);
  };
}

std::function<void()> operation(const Json& request, bool fused) {
  const std::string name = request["operation"];
  const Extents extents = request["shape"];
  const rt::Shape shape(extents);
  if (name == "x sigmoid(y) + tanh(z) w") return gates(shape, fused);
  if (fused) return {};
  rt::Tensor x = leaf(shape);
  if (name == "adam") {
    rt::sum(x * rt::randn(shape)).backward();
    const std::shared_ptr<rt::Optimizer> optimizer(new rt::Adam({x}, {.lr = 0.0001}));
    return [optimizer] { optimizer->step(); };
  }
  if (name == "linear") {
    const std::int64_t out = request["out"];
    return [x, w = leaf({out, extents[1]}), b = leaf({out}), g = rt::randn({extents[0], out})]() mutable {
      for (rt::Tensor* t : {&x, &w, &b}) t->zero_grad();
      rt::linear(x, w, b).backward(g);
    };
  }
  if (name == "sum")
    return [x]() mutable {
      x.zero_grad();
      rt::sum(x).backward();
    };
  return [x, other = leaf(shape), g = rt::randn(shape), name]() mutable {
    x.zero_grad();
    other.zero_grad();
    (name == "relu" ? rt::relu(x) : name == "add" ? x + other : rt::log_softmax(x, 1)).backward(g);
  };
}

std::function<void()> chain(const Json& request) {
  const std::int64_t length = request["length"];
  return [length, x = leaf({16}), c = rt::ones({16})]() mutable {
    x.zero_grad();
    rt::Tensor y = x;
    for (std::int64_t i = 0; i < length; i += 2) y = (y + c) * c;
    rt::sum(y).backward();
  };
}

std::int64_t requests_before = 0;

}  // namespace

std::function<void()> bench::make_work(const Json& request) {
  rt::manual_seed(0);
  const std::string kind = request["kind"];
  const bool fused = request["form"] == "fused";
  if (kind == "step") return step(request, fused);
  if (kind == "loss") return loss(request, fused);
  if (kind == "divergence") return divergence(request, fused);
  if (kind == "linear_loss") return linear_loss(request, fused);
  if (kind == "operation") return operation(request, fused);
  if (fused) return {};
  if (kind == "layer") return bench::layer(request);
  if (kind == "chain") return chain(request);
  return {};
}

Json bench::about() { return {{"name", "Retort " RETORT_VERSION}, {"compiler", RETORT_COMPILER}}; }

void bench::release_memory() { rt::release_memory(); }

void bench::set_threads(int threads) { rt::set_num_threads(threads); }

void bench::start_counting() {
  rt::reset_peak_memory();
  requests_before = rt::memory_stats().system_requests;
}

Json bench::counted() {
  const rt::MemoryStats stats = rt::memory_stats();
  return {{"system_requests", stats.system_requests - requests_before}, {"pool_peak", stats.peak_in_use}};
}
