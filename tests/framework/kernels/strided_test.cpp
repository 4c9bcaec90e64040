#include "retort/framework/kernels/strided.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "kernel_test.hpp"

BOOST_AUTO_TEST_SUITE(kernels_strided)

using namespace kernel_test;

BOOST_AUTO_TEST_CASE_TEMPLATE(a_view_is_gathered_as_index_by_index, T, AllTypes) {
  std::mt19937 generator(3);
  for (int round = 0; round < 400; ++round) {
    const auto below = [&](int bound) {
      return static_cast<std::int64_t>(generator() % static_cast<unsigned>(bound));
    };
    const int rank = static_cast<int>(below(5)), longest = round % 20 == 0 ? 40 : 7;
    std::vector<std::int64_t> full(rank), stored(rank), order(rank), extents(rank), strides(rank);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), generator);
    std::int64_t size = 1;
    for (int d = rank - 1; d >= 0; --d) {
      full[d] = 1 + below(longest);
      stored[d] = size;
      size *= full[d];
    }
    // A permuted view, each dimension whole, sliced, reversed or repeated.
    std::int64_t offset = 0, count = 1;
    for (int d = 0; d < rank; ++d) {
      const std::int64_t extent = full[order[d]], stride = stored[order[d]];
      extents[d] = extent;
      strides[d] = stride;
      if (const auto kind = below(5); kind == 0) {
        extents[d] = (extent + 1) / 2;
        strides[d] = 2 * stride;
      } else if (kind == 1) {
        offset += (extent - 1) * stride;
        strides[d] = -stride;
      } else if (kind == 2) {
        strides[d] = 0;
      }
      if (round % 50 == 49) extents[d] = 0;
      count *= extents[d];
    }
    const auto x = random_values<T>(size, -1000, 1000, static_cast<unsigned>(round));
    const auto y = for_threads([&] {
      auto result = poisoned<T>(count);
      retort::kernels::strided_copy(x.data() + offset, result.data(), rank, extents.data(), strides.data());
      return result;
    });
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t rest = i, from = offset;
      for (int d = rank - 1; d >= 0; --d) {
        from += rest % extents[d] * strides[d];
        rest /= extents[d];
      }
      if (y[static_cast<std::size_t>(i)] != x[static_cast<std::size_t>(from)]) {
        BOOST_ERROR("round " << round << ", element " << i);
        break;
      }
    }
  }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(few_channels_are_interleaved_and_separated, T, AllTypes) {
  for (const std::int64_t channels : {1, 2, 3, 4, 5})
    for (const std::int64_t count : {1, 63, 1025, 3000}) {
      constexpr std::int64_t images = 2;
      const std::int64_t size = images * channels * count;
      const auto x = random_values<T>(size, -1000, 1000, static_cast<unsigned>(size));
      const auto transposed = [&](const std::vector<T>& from, std::int64_t rows, std::int64_t columns) {
        const std::array<std::int64_t, 3> extents{images, columns, rows}, strides{rows * columns, 1, columns};
        auto result = poisoned<T>(size);
        retort::kernels::strided_copy(from.data(), result.data(), 3, extents.data(), strides.data());
        return result;
      };
      const auto interleaved = transposed(x, channels, count);
      bool same = true;
      for (std::int64_t n = 0; n < images; ++n)
        for (std::int64_t k = 0; k < channels; ++k)
          for (std::int64_t i = 0; i < count; ++i)
            same = same && interleaved[static_cast<std::size_t>((n * count + i) * channels + k)] ==
                               x[static_cast<std::size_t>((n * channels + k) * count + i)];
      BOOST_TEST(same);
      BOOST_TEST((transposed(interleaved, count, channels) == x));
    }
}

BOOST_AUTO_TEST_SUITE_END()
