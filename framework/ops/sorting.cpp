#include "retort/framework/ops/sorting.hpp"

#include <algorithm>
#include <numeric>
#include <ranges>
#include <span>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

// True if a precedes b in ascending order, with NaN as the largest.
template <class T>
bool before(T a, T b) {
  return a < b || (b != b && a == a);
}

// The positions of the first k elements along dim in sorted order: [shape of x with extent k]. xtensor's sort
// and argsort are not stable and do not order NaN.
Tensor first_positions(const Tensor& x, std::size_t dim, std::int64_t k, bool descending) {
  const auto d = static_cast<std::int64_t>(dim);
  if (x.dim() > 1 && d != x.dim() - 1)
    return transpose(first_positions(transpose(x.detach(), d, -1), x.shape().size() - 1, k, descending), d,
                     -1);
  const std::int64_t n = x.dim() == 0 ? 1 : x.size(-1);
  const Tensor out = empty(detail::with_extent(x.shape(), dim, k), DType::int64);
  if (out.size() == 0) return out;
  visit_dtype(x.dtype(), [&]<class T>(T) {
    const T* from = x.data<T>().data();
    std::int64_t* to = out.mutable_data<std::int64_t>().data();
    parallel_for(
        x.size() / n, std::max<std::int64_t>(1, 4096 / n), [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t row = begin; row < end; ++row) {
            const T* values = from + row * n;
            std::int64_t* first = to + row * k;
            const auto order = [=](std::int64_t a, std::int64_t b) {
              const bool less = before(values[a], values[b]), greater = before(values[b], values[a]);
              return less == greater ? a < b : descending ? greater : less;
            };
            if (k == n) {
              std::iota(first, first + n, std::int64_t{0});
              std::sort(first, first + n, order);
            } else {
              const std::ranges::iota_view<std::int64_t, std::int64_t> positions(0, n);
              std::ranges::partial_sort_copy(positions, std::span(first, static_cast<std::size_t>(k)), order);
            }
          }
        });
  });
  return out;
}

}  // namespace

Tensor argsort(const Tensor& x, std::int64_t dim, bool descending) {
  detail::require_defined("argsort", x);
  const std::size_t d = detail::checked_dim("argsort", dim, x.shape());
  return first_positions(x, d, x.dim() == 0 ? 1 : x.shape()[d], descending);
}

ValuesAndIndices sort(const Tensor& x, std::int64_t dim, bool descending) {
  detail::require_defined("sort", x);
  const std::size_t d = detail::checked_dim("sort", dim, x.shape());
  const Tensor positions = first_positions(x, d, x.dim() == 0 ? 1 : x.shape()[d], descending);
  return {gather(x, dim, positions), positions};
}

ValuesAndIndices topk(const Tensor& x, std::int64_t k, std::int64_t dim, bool largest) {
  detail::require_defined("topk", x);
  const std::size_t d = detail::checked_dim("topk", dim, x.shape());
  const std::int64_t n = x.dim() == 0 ? 1 : x.shape()[d];
  if (k < 0 || k > n)
    throw ValueError(message("topk: k is {}; dim {} of shape {} has {}", k, dim, x.shape(),
                             detail::counted(n, "element")));
  if (x.dim() == 0 && k == 0) throw ValueError("topk: k is 0, but a 0-dim tensor always holds one element");
  const Tensor positions = first_positions(x, d, k, largest);
  return {gather(x, dim, positions), positions};
}

}  // namespace retort
