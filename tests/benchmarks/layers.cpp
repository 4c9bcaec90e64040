#include "layers.hpp"

#include <retort/retort.hpp>

#include <cmath>
#include <memory>

namespace rt = retort;

namespace {

using Json = nlohmann::json;
using Forward = std::function<rt::Tensor()>;
using Extents = std::vector<std::int64_t>;

rt::Tensor leaf(const rt::Shape& shape) { return rt::randn(shape).set_requires_grad(); }

/// Runs `forward` and its backward for a constant gradient of the result.
std::function<void()> both_ways(rt::Tensors leaves, Forward forward) {
  const rt::Tensor g = rt::randn(rt::no_grad(forward).shape());
  return [leaves = std::move(leaves), forward = std::move(forward), g]() mutable {
    for (rt::Tensor& leaf : leaves) leaf.zero_grad();
    forward().backward(g);
  };
}

template <class Net>
std::function<void()> training(std::shared_ptr<Net> net, std::function<rt::Tensor(Net&)> loss) {
  const auto optimizer = std::make_shared<rt::Adam>(net->parameters(), rt::AdamOptions{.lr = 1e-4});
  return [net, loss, optimizer] {
    const rt::Tensor value = loss(*net);
    optimizer->zero_grad();
    value.backward();
    optimizer->step();
  };
}

class Block : public rt::Module {
 public:
  explicit Block(std::int64_t width)
      : norm1(width), norm2(width), attention(width, 4), up(width, 4 * width), down(4 * width, width) {}
  rt::Tensor operator()(const rt::Tensor& input) {
    const rt::Tensor y = norm1(input);
    const rt::Tensor x = input + attention(y, y, y, {.is_causal = true});
    return x + down(rt::gelu(up(norm2(x)), rt::GeluApproximation::tanh));
  }

  rt::LayerNorm norm1, norm2;
  rt::MultiheadAttention attention;
  rt::Linear up, down;
  RETORT_MEMBERS(norm1, norm2, attention, up, down)
};

class Gpt : public rt::Module {
 public:
  Gpt(std::int64_t length, std::int64_t width, std::int64_t depth, std::int64_t count)
      : words(count, width), position(leaf({length, width})), norm(width), head(width, count) {
    for (std::int64_t i = 0; i < depth; ++i) blocks.emplace_back(width);
  }
  rt::Tensor operator()(const rt::Tensor& text) {
    rt::Tensor x = words(text) + position;
    for (Block& block : blocks) x = block(x);
    return head(norm(x));
  }

  rt::Embedding words;
  rt::Tensor position;
  std::vector<Block> blocks;
  rt::LayerNorm norm;
  rt::Linear head;
  RETORT_MEMBERS(words, position, blocks, norm, head)
};

class Cnn : public rt::Module {
 public:
  rt::Tensor operator()(rt::Tensor x) {
    x = rt::max_pool2d(rt::relu(conv1(x)), {.kernel_size = 2});
    x = rt::max_pool2d(rt::relu(conv2(x)), {.kernel_size = 2});
    return linear2(rt::relu(linear1(rt::flatten(x, 1))));
  }

  rt::Conv2d conv1{1, 32, 3}, conv2{32, 64, 3};
  rt::Linear linear1{1600, 128}, linear2{128, 10};
  RETORT_MEMBERS(conv1, conv2, linear1, linear2)
};

rt::Tensor numbers(std::int64_t count, std::int64_t below, const rt::Shape& shape) {
  Extents values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i * 7919) % below;
  return rt::tensor(std::move(values), shape);
}

std::function<void()> network(const std::string& name, const Extents& s) {
  if (name == "CNN step") {
    const rt::Tensor x = rt::randn({s[0], 1, s[1], s[1]}), labels = numbers(s[0], 10, {s[0]});
    return training<Cnn>(std::make_shared<Cnn>(),
                         [x, labels](Cnn& net) { return rt::cross_entropy(net(x), labels); });
  }
  const std::int64_t tokens = s[0] * s[1], count = s[4];
  const rt::Tensor text = numbers(tokens, count, {s[0], s[1]}), next = numbers(tokens, count, {tokens});
  return training<Gpt>(std::make_shared<Gpt>(s[1], s[2], s[3], count), [=](Gpt& net) {
    return rt::cross_entropy(rt::reshape(net(text), {tokens, count}), next);
  });
}

