#include "retort/framework/nn/conv.hpp"

#include <cmath>

#include "retort/framework/nn/init.hpp"

namespace retort {

Conv2d::Conv2d(std::int64_t in, std::int64_t out, Size2d kernel_size, Conv2dOptions options)
    : options_{options.stride, options.padding, options.dilation, options.groups} {
  if (in < 1 || out < 1 || kernel_size.height < 1 || kernel_size.width < 1)
    throw ValueError(message("Conv2d: {} to {} channels with a kernel of {}; all must be at least 1", in, out,
                             Shape{kernel_size.height, kernel_size.width}));
  if (options.groups < 1 || in % options.groups != 0 || out % options.groups != 0)
    throw ValueError(message("Conv2d: groups is {}; it must divide the {} input and the {} output channels",
                             options.groups, in, out));
  const std::int64_t depth = in / options.groups * kernel_size.height * kernel_size.width;
  const double bound = 1 / std::sqrt(static_cast<double>(depth));
  weight =
      init::uniform_(empty({out, in / options.groups, kernel_size.height, kernel_size.width}), -bound, bound);
  weight.set_requires_grad();
  if (options.bias) bias = init::uniform_(empty({out}), -bound, bound).set_requires_grad();
}

Tensor Conv2d::operator()(const Tensor& x) const { return output(conv2d(x, weight, bias, options_)); }

}  // namespace retort
