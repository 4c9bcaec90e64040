#include "retort/framework/kernels/conv.hpp"

#include "kernel_test.hpp"

BOOST_AUTO_TEST_SUITE(kernels_conv)

using namespace kernel_test;
namespace kernels = retort::kernels;

namespace {

kernels::Convolution convolution(std::int64_t images, std::int64_t groups, std::int64_t in, std::int64_t out,
                                 std::int64_t size, std::int64_t kernel, std::int64_t stride,
                                 std::int64_t padding, std::int64_t dilation, std::int64_t stride_w = 0) {
  const std::int64_t height = size, width = size + 3;
  if (stride_w == 0) stride_w = stride;
  const auto positions = [&](std::int64_t n, std::int64_t step) {
    return (n + 2 * padding - dilation * (kernel - 1) - 1) / step + 1;
  };
  return {images,
          groups,
          in,
          out,
          {.height = height,
           .width = width,
           .kernel_h = kernel,
           .kernel_w = kernel,
           .stride_h = stride,
           .stride_w = stride_w,
           .padding_h = padding,
           .padding_w = padding,
           .dilation_h = dilation,
           .dilation_w = dilation,
           .out_h = positions(height, stride),
           .out_w = positions(width, stride_w)}};
}

/// Calls f(element of x, of the weight, of y) for every product of a convolution.
template <class F>
void for_products(const kernels::Convolution& c, F f) {
  const kernels::Windows& w = c.windows;
  for (std::int64_t n = 0; n < c.images; ++n)
    for (std::int64_t o = 0; o < c.groups * c.out; ++o)
      for (std::int64_t k = 0; k < c.in; ++k)
        for (std::int64_t i = 0; i < w.kernel_h; ++i)
          for (std::int64_t j = 0; j < w.kernel_w; ++j)
            for (std::int64_t y = 0; y < w.out_h; ++y)
              for (std::int64_t z = 0; z < w.out_w; ++z) {
                const std::int64_t row = y * w.stride_h - w.padding_h + i * w.dilation_h,
                                   column = z * w.stride_w - w.padding_w + j * w.dilation_w;
                if (row < 0 || row >= w.height || column < 0 || column >= w.width) continue;
                const std::int64_t plane = (n * c.groups + o / c.out) * c.in + k;
                f(static_cast<std::size_t>((plane * w.height + row) * w.width + column),
                  static_cast<std::size_t>(((o * c.in + k) * w.kernel_h + i) * w.kernel_w + j),
                  static_cast<std::size_t>(((n * c.groups * c.out + o) * w.out_h + y) * w.out_w + z));
              }
}

}  // namespace