std::function<void()> normalisation(const std::string& name, const rt::Tensor& x) {
  const rt::Shape one{name.ends_with("r_norm") || name == "rms_norm" ? x.size(-1) : x.size(1)};
  const rt::Tensor w = leaf(one), b = leaf(one);
  if (name == "layer_norm") return both_ways({x, w, b}, [=] { return rt::layer_norm(x, one, w, b); });
  if (name == "rms_norm") return both_ways({x, w}, [=] { return rt::rms_norm(x, one, w); });
  if (name == "group_norm") return both_ways({x, w, b}, [=] { return rt::group_norm(x, 8, w, b); });
  const rt::Tensor mean = rt::zeros(one), variance = rt::ones(one);
  const bool training = name != "batch_norm evaluation", relu = name == "batch_norm relu";
  return both_ways({x, w, b}, [=] {
    const rt::Tensor y = rt::batch_norm(x, mean, variance, w, b, {.training = training});
    return relu ? rt::relu(y) : y;
  });
}

std::function<void()> attention(const rt::Tensor& q, bool composed) {
  const rt::Tensor k = leaf(q.shape()), v = leaf(q.shape());
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(-1)));
  return both_ways({q, k, v}, [=] {
    if (!composed) return rt::scaled_dot_product_attention(q, k, v);
    return rt::matmul(rt::softmax(rt::matmul(q, rt::transpose(k, -1, -2)) * scale, -1), v);
  });
}

std::function<void()> convolution(const Json& request, const rt::Tensor& x) {
  const std::int64_t out = request["out"], kernel = request["kernel"], stride = request["stride"],
                     groups = request["groups"];
  const rt::Tensor w = leaf({out, x.size(1) / groups, kernel, kernel}), b = leaf({out});
  return both_ways({x, w, b}, [=] {
    return rt::conv2d(x, w, b, {.stride = stride, .padding = kernel / 2, .groups = groups});
  });
}

std::function<void()> recurrent(const Json& request, const rt::Tensor& x) {
  const std::int64_t hidden = request["hidden"];
  const auto run = [&x](auto net) {
    rt::Tensors leaves = net->parameters();
    leaves.push_back(x);
    return both_ways(std::move(leaves), [net, x] { return (*net)(x).output; });
  };
  if (request["layer"] == "LSTM") return run(std::make_shared<rt::LSTM>(x.size(2), hidden));
  if (request["layer"] == "GRU") return run(std::make_shared<rt::GRU>(x.size(2), hidden));
  return run(std::make_shared<rt::RNN>(x.size(2), hidden));
}

}  // namespace

std::function<void()> bench::layer(const Json& request) {
  const std::string name = request["layer"];
  const Extents extents = request["shape"];
  if (name.ends_with("step")) return network(name, extents);
  const rt::Shape shape(extents);
  const rt::Tensor x = leaf(shape);
  if (name.find("norm") != std::string::npos) return normalisation(name, x);
  if (name.find("conv") != std::string::npos) return convolution(request, x);
  if (name.starts_with("attention")) return attention(x, name == "attention composed");
  if (name == "LSTM" || name == "GRU" || name == "RNN") return recurrent(request, x);
  if (name == "matmul" || name == "bmm") {
    rt::Shape other = shape;
    std::swap(other[shape.size() - 1], other[shape.size() - 2]);
    const rt::Tensor y = leaf(other);
    return both_ways({x, y}, [=] { return rt::matmul(x, y); });
  }
  if (name == "where") {
    const rt::Tensor y = leaf(shape), condition = rt::greater(rt::randn(shape), 0);
    return both_ways({x, y}, [=] { return rt::where(condition, x, y); });
  }
  if (name == "x column") {
    const rt::Tensor column = leaf({extents[0], 1});
    return both_ways({x, column}, [=] { return x * column; });
  }
  if (name == "concat and slice") {
    const rt::Tensor y = leaf(shape);
    return both_ways({x, y}, [=] { return rt::slice(rt::concat({x, y}, 1), 1, 0, x.size(1)); });
  }
  if (name == "stack of selects")
    return both_ways({x}, [=] {
      rt::Tensors parts;
      for (std::int64_t i = 0; i < x.size(0); ++i) parts.push_back(rt::select(x, 0, i));
      return rt::stack(parts, 0);
    });
  return both_ways({x}, [x, name] {
    if (name == "gelu tanh") return rt::gelu(x, rt::GeluApproximation::tanh);
    if (name == "gelu erf") return rt::gelu(x);
    if (name == "silu") return rt::silu(x);
    if (name == "pow 3") return rt::pow(x, 3);
    if (name == "softmax") return rt::softmax(x, 1);
    if (name == "sum over rows") return rt::sum(x, 0);
    if (name == "sum of each row") return rt::sum(x, 1);
    if (name == "max_pool") return rt::max_pool2d(x, {.kernel_size = 2});
    return rt::permute(x, {0, 2, 3, 1});
  });
}
