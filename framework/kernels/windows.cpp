#include "retort/framework/kernels/windows.hpp"

#include <algorithm>

#include "retort/framework/base/threads.hpp"

namespace retort::kernels {
namespace {

// One tap of the window as it moves along a row: columns [begin, end) of the output read inside the plane, the first
// of them at `from`.
struct Span {
  std::int64_t begin, end, from;
};

Span inside(std::int64_t tap, std::int64_t out, std::int64_t extent, std::int64_t stride,
            std::int64_t padding, std::int64_t dilation) {
  const std::int64_t offset = tap * dilation - padding;  // position of output 0
  const std::int64_t begin = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const std::int64_t end = offset >= extent ? 0 : (extent - 1 - offset) / stride + 1;
  const std::int64_t last = std::clamp<std::int64_t>(end, 0, out);
  const std::int64_t first = std::min(begin, last);
  return {first, last, offset + first * stride};
}

// Calls row(columns of one tap and output row, source row or null, span) over a plane.
template <class Row>
void for_each_row(const Windows& w, Row row) {
  std::int64_t at = 0;
  for (std::int64_t i = 0; i < w.kernel_h; ++i)
    for (std::int64_t j = 0; j < w.kernel_w; ++j) {
      const Span span = inside(j, w.out_w, w.width, w.stride_w, w.padding_w, w.dilation_w);
      for (std::int64_t y = 0; y < w.out_h; ++y, at += w.out_w) {
        const std::int64_t source = y * w.stride_h - w.padding_h + i * w.dilation_h;
        row(at, source >= 0 && source < w.height ? source * w.width : -1, span);
      }
    }
}

// Planes that one thread takes at a time.
std::int64_t planes_at_once(const Windows& w) {
  return std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, w.window() * w.positions()));
}

}  // namespace

template <class T>
void unfold(const T* x, T* columns, std::int64_t planes, const Windows& w) {
  parallel_for(planes, planes_at_once(w), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      const T* plane = x + p * w.plane();
      T* out = columns + p * w.window() * w.positions();
      for_each_row(w, [&](std::int64_t at, std::int64_t source, const Span& span) {
        if (source < 0) {
          std::fill_n(out + at, w.out_w, T{0});
          return;
        }
        std::fill_n(out + at, span.begin, T{0});
        for (std::int64_t k = span.begin, from = source + span.from; k < span.end; ++k, from += w.stride_w)
          out[at + k] = plane[from];
        std::fill_n(out + at + span.end, w.out_w - span.end, T{0});
      });
    }
  });
}

template <class T>
void fold(const T* columns, T* x, std::int64_t planes, const Windows& w) {
  parallel_for(planes, planes_at_once(w), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      T* plane = x + p * w.plane();
      const T* in = columns + p * w.window() * w.positions();
      std::fill_n(plane, w.plane(), T{0});
      for_each_row(w, [&](std::int64_t at, std::int64_t source, const Span& span) {
        if (source < 0) return;
        for (std::int64_t k = span.begin, to = source + span.from; k < span.end; ++k, to += w.stride_w)
          plane[to] += in[at + k];
      });
    }
  });
}

template <class T>
void window_argmax(const T* x, std::int64_t* index, std::int64_t planes, const Windows& w) {
  parallel_for(planes, planes_at_once(w), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      const T* plane = x + p * w.plane();
      std::int64_t* out = index + p * w.positions();
      for (std::int64_t y = 0; y < w.out_h; ++y)
        for (std::int64_t z = 0; z < w.out_w; ++z, ++out) {
          std::int64_t best = -1;
          for (std::int64_t i = 0; i < w.kernel_h; ++i) {
            const std::int64_t row = y * w.stride_h - w.padding_h + i * w.dilation_h;
            if (row < 0 || row >= w.height) continue;
            for (std::int64_t j = 0; j < w.kernel_w; ++j) {
              const std::int64_t column = z * w.stride_w - w.padding_w + j * w.dilation_w;
              if (column < 0 || column >= w.width) continue;
              const std::int64_t here = row * w.width + column;
              // !(a <= b) is true for a NaN at `here`; one that was found before stays.
              if (best < 0 || (plane[best] == plane[best] && !(plane[here] <= plane[best]))) best = here;
            }
          }
          *out = best;
        }
    }
  });
}

template void unfold(const float*, float*, std::int64_t, const Windows&);
template void unfold(const double*, double*, std::int64_t, const Windows&);
template void fold(const float*, float*, std::int64_t, const Windows&);
template void fold(const double*, double*, std::int64_t, const Windows&);
template void window_argmax(const float*, std::int64_t*, std::int64_t, const Windows&);
template void window_argmax(const double*, std::int64_t*, std::int64_t, const Windows&);

}  // namespace retort::kernels
