#include "retort/framework/nn/conv.hpp"

#include <cmath>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/core/require.hpp"
#include "retort/framework/nn/init.hpp"
#include "retort/framework/ops/windows.hpp"

namespace retort {
namespace {

/// Checks the sizes of `module` and creates its parameters: a weight [rows, columns / groups, kernel] and a
/// bias [out].
void make_parameters(const char* module, std::int64_t in, std::int64_t out, const Shape& kernel,
                     std::int64_t groups, bool transposes, Tensor& weight, Tensor* bias) {
  if (in < 1 || out < 1)
    throw ValueError(
        message("{}: {} to {}; both must be at least 1", module, in, detail::counted(out, "channel")));
  if (groups < 1 || in % groups != 0 || out % groups != 0)
    throw ValueError(message("{}: groups is {}; it must divide the {} input and the {} output channels",
                             module, groups, in, out));
  Shape shape{transposes ? in : out, (transposes ? out : in) / groups};
  for (const std::int64_t size : kernel) shape.push_back(size);
  detail::require_shape(module, shape);
  const double fan = static_cast<double>(element_count(shape) / shape[0]), bound = 1 / std::sqrt(fan);
  weight = init::uniform_(empty(shape), -bound, bound).set_requires_grad();
  if (bias != nullptr) *bias = init::uniform_(empty({out}), -bound, bound).set_requires_grad();
}

}  // namespace

Conv1d::Conv1d(std::int64_t in, std::int64_t out, std::int64_t kernel_size, Conv1dOptions o)
    : options_{o.stride, o.padding, o.dilation, o.groups} {
  const Size2d stride{1, o.stride}, padding{0, o.padding}, dilation{1, o.dilation};
  detail::check_windows("Conv1d", {{1, kernel_size}, stride, padding, dilation, false, true});
  make_parameters("Conv1d", in, out, {kernel_size}, o.groups, false, weight, o.bias ? &bias : nullptr);
}

Conv2d::Conv2d(std::int64_t in, std::int64_t out, Size2d kernel, const Conv2dOptions& o)
    : options_{o.stride, o.padding, o.dilation, o.groups} {
  detail::check_windows("Conv2d", {kernel, o.stride, o.padding, o.dilation});
  make_parameters("Conv2d", in, out, {kernel.height, kernel.width}, o.groups, false, weight,
                  o.bias ? &bias : nullptr);
}

ConvTranspose2d::ConvTranspose2d(std::int64_t in, std::int64_t out, Size2d kernel,
                                 const ConvTranspose2dOptions& o)
    : options_{o.stride, o.padding, o.output_padding, o.groups, o.dilation} {
  detail::check_transposed("ConvTranspose2d", kernel, options_);
  make_parameters("ConvTranspose2d", in, out, {kernel.height, kernel.width}, o.groups, true, weight,
                  o.bias ? &bias : nullptr);
}

MaxPool2d::MaxPool2d(const MaxPool2dOptions& options) : options_(options) {
  (void)detail::checked_pooling("MaxPool2d", options);
}

MaxPool1d::MaxPool1d(const MaxPool1dOptions& options) : options_(options) {
  (void)detail::checked_pooling("MaxPool1d", options);
}

AvgPool1d::AvgPool1d(const AvgPool1dOptions& options) : options_(options) {
  (void)detail::checked_pooling("AvgPool1d", options);
}

AvgPool2d::AvgPool2d(const AvgPool2dOptions& options) : options_(options) {
  (void)detail::checked_pooling("AvgPool2d", options);
}

AdaptiveAvgPool2d::AdaptiveAvgPool2d(Size2d size) : size_(size) {
  detail::check_adaptive("AdaptiveAvgPool2d", size);
}

AdaptiveMaxPool2d::AdaptiveMaxPool2d(Size2d size) : size_(size) {
  detail::check_adaptive("AdaptiveMaxPool2d", size);
}

}  // namespace retort
