#include "retort/framework/ops/sorting.hpp"

#include <algorithm>
#include <bit>
#include <concepts>
#include <type_traits>
#include <vector>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

// An integer that orders as the value, with NaN as the largest and -0 equal to 0.
std::uint64_t key_of(std::int64_t x) { return static_cast<std::uint64_t>(x) ^ std::uint64_t{1} << 63; }
template <std::floating_point T>
auto key_of(T x) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr Bits sign = Bits{1} << (8 * sizeof(T) - 1);
  const Bits bits = std::bit_cast<Bits>(x + T{0});
  return x != x               ? static_cast<Bits>(-1)
         : (bits & sign) != 0 ? static_cast<Bits>(~bits)
                              : static_cast<Bits>(bits | sign);
}

// A key and the position of its element.
struct Wide {
  std::uint64_t key;
  std::int64_t at;
  Wide(std::uint64_t k, std::int64_t i) : key(k), at(i) {}
  std::int64_t position() const { return at; }
  auto operator<=>(const Wide&) const = default;
};
// Both in one integer, for keys and positions of 32 bits.
struct Narrow {
  std::uint64_t both;
  Narrow(std::uint32_t k, std::int64_t i) : both(std::uint64_t{k} << 32 | static_cast<std::uint64_t>(i)) {}
  std::int64_t position() const { return static_cast<std::int64_t>(both & 0xffffffff); }
  auto operator<=>(const Narrow&) const = default;
};

// The positions of the first k of n elements in sorted order.
template <class Item, class T>
void sort_row(const T* x, std::int64_t n, std::int64_t k, bool descending, std::vector<Item>& items,
              std::int64_t* first) {
  using Key = decltype(key_of(x[0]));
  const Key flipped = descending ? static_cast<Key>(-1) : Key{0};
  const auto item = [=](std::int64_t i) { return Item(static_cast<Key>(key_of(x[i]) ^ flipped), i); };
  const bool few = k < 64 && k < n;
  items.clear();
  for (std::int64_t i = 0; i < (few ? k : n); ++i) items.push_back(item(i));
  const auto begin = items.begin(), end = begin + k;
  if (few) {  // a heap of the first k so far, with the last of them on top
    std::make_heap(begin, end);
    for (std::int64_t i = k; i < n; ++i)
      if (const Item next = item(i); next < items.front()) {
        std::pop_heap(begin, end);
        items.back() = next;
        std::push_heap(begin, end);
      }
    std::sort_heap(begin, end);
  } else {
    if (k < n) std::nth_element(begin, end, items.end());
    std::sort(begin, end);
  }
  std::transform(begin, end, first, [](const Item& found) { return found.position(); });
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
    const auto rows = [&]<class Item>(std::type_identity<Item>) {
      parallel_for(x.size() / n, std::max<std::int64_t>(1, 4096 / n),
                   [&](std::int64_t begin, std::int64_t end) {
                     std::vector<Item> items;
                     items.reserve(static_cast<std::size_t>(n));
                     for (std::int64_t row = begin; row < end; ++row)
                       sort_row(from + row * n, n, k, descending, items, to + row * k);
                   });
    };
    if constexpr (sizeof(T) == 4)
      if (n < std::int64_t{1} << 32) return rows(std::type_identity<Narrow>());
    rows(std::type_identity<Wide>());
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
