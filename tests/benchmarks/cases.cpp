#include "cases.hpp"

#include <string>

namespace bench {
namespace {

using Json = nlohmann::json;
using Extents = std::vector<std::int64_t>;

Json product(const std::string& a, bool transpose_a, const std::string& b, bool transpose_b,
             const std::string& c, std::int64_t m, std::int64_t n, std::int64_t k) {
  return {{"a", a}, {"transpose_a", transpose_a},
          {"b", b}, {"transpose_b", transpose_b},
          {"c", c}, {"m", m},
          {"n", n}, {"k", k}};
}

void add_forward(Json& products, const std::string& net, const Extents& widths, std::int64_t batch) {
  for (std::size_t i = 1; i < widths.size(); ++i)
    products.push_back(product(i == 1 ? "x" : net + "x" + std::to_string(i), false,
                               net + "w" + std::to_string(i), true, net + "x" + std::to_string(i + 1), batch,
                               widths[i], widths[i - 1]));
}

// The first layer's input requires no gradient.
void add_backward(Json& products, const std::string& net, const Extents& widths, std::int64_t batch) {
  for (std::size_t i = widths.size() - 1; i >= 1; --i) {
    const std::string layer = std::to_string(i), x = i == 1 ? "x" : net + "x" + layer,
                      g = net + "g" + std::to_string(i + 1);
    products.push_back(product(g, true, x, false, net + "dw" + layer, widths[i], widths[i - 1], batch));
    if (i > 1)
      products.push_back(
          product(g, false, net + "w" + layer, false, net + "g" + layer, batch, widths[i - 1], widths[i]));
  }
}

std::string dashed(const Extents& widths) {
  std::string text;
  for (const std::int64_t width : widths) {
    if (!text.empty()) text += '-';
    text += std::to_string(width);
  }
  return text;
}

Json step(std::int64_t batch, const Extents& teacher, const Extents& student, bool cached,
          const std::string& optimizer) {
  Json products = Json::array();
  if (!cached) add_forward(products, "t", teacher, batch);
  add_forward(products, "s", student, batch);
  add_backward(products, "s", student, batch);
  std::int64_t parameters = 0;
  for (std::size_t i = 1; i < student.size(); ++i) parameters += student[i] * (student[i - 1] + 1);
  // Parameter, gradient and state are read, parameter and state written.
  const std::int64_t arrays = optimizer == "sgd" ? 5 : 7;
  return {{"name", "step B" + std::to_string(batch) + " " + dashed(teacher) + " > " + dashed(student) + " " +
                       (cached ? "cached " : "") + optimizer},
          {"kind", "step"},
          {"batch", batch},
          {"teacher", teacher},
          {"student", student},
          {"cached", cached},
          {"optimizer", optimizer},
          {"products", products},
          {"bytes", 4 * arrays * parameters}};
}

Json operation(const std::string& name, const Extents& shape, std::int64_t arrays) {
  return {{"name", name + " " + dashed(shape)},
          {"kind", "operation"},
          {"operation", name},
          {"shape", shape},
          {"bytes", 4 * arrays * shape[0] * shape[1]}};
}

Json linear(std::int64_t rows, std::int64_t in, std::int64_t out) {
  Json made = operation("linear", {rows, in}, 0);
  made["name"] = "linear " + dashed({rows, in, out});
  made["out"] = out;
  made["products"] = Json::array({product("x", false, "w", true, "y", rows, out, in),
                                  product("g", true, "x", false, "dw", out, in, rows),
                                  product("g", false, "w", false, "dx", rows, in, out)});
  return made;
}

std::int64_t product_of(const Extents& shape) {
  std::int64_t size = 1;
  for (const std::int64_t extent : shape) size *= extent;
  return size;
}

/// A layer or function, forward and backward, that reads and writes so many arrays of the size of its input.
Json layer(const std::string& name, const Extents& shape, double arrays, double flops = 0,
           const Json& arguments = Json::object()) {
  Json made = {{"name", name + " " + dashed(shape)},
               {"kind", "layer"},
               {"layer", name},
               {"shape", shape},
               {"bytes", 4 * arrays * static_cast<double>(product_of(shape))},
               {"flops", flops}};
  made.update(arguments);
  return made;
}

/// Value, gradient of the input and gradient of the weight cost one product each.
Json convolution(const std::string& name, const Extents& shape, std::int64_t out, std::int64_t kernel,
                 std::int64_t stride, std::int64_t groups) {
  const double to_from = static_cast<double>(out) / static_cast<double>(shape[1] * stride * stride);
  const double results = static_cast<double>(product_of(shape)) * to_from;
  return layer(name, shape, 3 + 3 * to_from,
               6 * results * static_cast<double>(shape[1] / groups * kernel * kernel),
               {{"out", out}, {"kernel", kernel}, {"stride", stride}, {"groups", groups}});
}

void add_layers(std::vector<Json>& all) {
  const Extents image{64, 64, 32, 32};
  all.push_back(layer("layer_norm", {4096, 512}, 5));
  all.push_back(layer("layer_norm", {2048, 128}, 5));
  all.push_back(layer("rms_norm", {4096, 512}, 5));
  all.push_back(layer("group_norm", {32, 64, 32, 32}, 5));
  all.push_back(layer("batch_norm", image, 6));
  all.push_back(layer("batch_norm", {32, 512, 7, 7}, 6));
  all.push_back(layer("batch_norm evaluation", image, 5));
  all.push_back(layer("batch_norm relu", image, 6));
  all.push_back(layer("gelu tanh", {4096, 2048}, 5));
  all.push_back(layer("gelu erf", {4096, 2048}, 5));
  all.push_back(layer("silu", {1000, 1000}, 5));
  all.push_back(layer("pow 3", {1000, 1000}, 5));
  all.push_back(layer("where", {1000, 1000}, 6));
  all.push_back(layer("x column", {4096, 1024}, 5));
  all.push_back(layer("softmax", {16384, 256}, 5));
  all.push_back(layer("sum over rows", {4096, 1024}, 2));
  all.push_back(layer("sum of each row", {4096, 1024}, 2));
  all.push_back(layer("permute NCHW NHWC", {32, 64, 56, 56}, 4));
  all.push_back(layer("concat and slice", {1024, 512}, 6));
  all.push_back(layer("stack of selects", {128, 64, 64}, 4));
  all.push_back(layer("max_pool", image, 2.5));
  all.push_back(layer("max_pool", {64, 32, 26, 26}, 2.5));
  all.push_back(layer("matmul", {1024, 1024}, 6, 6.0 * 1024 * 1024 * 1024));
  all.push_back(layer("bmm", {64, 128, 64}, 6, 6.0 * 64 * 128 * 64 * 128));
  all.push_back(convolution("depthwise conv 3x3", {32, 64, 32, 32}, 64, 3, 1, 64));
  all.push_back(convolution("depthwise conv 3x3", {32, 64, 28, 28}, 64, 3, 2, 64));
  all.push_back(convolution("depthwise conv 3x3", {32, 144, 7, 7}, 144, 3, 1, 144));
  all.push_back(convolution("conv 1x1", {32, 256, 16, 16}, 64, 1, 1, 1));
  all.push_back(convolution("conv 3x3", {32, 64, 32, 32}, 64, 3, 1, 1));
  all.push_back(convolution("conv 3x3", {32, 16, 14, 14}, 16, 3, 1, 1));
  all.push_back(convolution("conv 3x3", {32, 32, 7, 7}, 32, 3, 1, 1));
  all.push_back(convolution("conv 7x7", {8, 3, 112, 112}, 64, 7, 2, 1));
  for (const std::int64_t length : {1024, 4096}) {
    const double flops = 12.0 * 8 * 64 * static_cast<double>(length * length);
    all.push_back(layer("attention", {1, 8, length, 64}, 12, flops));
    if (length == 1024) all.push_back(layer("attention composed", {1, 8, length, 64}, 12, flops));
  }
  for (const auto& [cell, gates] : {std::pair{"LSTM", 4}, {"GRU", 3}, {"RNN", 1}})
    all.push_back(layer(cell, {32, 64, 128}, 8,  // 32 sequences of 64 steps and 128 features
                        6.0 * 32 * 64 * (128 + 256) * 256 * gates, {{"hidden", 256}}));
  // Batch, length, width, blocks and words; batch and side of the images.
  all.push_back(layer("GPT step", {8, 128, 128, 4, 256}, 0,
                      6.0 * 8 * 128 * (12.0 * 128 * 128 * 4 + 256 * 128) + 12.0 * 8 * 128 * 128 * 128 * 4));
  all.push_back(layer("CNN step", {64, 28}, 0,
                      6.0 * 64 * (26.0 * 26 * 32 * 9 + 11.0 * 11 * 64 * 32 * 9 + 1600 * 128 + 128 * 10)));
}

}  // namespace

std::vector<Json> cases() {
  struct Pair {
    std::int64_t batch;
    Extents teacher, student;
  };
  std::vector<Json> all;
  for (const Pair& nets : {Pair{32, {64, 128, 10}, {64, 32, 10}}, Pair{1, {64, 128, 10}, {64, 32, 10}},
                           Pair{128, {784, 1200, 1200, 10}, {784, 800, 800, 10}},
                           Pair{128, {784, 1200, 1200, 10}, {784, 30, 30, 10}},
                           Pair{256, {256, 512, 512, 1000}, {256, 256, 256, 1000}}})
    for (const bool cached : {false, true})
      for (const char* optimizer : {"sgd", "adam"})
        all.push_back(step(nets.batch, nets.teacher, nets.student, cached, optimizer));
  for (const std::int64_t batch : {16, 64, 256, 1024, 4096})
    all.push_back(step(batch, {784, 1200, 1200, 10}, {784, 30, 30, 10}, true, "sgd"));

  for (const char* from : {"logits", "log-probabilities"})
    for (const auto& [rows, classes] : {std::pair{128, 10}, {4096, 1000}, {1024, 32000}, {256, 128256}})
      // Student and teacher are read, the gradient is written.
      all.push_back({{"name", "loss " + dashed({rows, classes}) + " from " + from},
                     {"kind", "loss"},
                     {"from", from},
                     {"rows", rows},
                     {"classes", classes},
                     {"bytes", std::int64_t{12} * rows * classes}});

  // Losses of logits alone: all arrays are read or written once, as in the case above.
  for (const char* loss : {"forward_kl", "reverse_kl", "jensen_shannon", "skew_kl", "skew_reverse_kl",
                           "total_variation", "logit_mse", "sparse", "cross_entropy"})
    for (const auto& [rows, classes] : {std::pair{128, 10}, {4096, 1000}, {1024, 32000}}) {
      const bool dense = std::string(loss) != "sparse" && std::string(loss) != "cross_entropy";
      all.push_back({{"name", std::string(loss) + " " + dashed({rows, classes})},
                     {"kind", "divergence"},
                     {"loss", loss},
                     {"rows", rows},
                     {"classes", classes},
                     {"bytes", std::int64_t{4} * (dense ? 3 : 2) * rows * classes}});
    }

  // Forward and backward: what is read and written of arrays of the operation's size.
  for (const Extents& shape : {Extents{32, 128}, Extents{4096, 4096}}) {
    all.push_back(operation("log_softmax", shape, 5));
    all.push_back(operation("relu", shape, 5));
    all.push_back(operation("add", shape, 6));
    all.push_back(operation("sum", shape, 2));
    all.push_back(operation("adam", shape, 7));
  }
  all.push_back(operation("x sigmoid(y) + tanh(z) w", {1000, 1000}, 14));
  add_layers(all);
  all.push_back(linear(32, 64, 32));
  all.push_back(linear(128, 784, 800));
  for (const std::int64_t length : {1000, 10000, 1000000})
    all.push_back({{"name", "chain of " + std::to_string(length) + " ops, each"},
                   {"kind", "chain"},
                   {"length", length},
                   {"per", length},
                   {"heavy", length == 1000000}});

  Json large = linear(4096, 512, 32000);
  large.update({{"name", "linear and loss 4096-512-32000"},
                {"kind", "linear_loss"},
                {"rows", 4096},
                {"classes", 32000},
                {"features", 512},
                {"bytes", std::int64_t{4} * 4096 * 32000},
                {"heavy", true}});
  all.push_back(large);
  return all;
}

}  // namespace bench
