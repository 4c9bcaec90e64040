#include <limits>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/pool.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/conv.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/windows.hpp"

namespace retort {
namespace {

using kernels::Spans;
using kernels::Windows;

void check_images(const char* operation, const Tensor& x) {
  detail::require_floating(operation, x);
  if (x.dim() != 3 && x.dim() != 4)
    throw ShapeError(
        message("{}: input has shape {}; it must be (N, C, H, W) or (C, H, W)", operation, x.shape()));
}

template <class Options>
Windows plan_pooling(const char* operation, const Tensor& x, const Options& options) {
  check_images(operation, x);
  const Size2d& kernel = options.kernel_size;
  return detail::plan_windows(operation, x.shape(), {kernel.height, kernel.width},
                              detail::checked_pooling(operation, options));
}

template <class Options>
Windows plan_line(const char* operation, const Tensor& x, const Options& options) {
  detail::require_floating(operation, x);
  if (x.dim() != 2 && x.dim() != 3)
    throw ShapeError(message("{}: input has shape {}; it must be (N, C, L) or (C, L)", operation, x.shape()));
  return detail::plan_windows(operation, x.shape(), {options.kernel_size},
                              detail::checked_pooling(operation, options));
}

Shape with_plane(Shape shape, Index height, Index width) {
  shape[shape.size() - 2] = height;
  shape[shape.size() - 1] = width;
  return shape;
}

// The reference: the maxima as selected elements, from which higher derivatives follow.
Tensor max_pool_reference(const Tensor& x, const Windows& windows) {
  const Index planes = x.size() / windows.plane();
  const Tensor picks = empty({planes, windows.positions()}, DType::int64);
  compute_into(
      x.dtype(),
      [&]<class T>(const T* from) {
        kernels::max_pool_index(from, picks.mutable_data<std::int64_t>().data(), planes, windows);
      },
      x);
  // A window that contains only padding has no element.
  const Tensor outside = less(picks, 0);
  const Tensor images = reshape(x, {planes, windows.plane()});
  const Tensor y = where(outside, -std::numeric_limits<double>::infinity(),
                         gather(images, 1, where(outside, zeros({1}, DType::int64), picks)));
  return reshape(y, with_plane(x.shape(), windows.out_h, windows.out_w));
}

Tensor unpooled(const Tensor& g, const Spans& h, const Spans& w);

Tensor averaged(const char* name, const Tensor& x, const Spans& h, const Spans& w) {
  const Index planes = x.size() / std::max<Index>(1, h.extent * w.extent);
  const auto kernel = [&]<class T>(T* y, const T* from) { kernels::avg_pool(from, y, planes, h, w); };
  return record({.name = name,
                 .inputs = {x},
                 .value = compute(with_plane(x.shape(), h.size(), w.size()), x.dtype(), kernel, x),
                 .vjp = [h, w](const Tensor& g, Needs) { return unpooled(g, h, w); }});
}

Tensor unpooled(const Tensor& g, const Spans& h, const Spans& w) {
  const Index planes = g.size() / std::max<Index>(1, h.size() * w.size());
  const auto kernel = [&]<class T>(T* x, const T* from) {
    kernels::avg_pool_gradient(from, x, planes, h, w);
  };
  return record({.name = "avg_pool2d backward",
                 .inputs = {g},
                 .value = compute(with_plane(g.shape(), h.extent, w.extent), g.dtype(), kernel, g),
                 .vjp = [h, w](const Tensor& gg, Needs) { return averaged("avg_pool2d", gg, h, w); }});
}

Tensor max_pooled(const char* name, const Tensor& x, const Windows& windows) {
  const Index planes = x.size() / windows.plane();
  const auto kernel = [&]<class T>(T* y, const T* from) { kernels::max_pool(from, y, planes, windows); };
  return record({.name = name,
                 .inputs = {x},
                 .value = compute(with_plane(x.shape(), windows.out_h, windows.out_w), x.dtype(), kernel, x),
                 .vjp = vjp_by_reference(
                     [windows](const Tensors& in) { return max_pool_reference(in[0], windows); }, {x}),
                 .fast_vjp = [x, windows, planes](const Tensor& g, Needs) {
                   return compute(
                       x.shape(), x.dtype(),
                       [&]<class T>(T* gx, const T* from, const T* upstream) {
                         kernels::max_pool_gradient(from, upstream, gx, planes, windows);
                       },
                       x, g);
                 }});
}

Spans window_spans(Index extent, Index positions, Index kernel, Index stride, Index padding,
                   bool count_include_pad) {
  Spans spans{.extent = extent, .begin = {}, .end = {}, .divisor = {}};
  const Index past = extent + padding;  // the end of the padded image
  for (Index i = 0; i < positions; ++i) {
    const Index first = i * stride - padding, reach = first > past - kernel ? past - first : kernel;
    spans.begin.push_back(std::max<Index>(first, 0));
    spans.end.push_back(std::min(first + reach, extent));
    spans.divisor.push_back(count_include_pad ? reach : spans.end.back() - spans.begin.back());
  }
  return spans;
}

Tensor averaged(const char* name, const Tensor& x, const Windows& w, bool count_include_pad) {
  return averaged(name, x,
                  window_spans(w.height, w.out_h, w.kernel_h, w.stride_h, w.padding_h, count_include_pad),
                  window_spans(w.width, w.out_w, w.kernel_w, w.stride_w, w.padding_w, count_include_pad));
}

Spans adaptive_spans(Index extent, Index positions) {
  Spans spans{.extent = extent, .begin = {}, .end = {}, .divisor = {}};
  for (Index i = 0; i < positions; ++i) {
    // floor(i · extent / positions) and the ceiling of the next, without products that could overflow.
    const Index each = extent / positions, rest = extent % positions;
    spans.begin.push_back(i * each + i * rest / positions);
    spans.end.push_back((i + 1) * each + ((i + 1) * rest + positions - 1) / positions);
    spans.divisor.push_back(spans.end.back() - spans.begin.back());
  }
  return spans;
}

void check_parts(const char* operation, const Tensor& x, Size2d size) {
  check_images(operation, x);
  detail::check_adaptive(operation, size);
  if (x.size(-2) == 0 || x.size(-1) == 0)
    throw ShapeError(message("{}: input has shape {}; its images are empty", operation, x.shape()));
  detail::require_shape(operation, with_plane(x.shape(), size.height, size.width));
}

// The position in its plane of the first maximum, or the first NaN, of part (i, j).
template <class T>
Index first_maximum(const T* plane, const Spans& h, Index i, const Spans& w, Index j) {
  Index best = h.begin[i] * w.extent + w.begin[j];
  for (Index r = h.begin[i]; r < h.end[i]; ++r)
    for (Index at = r * w.extent + w.begin[j]; at < r * w.extent + w.end[j]; ++at)
      if (!(plane[at] <= plane[best]) && plane[best] == plane[best]) best = at;
  return best;
}

}  // namespace

Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options) {
  return max_pooled("max_pool2d", x, plan_pooling("max_pool2d", x, options));
}

