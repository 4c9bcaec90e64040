// The same cases in libtorch's C++ interface.
#include <dlfcn.h>
#include <malloc.h>
#include <torch/torch.h>
#include <torch/version.h>

#include "serve.hpp"

using bench::Json;
namespace F = torch::nn::functional;

namespace {

using Extents = std::vector<std::int64_t>;

constexpr double temperature = 4, alpha = 0.9;

/// A function of the BLAS that libtorch has loaded, or null.
template <class F>
F* function(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_DEFAULT, name));
}

struct MlpImpl : torch::nn::Module {
  explicit MlpImpl(const Extents& widths) {
    for (std::size_t i = 1; i < widths.size(); ++i)
      layers.push_back(register_module(std::to_string(i), torch::nn::Linear(widths[i - 1], widths[i])));
  }
  torch::Tensor forward(torch::Tensor x) {
    for (std::size_t i = 0; i < layers.size(); ++i) x = layers[i](i == 0 ? x : torch::relu(x));
    return x;
  }

  std::vector<torch::nn::Linear> layers;
};
TORCH_MODULE(Mlp);

torch::Tensor labels(std::int64_t rows, std::int64_t classes) { return torch::arange(rows) * 7919 % classes; }

torch::Tensor leaf(const Extents& shape) { return torch::randn(shape).requires_grad_(); }

torch::Tensor loss_of(const torch::Tensor& student, const torch::Tensor& teacher,
                      const torch::Tensor& classes) {
  const torch::Tensor divergence =
      F::kl_div(torch::log_softmax(student / temperature, 1), torch::softmax(teacher / temperature, 1),
                F::KLDivFuncOptions(torch::kBatchMean));
  return divergence * (alpha * temperature * temperature) + F::cross_entropy(student, classes) * (1 - alpha);
}

std::function<void()> step(const Json& request) {
  const Extents widths = request["student"];
  const std::int64_t batch = request["batch"];
  Mlp teacher(request["teacher"].get<Extents>()), student(widths);
  const torch::Tensor input = torch::randn({batch, widths.front()}), classes = labels(batch, widths.back());
  auto ask = [teacher, input]() mutable {
    const torch::InferenceMode guard;
    return teacher(input);
  };
  const torch::Tensor cached = request["cached"] ? ask() : torch::Tensor();
  std::shared_ptr<torch::optim::Optimizer> optimizer;
  if (request["optimizer"] == "sgd")
    optimizer = std::make_shared<torch::optim::SGD>(student->parameters(),
                                                    torch::optim::SGDOptions(0.001).momentum(0.9));
  else
    optimizer =
        std::make_shared<torch::optim::Adam>(student->parameters(), torch::optim::AdamOptions(0.0001));
  return [=]() mutable {
    const torch::Tensor answer = cached.defined() ? cached : ask();
    const torch::Tensor loss = loss_of(student(input), answer, classes);
    optimizer->zero_grad();
    loss.backward();
    optimizer->step();
  };
}

std::function<void()> loss(const Json& request) {
  const std::int64_t rows = request["rows"], classes = request["classes"];
  torch::Tensor student = torch::randn({rows, classes}), teacher = torch::randn({rows, classes});
  if (request["from"] == "logits") {
    student.requires_grad_();
    return [student, teacher, truth = labels(rows, classes)]() mutable {
      student.mutable_grad().reset();
      loss_of(student, teacher, truth).backward();
    };
  }
  student = torch::log_softmax(student, 1).requires_grad_();
  teacher = torch::softmax(teacher, 1);
  return [student, teacher]() mutable {
    student.mutable_grad().reset();
    F::kl_div(student, teacher, F::KLDivFuncOptions(torch::kBatchMean)).backward();
  };
}

std::function<void()> linear_loss(const Json& request) {
  const std::int64_t rows = request["rows"], classes = request["classes"], features = request["features"];
  return [hidden = leaf({rows, features}), weight = leaf({classes, features}), bias = leaf({classes}),
          teacher = torch::randn({rows, classes}), truth = labels(rows, classes)]() mutable {
    for (torch::Tensor* x : {&hidden, &weight, &bias}) x->mutable_grad().reset();
    loss_of(F::linear(hidden, weight, bias), teacher, truth).backward();
  };
}

std::function<void()> operation(const Json& request) {
  const std::string name = request["operation"];
  const Extents shape = request["shape"];
  torch::Tensor x = leaf(shape);
  if (name == "adam") {
    (x * torch::randn(shape)).sum().backward();
    const auto optimizer = std::make_shared<torch::optim::Adam>(std::vector<torch::Tensor>{x},
                                                                torch::optim::AdamOptions(0.0001));
    return [optimizer] { optimizer->step(); };
  }
  if (name == "linear") {
    const std::int64_t out = request["out"];
    return [x, w = leaf({out, shape[1]}), b = leaf({out}), g = torch::randn({shape[0], out})]() mutable {
      for (torch::Tensor* t : {&x, &w, &b}) t->mutable_grad().reset();
      F::linear(x, w, b).backward(g);
    };
  }
  if (name == "x sigmoid(y) + tanh(z) w")
    return [x, y = leaf(shape), z = leaf(shape), w = leaf(shape), g = torch::randn(shape)]() mutable {
      for (torch::Tensor* t : {&x, &y, &z, &w}) t->mutable_grad().reset();
      (x * torch::sigmoid(y) + torch::tanh(z) * w).backward(g);
    };
  if (name == "sum")
    return [x]() mutable {
      x.mutable_grad().reset();
      x.sum().backward();
    };
  return [x, other = leaf(shape), g = torch::randn(shape), name]() mutable {
    x.mutable_grad().reset();
    other.mutable_grad().reset();
    (name == "relu" ? torch::relu(x) : name == "add" ? x + other : torch::log_softmax(x, 1)).backward(g);
  };
}

std::function<void()> chain(const Json& request) {
  const std::int64_t length = request["length"];
  return [length, x = leaf({16}), c = torch::ones({16})]() mutable {
    x.mutable_grad().reset();
    torch::Tensor y = x;
    for (std::int64_t i = 0; i < length; i += 2) y = (y + c) * c;
    y.sum().backward();
  };
}

}  // namespace

std::function<void()> bench::make_work(const Json& request) {
  torch::manual_seed(0);
  const std::string kind = request["kind"];
  if (request["form"] != "composed") return {};
  if (kind == "step") return step(request);
  if (kind == "loss") return loss(request);
  if (kind == "linear_loss") return linear_loss(request);
  if (kind == "operation") return operation(request);
  if (kind == "chain") return chain(request);
  return {};
}

Json bench::about() {
  const auto config = function<char*()>("openblas_get_config");
  return {{"name", "libtorch " TORCH_VERSION}, {"blas", config != nullptr ? config() : "not OpenBLAS"}};
}

void bench::release_memory() { malloc_trim(0); }

void bench::set_threads(int threads) {
  torch::set_num_threads(threads);
  // libtorch does not pass its number of threads to OpenBLAS.
  if (const auto set = function<void(int)>("openblas_set_num_threads")) set(threads);
}

void bench::start_counting() {}

Json bench::counted() { return Json::object(); }
