// Geometry of sliding windows over images, shared by convolution and pooling.
#pragma once

#include <algorithm>

#include "retort/framework/base/dtype.hpp"

namespace retort::kernels {

/// Windows of kernel_h × kernel_w (dilated) that slide over planes of height × width with padding.
struct Windows {
  Index height = 0, width = 0;
  Index kernel_h = 1, kernel_w = 1;
  Index stride_h = 1, stride_w = 1;
  Index padding_h = 0, padding_w = 0;
  Index dilation_h = 1, dilation_w = 1;
  Index out_h = 0, out_w = 0;  ///< window positions; windows may extend past the padding

  Index plane() const { return height * width; }
  Index window() const { return kernel_h * kernel_w; }
  Index positions() const { return out_h * out_w; }
};

/// Reads columns t·stride + shift for t < count from rows of `extent` elements.
class Columns {
 public:
  Columns(Index extent, Index shift, Index stride, Index count)
      : shift_(shift),
        stride_(stride),
        count_(count),
        begin_(std::clamp<Index>(shift >= 0 ? 0 : (stride - 1 - shift) / stride, 0, count)),
        end_(shift >= extent ? begin_ : std::clamp<Index>((extent - 1 - shift) / stride + 1, begin_, count)) {
  }

  /// Columns outside the row are `fill`.
  template <class T>
  void read(const T* row, T fill, T* to) const {
    std::fill_n(to, begin_, fill);
    if (stride_ == 1)
      std::copy(row + shift_ + begin_, row + shift_ + end_, to + begin_);
    else
      for (Index t = begin_; t < end_; ++t) to[t] = row[t * stride_ + shift_];
    std::fill(to + end_, to + count_, fill);
  }

 private:
  Index shift_, stride_, count_, begin_, end_;
};

}  // namespace retort::kernels