// Every path: lanes of channels and of positions, blocks of rows, several blocks of steps, merged images,
// bands, strides, skipped padding, one channel per group in rows and in registers, 1×1.
BOOST_AUTO_TEST_CASE_TEMPLATE(all_three_products_equal_plain_loops_for_any_number_of_threads, T, FloatTypes) {
  const std::vector<kernels::Convolution> cases{
      convolution(1, 1, 1, 1, 1, 1, 1, 0, 1), convolution(2, 1, 3, 5, 9, 3, 1, 1, 1),
      convolution(9, 1, 5, 13, 4, 3, 1, 1, 1), convolution(3, 2, 4, 3, 8, 3, 2, 1, 1),
      convolution(2, 1, 50, 29, 6, 3, 1, 1, 1), convolution(1, 1, 3, 4, 50, 3, 1, 1, 1),
      convolution(2, 7, 1, 1, 12, 3, 1, 1, 1), convolution(2, 3, 1, 1, 11, 5, 2, 2, 1),
      convolution(2, 3, 1, 2, 7, 2, 3, 0, 2), convolution(3, 1, 20, 18, 7, 1, 1, 0, 1),
      convolution(2, 1, 6, 7, 9, 1, 2, 0, 1), convolution(2, 1, 3, 8, 13, 3, 3, 2, 2),
      convolution(2, 1, 3, 70, 9, 2, 1, 3, 1), convolution(1, 1, 2, 60, 40, 3, 1, 0, 1),
      convolution(9, 1, 20, 40, 6, 3, 1, 1, 1), convolution(2, 1, 34, 24, 9, 3, 2, 1, 1),
      convolution(9, 2, 9, 17, 3, 3, 1, 1, 1), convolution(1, 1, 16, 33, 30, 2, 1, 0, 1),
      convolution(9, 2, 3, 2, 4, 3, 1, 1, 1), convolution(3, 3, 2, 8, 18, 3, 1, 1, 1),
      convolution(2, 9, 2, 4, 13, 3, 2, 1, 1), convolution(2, 1, 3, 3, 11, 3, 2, 1, 1, 1),
      convolution(3, 17, 1, 1, 7, 3, 1, 1, 1), convolution(2, 32, 1, 1, 9, 3, 2, 1, 1),
      convolution(2, 24, 1, 1, 8, 5, 1, 2, 1), convolution(11, 9, 1, 1, 5, 7, 2, 3, 1),
      convolution(1, 40, 1, 1, 6, 2, 1, 4, 1), convolution(2, 16, 1, 1, 10, 3, 2, 0, 3, 1),
      convolution(2, 18, 1, 1, 4, 1, 2, 0, 1), convolution(2, 31, 1, 1, 8, 4, 2, 5, 2),
      // Padding that is skipped: at each border, for all taps, with strides, and for more taps than a block.
      convolution(7, 1, 40, 40, 8, 5, 1, 2, 1), convolution(3, 1, 24, 40, 5, 3, 1, 4, 1),
      convolution(2, 1, 20, 70, 9, 4, 2, 3, 2), convolution(1, 1, 3, 40, 12, 17, 1, 8, 1),
      convolution(2, 2, 34, 34, 7, 7, 1, 3, 1), convolution(1, 1, 40, 40, 24, 3, 1, 1, 1)};
  Worst worst;
  unsigned seed = 0;
  for (const kernels::Convolution& c : cases) {
    const kernels::Windows& w = c.windows;
    const std::int64_t x_size = c.images * c.groups * c.in * w.plane(),
                       w_size = c.groups * c.out * c.in * w.window(),
                       y_size = c.images * c.groups * c.out * w.positions();
    const auto x = random_values<T>(x_size, -1, 1, ++seed), weight = random_values<T>(w_size, -1, 1, ++seed),
               g = random_values<T>(y_size, -1, 1, ++seed),
               bias = random_values<T>(c.groups * std::max(c.in, c.out), -1, 1, ++seed);
    const auto results = for_threads([&] {
      auto y = poisoned<T>(y_size), gx = poisoned<T>(x_size), gw = poisoned<T>(w_size);
      kernels::convolve(x.data(), weight.data(), bias.data(), y.data(), c);
      kernels::convolve_transposed(g.data(), weight.data(), bias.data(), gx.data(), c);
      kernels::convolve_weight_gradient(x.data(), g.data(), gw.data(), c);
      y.insert(y.end(), gx.begin(), gx.end());
      y.insert(y.end(), gw.begin(), gw.end());
      return y;
    });
    std::vector<double> want(static_cast<std::size_t>(y_size + x_size + w_size)), magnitude = want;
    const auto add = [&](std::size_t i, double v) { want[i] += v, magnitude[i] += std::fabs(v); };
    for (std::int64_t i = 0; i < y_size; ++i)
      add(static_cast<std::size_t>(i),
          static_cast<double>(bias[static_cast<std::size_t>(i / w.positions() % (c.groups * c.out))]));
    for (std::int64_t i = 0; i < x_size; ++i)
      add(static_cast<std::size_t>(y_size + i),
          static_cast<double>(bias[static_cast<std::size_t>(i / w.plane() % (c.groups * c.in))]));
    for_products(c, [&](std::size_t at_x, std::size_t at_w, std::size_t at_y) {
      const double a = static_cast<double>(x[at_x]), b = static_cast<double>(weight[at_w]),
                   d = static_cast<double>(g[at_y]);
      add(at_y, a * b);
      add(static_cast<std::size_t>(y_size) + at_x, b * d);
      add(static_cast<std::size_t>(y_size + x_size) + at_w, a * d);
    });
    for (std::size_t i = 0; i < want.size(); ++i)
      worst.see(static_cast<double>(results[i]), want[i], 30 * epsilon<T> * (magnitude[i] + 1e-3));
  }
  worst.check("convolution");
}

BOOST_AUTO_TEST_SUITE_END()