Tensor max_pool1d(const Tensor& x, const MaxPool1dOptions& options) {
  const Windows windows = plan_line("max_pool1d", x, options);
  return squeeze(max_pooled("max_pool1d", unsqueeze(x, -2), windows), -2);
}

Tensor avg_pool1d(const Tensor& x, const AvgPool1dOptions& options) {
  const Windows windows = plan_line("avg_pool1d", x, options);
  return squeeze(averaged("avg_pool1d", unsqueeze(x, -2), windows, options.count_include_pad), -2);
}

Tensor avg_pool2d(const Tensor& x, const AvgPool2dOptions& options) {
  const Windows w = plan_pooling("avg_pool2d", x, options);
  return averaged("avg_pool2d", x, w, options.count_include_pad);
}

Tensor adaptive_avg_pool2d(const Tensor& x, Size2d size) {
  check_parts("adaptive_avg_pool2d", x, size);
  return averaged("adaptive_avg_pool2d", x, adaptive_spans(x.size(-2), size.height),
                  adaptive_spans(x.size(-1), size.width));
}

Tensor adaptive_max_pool2d(const Tensor& x, Size2d size) {
  check_parts("adaptive_max_pool2d", x, size);
  const Spans h = adaptive_spans(x.size(-2), size.height), w = adaptive_spans(x.size(-1), size.width);
  const Index plane = h.extent * w.extent, planes = x.size() / plane;
  const Tensor picks = empty({planes, h.size() * w.size()}, DType::int64);
  Index* pick = picks.mutable_data<Index>().data();
  compute_into(
      x.dtype(),
      [&]<class T>(const T* from) {
        for (Index p = 0; p < planes; ++p, from += plane)
          for (Index i = 0; i < h.size(); ++i)
            for (Index j = 0; j < w.size(); ++j) *pick++ = first_maximum(from, h, i, w, j);
      },
      x);
  const Tensor y = gather(reshape(x, {planes, plane}), 1, picks);
  return reshape(y, with_plane(x.shape(), size.height, size.width));
}

}  // namespace retort
