// Rows of the op table: framework/ops/conv.hpp and norm.hpp.
#include <cmath>

#include "op_cases.hpp"

namespace retort::tests {
namespace {

using In = const Tensors&;

/// A window's places: stride, padding, dilation, kernel along one side of an image.
struct Side {
  std::int64_t stride = 1, padding = 0, dilation = 1, kernel = 1;
  std::int64_t outputs(std::int64_t n, bool ceil_mode) const {
    const std::int64_t free = n + 2 * padding - dilation * (kernel - 1) - 1;
    std::int64_t count = (ceil_mode ? (free + stride - 1) / stride : free / stride) + 1;
    // A last window must start in the image or its left padding.
    if (ceil_mode && (count - 1) * stride >= n + padding) --count;
    return count;
  }
  std::int64_t place(std::int64_t out, std::int64_t k) const { return out * stride - padding + k * dilation; }
};

Tensor convolved(const Tensor& x, const Tensor& w, const Tensor& bias, Side rows, Side columns,
                 std::int64_t groups) {
  rows.kernel = w.size(2), columns.kernel = w.size(3);
  const std::int64_t per_group = w.size(0) / groups;
  return build(
      {x.size(0), w.size(0), rows.outputs(x.size(2), false), columns.outputs(x.size(3), false)},
      [&](const Index& i) {
        double sum = bias.defined() ? at(bias, {i[1]}) : 0;
        for (std::int64_t c = 0; c < w.size(1); ++c)
          for (std::int64_t kh = 0; kh < w.size(2); ++kh)
            for (std::int64_t kw = 0; kw < w.size(3); ++kw) {
              const std::int64_t h = rows.place(i[2], kh), v = columns.place(i[3], kw);
              if (h < 0 || v < 0 || h >= x.size(2) || v >= x.size(3)) continue;
              sum += at(w, {i[1], c, kh, kw}) * at(x, {i[0], i[1] / per_group * w.size(1) + c, h, v});
            }
        return sum;
      });
}

/// The gradient of convolved() for x, in plain loops: each element of g adds its multiple of the weight.
Tensor scattered(const Tensor& g, const Tensor& w, const Tensor& bias, Side rows, Side columns, Shape shape,
                 std::int64_t groups) {
  const std::int64_t per_group = w.size(0) / groups;
  return build(shape, [&](const Index& i) {
    double sum = bias.defined() ? at(bias, {i[1]}) : 0;
    const std::int64_t group = i[1] / w.size(1);
    for (std::int64_t c = 0; c < per_group; ++c)
      for (std::int64_t h = 0; h < g.size(2); ++h)
        for (std::int64_t v = 0; v < g.size(3); ++v)
          for (std::int64_t kh = 0; kh < w.size(2); ++kh)
            for (std::int64_t kw = 0; kw < w.size(3); ++kw)
              if (rows.place(h, kh) == i[2] && columns.place(v, kw) == i[3])
                sum += at(g, {i[0], group * per_group + c, h, v}) *
                       at(w, {group * per_group + c, i[1] % w.size(1), kh, kw});
    return sum;
  });
}

/// f(elements inside the image, elements of the window that padding counts as zeros) for each window.
template <class F>
Tensor pooled(const Tensor& x, Side rows, Side columns, bool ceil_mode, F&& f) {
  const std::int64_t height = x.size(-2), width = x.size(-1);
  Shape shape = x.shape();
  shape[shape.size() - 2] = rows.outputs(height, ceil_mode);
  shape[shape.size() - 1] = columns.outputs(width, ceil_mode);
  return build(shape, [&](Index i) {
    const std::int64_t top = i[i.size() - 2], left = i.back();
    Doubles inside;
    std::int64_t padded = 0;
    for (std::int64_t kh = 0; kh < rows.kernel; ++kh)
      for (std::int64_t kw = 0; kw < columns.kernel; ++kw) {
        const std::int64_t h = rows.place(top, kh), v = columns.place(left, kw);
        if (h >= height + rows.padding || v >= width + columns.padding) continue;
        if (h < 0 || v < 0 || h >= height || v >= width) {
          ++padded;
          continue;
        }
        i[i.size() - 2] = h, i.back() = v;
        inside.push_back(at(x, i));
      }
    return f(inside, padded);
  });
}

/// pooled() over the last dimension alone.
template <class F>
Tensor pooled_line(const Tensor& x, Side windows, bool ceil_mode, F&& f) {
  return squeeze(pooled(unsqueeze(x, -2), {}, windows, ceil_mode, f), -2);
}

/// f(elements) for each of height × width parts of the images.
template <class F>
Tensor adaptively_pooled(const Tensor& x, std::int64_t height, std::int64_t width, F&& f) {
  const auto begin = [](std::int64_t i, std::int64_t n, std::int64_t k) { return i * n / k; };
  const auto end = [](std::int64_t i, std::int64_t n, std::int64_t k) { return ((i + 1) * n + k - 1) / k; };
  const std::int64_t rows = x.size(-2), columns = x.size(-1);
  Shape shape = x.shape();
  shape[shape.size() - 2] = height, shape[shape.size() - 1] = width;
  return build(shape, [&](Index i) {
    const std::int64_t r = i[i.size() - 2], c = i.back();
    Doubles inside;
    for (std::int64_t h = begin(r, rows, height); h < end(r, rows, height); ++h)
      for (std::int64_t v = begin(c, columns, width); v < end(c, columns, width); ++v) {
        i[i.size() - 2] = h, i.back() = v;
        inside.push_back(at(x, i));
      }
    return f(inside);
  });
}

double mean_of(const Doubles& x) { return total(x) / static_cast<double>(x.size()); }

Doubles normalised(Doubles x, double eps) {
  const double mean = mean_of(x);
  double variance = 0;
  for (const double value : x) variance += (value - mean) * (value - mean) / static_cast<double>(x.size());
  for (double& value : x) value = (value - mean) / std::sqrt(variance + eps);
  return x;
}

/// x normalised over its last dimensions, taken as rows of `width`.
Tensor normalised_rows(const Tensor& x, std::int64_t width, double eps) {
  const Tensor flat = shaped(x, {x.size() / width, width});
  return shaped(along(flat, 1, [=](Doubles row) { return normalised(std::move(row), eps); }), x.shape());
}

Doubles by_root_mean_square(Doubles x, double eps) {
  double square = 0;
  for (const double value : x) square += value * value / static_cast<double>(x.size());
  for (double& value : x) value /= std::sqrt(square + eps);
  return x;
}

/// [N, C, …] by channel, of the batch.
Tensor normalised_channels(const Tensor& x, double eps) {
  const std::size_t channels = static_cast<std::size_t>(x.size(1));
  std::vector<Doubles> by_channel(channels);
  for_each_index(x.shape(),
                 [&](const Index& i) { by_channel[static_cast<std::size_t>(i[1])].push_back(at(x, i)); });
  for (Doubles& channel : by_channel) channel = normalised(std::move(channel), eps);
  std::vector<std::size_t> next(channels, 0);
  return build(x.shape(), [&](const Index& i) {
    const auto c = static_cast<std::size_t>(i[1]);
    return by_channel[c][next[c]++];
  });
}

/// y · weight + bias, by channel.
Tensor scaled_channels(const Tensor& y, const Tensor& weight, const Tensor& bias) {
  return build(y.shape(), [&](const Index& i) { return at(y, i) * at(weight, {i[1]}) + at(bias, {i[1]}); });
}

std::vector<OpCase> convolutions() {
  const auto w = [](const Shape& shape) { return spread(shape, 2, 0.6); };
  const Tensor bias = spread({4}, 3);
  return {
      {.name = "conv2d",
       .call = [](In in) { return conv2d(in[0], in[1], in[2]); },
       .reference = [](In in) { return convolved(in[0], in[1], in[2], {}, {}, 1); },
       .samples = {{uniform({2, 3, 5, 6}, 1), w({4, 3, 3, 2}), bias},
                   {uniform({1, 1, 1, 1}, 1), w({4, 1, 1, 1}), bias},
                   {uniform({0, 3, 5, 6}, 1), w({4, 3, 3, 2}), bias}},
       .refused = {{Refusal::shape, {uniform({2, 3, 5, 6}, 1), w({4, 2, 3, 2}), bias}},
                   {Refusal::shape, {uniform({2, 3, 2, 6}, 1), w({4, 3, 3, 2}), bias}}}},
      {.name = "conv2d",
       .variant = "stride, padding, dilation, groups",
       .call =
           [](In in) {
             return conv2d(in[0], in[1], Tensor(),
                           {.stride = {2, 1}, .padding = {1, 2}, .dilation = {1, 2}, .groups = 2});
           },
       .reference =
           [](In in) {
             return convolved(in[0], in[1], Tensor(), {2, 1, 1, 1}, {1, 2, 2, 1}, 2);
           },
       .samples = {{uniform({2, 4, 5, 6}, 1), w({6, 2, 3, 2})}, {uniform({1, 2, 7, 5}, 1), w({2, 1, 2, 3})}},
       .refused = {{Refusal::shape, {uniform({2, 4, 5, 6}, 1), w({6, 3, 3, 2})}},
                   {Refusal::shape, {uniform({2, 3, 5, 6}, 1), w({6, 2, 3, 2})}},
                   {Refusal::value, {uniform({2, 4, 5, 6}, 1), w({5, 2, 3, 2})}}}},
      {.name = "conv2d",
       .variant = "one channel per group",
       .call =
           [](In in) {
             return conv2d(in[0], in[1], in[2], {.stride = {1, 2}, .padding = 1, .groups = 4});
           },
       .reference =
           [](In in) {
             return convolved(in[0], in[1], in[2], {1, 1, 1, 1}, {2, 1, 1, 1}, 4);
           },
       .samples = {{uniform({2, 4, 5, 6}, 1), w({4, 1, 3, 3}), bias},
                   {uniform({2, 4, 3, 19}, 1), w({4, 1, 2, 5}), bias}}},
      {.name = "conv1d",
       .call = [](In in) { return conv1d(in[0], in[1], in[2]); },
       .reference =
           [](In in) {
             const Tensor &x = in[0], &v = in[1];
             const Tensor y = convolved(shaped(x, {x.size(0), x.size(1), 1, x.size(2)}),
                                        shaped(v, {v.size(0), v.size(1), 1, v.size(2)}), in[2], {}, {}, 1);
             return shaped(y, {y.size(0), y.size(1), y.size(3)});
           },
       .samples = {{uniform({2, 3, 40}, 1), w({4, 3, 5}), bias},
                   {uniform({1, 1, 1}, 1), w({4, 1, 1}), bias}}},
      {.name = "conv1d",
       .variant = "stride, padding, groups",
       .call = [](In in) { return conv1d(in[0], in[1], in[2], {.stride = 2, .padding = 1, .groups = 2}); },
       .reference =
           [](In in) {
             const Tensor &x = in[0], &v = in[1];
             const Tensor y =
                 convolved(shaped(x, {x.size(0), x.size(1), 1, x.size(2)}),
                           shaped(v, {v.size(0), v.size(1), 1, v.size(2)}), in[2], {}, {2, 1, 1, 1}, 2);
             return shaped(y, {y.size(0), y.size(1), y.size(3)});
           },
       .samples = {{uniform({2, 4, 7}, 1), w({4, 2, 3}), bias}, {uniform({0, 4, 7}, 1), w({4, 2, 3}), bias}},
       .refused = {{Refusal::shape, {uniform({2, 4, 7}, 1), w({4, 3, 3}), bias}},
                   {Refusal::shape, {uniform({2, 4, 7, 1}, 1), w({4, 2, 3}), bias}},
                   {Refusal::shape, {uniform({2, 3, 7}, 1), w({4, 1, 3}), bias}},
                   {Refusal::value, {uniform({2, 4, 7}, 1), w({5, 2, 3}), bias}}}},
      {.name = "conv_transpose2d",
       .call = [](In in) { return conv_transpose2d(in[0], in[1], in[2]); },
       .reference =
           [](In in) {
             const Tensor &x = in[0], &v = in[1];
             return scattered(x, v, in[2], {}, {},
                              {x.size(0), v.size(1), x.size(2) + v.size(2) - 1, x.size(3) + v.size(3) - 1},
                              1);
           },
       .samples = {{uniform({2, 3, 4, 3}, 1), w({3, 4, 3, 2}), bias},
                   {uniform({1, 1, 1, 1}, 1), w({1, 4, 1, 1}), bias},
                   {uniform({0, 3, 4, 3}, 1), w({3, 4, 3, 2}), bias}},
       .refused = {{Refusal::shape, {uniform({2, 3, 4, 3}, 1), w({2, 4, 3, 2}), bias}},
                   {Refusal::shape, {uniform({2, 3, 0, 3}, 1), w({3, 4, 3, 2}), bias}}}},
      {.name = "conv_transpose2d",
       .variant = "stride, padding, output padding, dilation, groups",
       .call =
           [](In in) {
             return conv_transpose2d(in[0], in[1], Tensor(),
                                     {.stride = {3, 2},
                                      .padding = {1, 2},
                                      .output_padding = {2, 1},
                                      .groups = 2,
                                      .dilation = {1, 2}});
           },
       .reference =
           [](In in) {
             const Tensor &x = in[0], &v = in[1];
             return scattered(x, v, Tensor(), {3, 1, 1, 1}, {2, 2, 2, 1},
                              {x.size(0), v.size(1) * 2, (x.size(2) - 1) * 3 - 2 + v.size(2) - 1 + 2 + 1,
                               (x.size(3) - 1) * 2 - 4 + 2 * (v.size(3) - 1) + 1 + 1},
                              2);
           },
       .samples = {{uniform({2, 4, 3, 4}, 1), w({4, 3, 2, 3})}, {uniform({1, 2, 2, 5}, 1), w({2, 1, 3, 2})}},
       .refused = {{Refusal::value, {uniform({2, 3, 3, 4}, 1), w({3, 3, 2, 3})}},
                   {Refusal::shape, {uniform({2, 3, 3, 4}, 1), w({4, 3, 2, 3})}}}},
      {.name = "adaptive_avg_pool2d",
       .call =
           [](In in) {
             return adaptive_avg_pool2d(in[0], {2, 3});
           },
       .reference = [](In in) { return adaptively_pooled(in[0], 2, 3, mean_of); },
       .samples =
           {{spread({2, 3, 5, 7})}, {spread({3, 4, 3})}, {spread({1, 1, 1, 1})}, {spread({0, 3, 4, 4})}},
       .refused = {{Refusal::shape, {spread({1, 1, 0, 2})}}, {Refusal::shape, {spread({2, 2})}}}},
      {.name = "adaptive_max_pool2d",
       .call =
           [](In in) {
             return adaptive_max_pool2d(in[0], {2, 3});
           },
       .reference = [](In in) { return adaptively_pooled(in[0], 2, 3, largest); },
       .samples =
           {{spread({2, 3, 5, 7})}, {spread({3, 4, 3})}, {spread({1, 1, 1, 1})}, {spread({0, 3, 4, 4})}},
       .refused = {{Refusal::shape, {spread({1, 1, 0, 2})}}, {Refusal::shape, {spread({2, 2})}}}},
      {.name = "max_pool1d",
       .call =
           [](In in) {
             return max_pool1d(in[0], {.kernel_size = 3, .stride = 2, .padding = 1, .ceil_mode = true});
           },
       .reference =
           [](In in) {
             return pooled_line(in[0], {2, 1, 1, 3}, true,
                                [](const Doubles& x, std::int64_t) { return largest(x); });
           },
       .samples = {{spread({2, 3, 6})}, {spread({3, 4})}, {spread({1, 1, 1})}, {spread({0, 3, 4})}},
       .refused = {{Refusal::shape, {spread({1, 1, 0})}}, {Refusal::shape, {spread({2, 2, 2, 2})}}}},
      {.name = "avg_pool1d",
       .call = [](In in) { return avg_pool1d(in[0], {.kernel_size = 2, .padding = 1}); },
       .reference =
           [](In in) {
             return pooled_line(in[0], {2, 1, 1, 2}, false, [](const Doubles& x, std::int64_t padded) {
               return total(x) / static_cast<double>(static_cast<std::int64_t>(x.size()) + padded);
             });
           },
       .samples = {{spread({2, 3, 6})}, {spread({3, 5})}, {spread({1, 1, 1})}, {spread({0, 3, 4})}},
       .refused = {{Refusal::shape, {spread({4})}}, {Refusal::type, {indices({1, 1, 4}, 1, 2)}}}},
      {.name = "max_pool2d",
       .call = [](In in) { return max_pool2d(in[0], {.kernel_size = 2}); },
       .reference =
           [](In in) {
             return pooled(in[0], {2, 0, 1, 2}, {2, 0, 1, 2}, false,
                           [](const Doubles& x, std::int64_t) { return largest(x); });
           },
       .samples =
           {{spread({2, 3, 4, 5})}, {spread({3, 4, 4})}, {spread({1, 1, 2, 2})}, {spread({0, 3, 4, 4})}},
       .refused = {{Refusal::shape, {spread({1, 1, 1, 2})}}}},
      {.name = "max_pool2d",
       .variant = "padding, stride, ceil_mode",
       .call =
           [](In in) {
             return max_pool2d(in[0],
                               {.kernel_size = {3, 2}, .stride = Size2d(2), .padding = 1, .ceil_mode = true});
           },
       .reference =
           [](In in) {
             return pooled(in[0], {2, 1, 1, 3}, {2, 1, 1, 2}, true,
                           [](const Doubles& x, std::int64_t) { return largest(x); });
           },
       .samples = {{spread({2, 3, 6, 5})}, {spread({1, 1, 7, 8})}, {spread({1, 1, 1, 1})}}},
      {.name = "avg_pool2d",
       .call =
           [](In in) {
             return avg_pool2d(in[0], {.kernel_size = {3, 2}, .padding = 1});
           },
       .reference =
           [](In in) {
             return pooled(
                 in[0], {3, 1, 1, 3}, {2, 1, 1, 2}, false, [](const Doubles& x, std::int64_t padded) {
                   return total(x) / static_cast<double>(static_cast<std::int64_t>(x.size()) + padded);
                 });
           },
       .samples =
           {{spread({2, 3, 6, 5})}, {spread({1, 4, 4})}, {spread({1, 1, 1, 1})}, {spread({0, 3, 4, 4})}}},
      {.name = "avg_pool2d",
       .variant = "ceil_mode, without what is padded",
       .call =
           [](In in) {
             return avg_pool2d(in[0], {.kernel_size = 3,
                                       .stride = Size2d(2),
                                       .padding = 1,
                                       .ceil_mode = true,
                                       .count_include_pad = false});
           },
       .reference =
           [](In in) {
             return pooled(in[0], {2, 1, 1, 3}, {2, 1, 1, 3}, true,
                           [](const Doubles& x, std::int64_t) { return mean_of(x); });
           },
       .samples = {{spread({2, 3, 6, 5})}, {spread({1, 1, 7, 8})}}},
  };
}

std::vector<OpCase> normalisations() {
  const std::vector<Refused> unfit{{Refusal::shape, {uniform({2, 3}, 1)}}};
  const Tensor mean = uniform({3}, 4), variance = uniform({3}, 5, 0.5, 2);
  return {
      {.name = "layer_norm",
       .call = [](In in) { return layer_norm(in[0], in[1].shape(), in[1], in[2]); },
       .reference =
           [](In in) {
             const Tensor y = normalised_rows(in[0], in[1].size(), 1e-5);
             const Tensor scaled = each(y, in[1], [](double a, double b) { return a * b; });
             return each(scaled, in[2], [](double a, double b) { return a + b; });
           },
       .samples = {{uniform({5, 7}, 1), uniform({7}, 2), uniform({7}, 3)},
                   {uniform({2, 3, 4}, 1), uniform({3, 4}, 2), uniform({3, 4}, 3)},
                   {uniform({1}, 1), uniform({1}, 2), uniform({1}, 3)},
                   {uniform({0, 7}, 1), uniform({7}, 2), uniform({7}, 3)}},
       .refused = {{Refusal::shape, {uniform({5, 6}, 1), uniform({7}, 2), uniform({7}, 3)}}},
       .mixed_tolerance = 1e-6},
      {.name = "layer_norm",
       .variant = "bare",
       .call = [](In in) { return layer_norm(in[0], {4}, {}, {}, 0.1); },
       .reference = [](In in) { return normalised_rows(in[0], 4, 0.1); },
       .samples = {{uniform({5, 4}, 1)}, {uniform({4}, 1)}, {uniform({2, 3, 4}, 1)}},
       .refused = unfit},
      {.name = "rms_norm",
       .call = [](In in) { return rms_norm(in[0], in[1].shape(), in[1], 1e-3); },
       .reference =
           [](In in) {
             const Tensor flat = shaped(in[0], {in[0].size() / in[1].size(), in[1].size()});
             const Tensor y =
                 along(flat, 1, [](Doubles row) { return by_root_mean_square(std::move(row), 1e-3); });
             return each(shaped(y, in[0].shape()), in[1], [](double a, double b) { return a * b; });
           },
       .samples = {{uniform({5, 7}, 1), uniform({7}, 2)},
                   {uniform({2, 3, 4}, 1), uniform({3, 4}, 2)},
                   {uniform({1}, 1), uniform({1}, 2)},
                   {uniform({0, 7}, 1), uniform({7}, 2)}},
       .refused = {{Refusal::shape, {uniform({5, 6}, 1), uniform({7}, 2)}}},
       .mixed_tolerance = 1e-6},
      {.name = "group_norm",
       .call = [](In in) { return group_norm(in[0], in[1].size() == 1 ? 1 : 2, in[1], in[2]); },
       .reference =
           [](In in) {
             const std::int64_t sets = in[0].size(0) * (in[1].size() == 1 ? 1 : 2);
             const Tensor y = normalised_rows(in[0], sets == 0 ? 1 : in[0].size() / sets, 1e-5);
             return scaled_channels(y, in[1], in[2]);
           },
       .samples = {{uniform({3, 4}, 1), uniform({4}, 2), uniform({4}, 3)},
                   {uniform({2, 6, 2, 3}, 1), uniform({6}, 2), uniform({6}, 3)},
                   {uniform({5, 2, 3}, 1), uniform({2}, 2), uniform({2}, 3)},
                   {uniform({1, 1}, 1), uniform({1}, 2), uniform({1}, 3)},
                   {uniform({0, 4, 3}, 1), uniform({4}, 2), uniform({4}, 3)}},
       .refused = {{Refusal::shape, {uniform({4}, 1), uniform({4}, 2), uniform({4}, 3)}},
                   {Refusal::value, {uniform({2, 3, 4}, 1), uniform({3}, 2), uniform({3}, 3)}}},
       .mixed_tolerance = 1e-6},
      {.name = "batch_norm",
       .variant = "in training",
       .call = [](In in) { return batch_norm(in[0], {}, {}, in[1], in[2], {.training = true}); },
       .reference = [](In in) { return scaled_channels(normalised_channels(in[0], 1e-5), in[1], in[2]); },
       .samples = {{uniform({5, 3}, 1), uniform({3}, 2), uniform({3}, 3)},
                   {uniform({4, 3, 2, 5}, 1), uniform({3}, 2), uniform({3}, 3)}},
       .refused = {{Refusal::shape, {uniform({5, 3}, 1), uniform({4}, 2), uniform({4}, 3)}},
                   {Refusal::value, {uniform({1, 3}, 1), uniform({3}, 2), uniform({3}, 3)}}},
       .mixed_tolerance = 1e-6},
      {.name = "batch_norm",
       .variant = "in evaluation",
       .call =
           [=](In in) {
             return batch_norm(in[0], mean.to(in[0].dtype()), variance.to(in[0].dtype()), in[1], in[2]);
           },
       .reference =
           [=](In in) {
             const Tensor y = build(in[0].shape(), [&](const Index& i) {
               return (at(in[0], i) - at(mean, {i[1]})) / std::sqrt(at(variance, {i[1]}) + 1e-5);
             });
             return scaled_channels(y, in[1], in[2]);
           },
       .samples = {{uniform({5, 3}, 1), uniform({3}, 2), uniform({3}, 3)},
                   {uniform({2, 3, 2, 2}, 1), uniform({3}, 2), uniform({3}, 3)},
                   {uniform({1, 3}, 1), uniform({3}, 2), uniform({3}, 3)},
                   {uniform({0, 3}, 1), uniform({3}, 2), uniform({3}, 3)}},
       .mixed_tolerance = 1e-6},
      {.name = "batch_norm",
       .variant = "one channel, bare",
       .call =
           [](In in) {
             return batch_norm(in[0], full({1}, 0.5, in[0].dtype()), full({1}, 2, in[0].dtype()), {}, {},
                               {.eps = 0.25});
           },
       .reference = [](In in) { return each(in[0], [](double x) { return (x - 0.5) / 1.5; }); },
       .samples = {{uniform({1, 1}, 1)}, {uniform({4, 1, 3}, 1)}}},
  };
}

}  // namespace

std::vector<OpCase> network_cases() {
  std::vector<OpCase> rows = convolutions();
  for (const OpCase& row : normalisations()) rows.push_back(row);
  return rows;
}

}  // namespace retort::tests
