#include "retort/framework/kernels/pool.hpp"

#include <algorithm>
#include <array>

#include "kernel_test.hpp"

BOOST_AUTO_TEST_SUITE(kernels_pool)

using namespace kernel_test;
namespace kernels = retort::kernels;

// Numbers of planes on both sides of each register, and planes on both sides of the size of which a register
// of planes no longer fits into the cache. Many values are equal, so that the first maximum matters.
BOOST_AUTO_TEST_CASE_TEMPLATE(maxima_equal_their_plain_loop, T, FloatTypes) {
  const auto places = [](std::int64_t extent, std::int64_t kernel, std::int64_t stride,
                         std::int64_t padding) { return (extent + 2 * padding - kernel) / stride + 1; };
  unsigned seed = 0;
  for (const std::int64_t side : {4, 7, 56, 72})
    for (const auto& [kernel, stride, padding] :
         {std::array<std::int64_t, 3>{2, 2, 0}, {2, 1, 0}, {3, 2, 1}, {3, 1, 1}, {3, 3, 0}})
      for (const std::int64_t planes : {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33}) {
        const std::int64_t out = places(side, kernel, stride, padding);
        const kernels::Windows windows{.height = side,
                                       .width = side,
                                       .kernel_h = kernel,
                                       .kernel_w = kernel,
                                       .stride_h = stride,
                                       .stride_w = stride,
                                       .padding_h = padding,
                                       .padding_w = padding,
                                       .out_h = out,
                                       .out_w = out};
        auto x = random_values<T>(planes * side * side, -5, 5, ++seed);
        for (T& v : x) v = std::round(v);
        for (std::size_t i = 5; i < x.size() && seed % 2 == 0; i += 97) x[i] = not_a_number<T>;
        auto g = random_values<T>(planes * out * out, -5, 5, seed);
        for (T& v : g) v = std::round(v);  // so that their sums are exact
        std::vector<T> y, gradient(x.size(), T{0});
        for (std::int64_t p = 0; p < planes; ++p)
          for (std::int64_t i = 0; i < out; ++i)
            for (std::int64_t j = 0; j < out; ++j) {
              std::int64_t best = -1;
              for (std::int64_t h = i * stride - padding; h < i * stride - padding + kernel; ++h)
                for (std::int64_t w = j * stride - padding; w < j * stride - padding + kernel; ++w) {
                  if (h < 0 || h >= side || w < 0 || w >= side) continue;
                  const std::int64_t at = (p * side + h) * side + w;
                  const auto value = [&](std::int64_t k) { return x[static_cast<std::size_t>(k)]; };
                  if (best < 0 || value(at) > value(best) ||
                      (value(at) != value(at) && value(best) == value(best)))
                    best = at;
                }
              gradient[static_cast<std::size_t>(best)] += g[y.size()];
              y.push_back(x[static_cast<std::size_t>(best)]);
            }
        const auto same = [](const std::vector<T>& a, const std::vector<T>& b) {
          return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                            [](T u, T v) { return u == v || (u != u && v != v); });
        };
        BOOST_TEST_INFO_SCOPE(planes << " planes of side " << side << ", kernel " << kernel << ", stride "
                                     << stride);
        BOOST_TEST(same(y, for_threads([&] {
                          auto found = poisoned<T>(planes * out * out);
                          kernels::max_pool(x.data(), found.data(), planes, windows);
                          return found;
                        })));
        BOOST_TEST(same(gradient, for_threads([&] {
                          auto found = poisoned<T>(planes * side * side);
                          kernels::max_pool_gradient(x.data(), g.data(), found.data(), planes, windows);
                          return found;
                        })));
      }
}

BOOST_AUTO_TEST_SUITE_END()
