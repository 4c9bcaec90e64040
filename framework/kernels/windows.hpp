// The geometry of windows that slide over images, which convolution and pooling share.
#pragma once

#include "retort/framework/base/dtype.hpp"

namespace retort::kernels {

/// Windows of kernel_h × kernel_w (dilated) that slide over planes of height × width with padding around them.
struct Windows {
  Index height = 0, width = 0;
  Index kernel_h = 1, kernel_w = 1;
  Index stride_h = 1, stride_w = 1;
  Index padding_h = 0, padding_w = 0;
  Index dilation_h = 1, dilation_w = 1;
  Index out_h = 0, out_w = 0;  ///< window positions; windows may reach beyond the padding

  Index plane() const { return height * width; }
  Index window() const { return kernel_h * kernel_w; }
  Index positions() const { return out_h * out_w; }
};

}  // namespace retort::kernels
