#include "retort/framework/ops/shape_ops.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/strided.hpp"
#include "retort/framework/ops/checks.hpp"

namespace retort {
namespace {

using Strides = std::array<std::int64_t, Shape::max_dims>;

Strides strides_of(const Shape& shape) {
  Strides strides{};
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

// Copies elements as bits: one instantiation per element size.
Tensor strided(const Tensor& x, const Shape& shape, const Strides& strides, std::int64_t offset) {
  Array out(shape, x.dtype());
  visit_dtype(x.dtype(), [&]<class T>(T) {
    kernels::strided_copy(x.data<T>().data() + offset, out.fill<T>().data(), static_cast<int>(shape.size()),
                          shape.data(), strides.data());
  });
  return detail::Access::make(std::move(out));
}

// The extent of the dimension and the resolved start and step of a slice.
struct Range {
  std::size_t dim;
  std::int64_t start, length, step;
};

// The gradient of a slice: adds g in place to `out`, or to zeros if it is undefined, at the slice's
// positions.
Tensor unslice(Tensor out, const Tensor& g, const Shape& shape, const Range& range);

Tensor take(const Tensor& x, const Range& range) {
  const Strides from = strides_of(x.shape());
  Strides strides = from;
  strides[range.dim] *= range.step;
  return record({.name = "slice",
                 .inputs = {x},
                 .value = strided(x, detail::with_extent(x.shape(), range.dim, range.length), strides,
                                  range.start * from[range.dim]),
                 .vjp = [shape = x.shape(), range](const Tensor& g, Needs) {
                   return unslice(detail::gathered_gradient(0, shape, g.dtype()), g, shape, range);
                 }});
}

Tensor unslice(Tensor out, const Tensor& g, const Shape& shape, const Range& range) {
  const bool first = !out.defined();
  if (first) out = empty(shape, g.dtype());
  const detail::Split s = detail::split_at(shape, range.dim);
  const std::int64_t row = s.n * s.inner;
  // Elements [begin, end) of row o: g inside the slice, otherwise 0. With step 1 the slice is contiguous.
  const auto place = [&]<class T>(T* to, const T* from, std::int64_t o, std::int64_t begin,
                                  std::int64_t end) {
    to += o * row;
    if (s.inner == 1 && range.step > 1) {  // single elements of a whole row
      if (first) std::fill_n(to, row, T{0});
      T* const start = to + range.start;
      from += o * range.length;
      for (std::int64_t k = 0; k < range.length; ++k)
        start[k * range.step] = first ? from[k] : start[k * range.step] + from[k];
      return;
    }
    const std::int64_t run = range.step == 1 ? range.length * s.inner : s.inner,
                       runs = range.length * s.inner;
    std::int64_t at = begin;
    for (std::int64_t k = 0; run > 0 && k * run < runs; ++k) {
      const std::int64_t start = (range.start + k * range.step) * s.inner;
      const std::int64_t low = std::clamp(start, at, end), high = std::clamp(start + run, low, end);
      const T* const source = from + o * runs + k * run + (low - start);
      if (first) {
        std::fill(to + at, to + low, T{0});
        std::copy_n(source, high - low, to + low);
      } else {
        std::transform(source, source + (high - low), to + low, to + low, std::plus<>());
      }
      at = high;
    }
    if (first) std::fill(to + at, to + end, T{0});
  };
  constexpr std::int64_t grain = 32768;  // elements
  const auto place_all = [&]<class T>(T* to, const T* from) {
    if (s.outer == 1 && range.step == 1) {
      parallel_for(row, grain, [&](std::int64_t begin, std::int64_t end) { place(to, from, 0, begin, end); });
    } else {
      parallel_for(s.outer, std::max<std::int64_t>(1, grain / std::max<std::int64_t>(1, row)),
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t o = begin; o < end; ++o) place(to, from, o, 0, row);
                   });
    }
  };
  compute_into(g.dtype(), place_all, writable(out), g);
  return record({.name = "slice backward",
                 .inputs = {g},
                 .value = std::move(out),
                 .vjp = [range](const Tensor& gg, Needs) { return take(gg, range); }});
}

Shape resolved_shape(const Tensor& x, const Shape& shape) {
  Shape resolved = shape;
  std::size_t open = shape.size();
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1 && open == shape.size()) {
      open = i;
      resolved[i] = 1;
    } else if (shape[i] < 0) {
      throw ShapeError(message("reshape: target shape {} has {}", shape,
                               shape[i] == -1 ? "more than one -1" : "a negative extent"));
    }
  }
  detail::require_shape("reshape", resolved);
  const std::int64_t known = element_count(resolved);
  const bool infers = open < shape.size() && known > 0 && x.size() % known == 0;
  if (infers) resolved[open] = x.size() / known;
  if (!infers && (open < shape.size() || known != x.size()))
    throw ShapeError(message("reshape: input has shape {} with {}, which cannot fill shape {}", x.shape(),
                             detail::counted(x.size(), "element"), shape));
  return resolved;
}

// Consecutive parts of the given extents along a dimension, reshaped to `shape` if given. All parts are
// results of one operation, so that a loop over them has linear cost, to any order.
Tensors parts_of(const char* operation, const Tensor& x, std::size_t dim,
                 const std::vector<std::int64_t>& sizes, const Shape* shape = nullptr) {
  const Strides strides = strides_of(x.shape());
  Tensors parts;
  std::int64_t start = 0;
  for (const std::int64_t size : sizes) {
    const Tensor part =
        strided(x, detail::with_extent(x.shape(), dim, size), strides, size == 0 ? 0 : start * strides[dim]);
    parts.push_back(shape ? detail::Access::make(detail::Access::array(part).reshaped(*shape)) : part);
    start += size;
  }
  return record_many({.name = operation,
                      .inputs = {x},
                      .values = std::move(parts),
                      .vjp = [from = x.shape(), dim, sizes, dtype = x.dtype()](const Tensors& gs, Needs) {
                        Tensors gradients;
                        for (std::size_t i = 0; i < gs.size(); ++i) {
                          const Shape whole = detail::with_extent(from, dim, sizes[i]);
                          gradients.push_back(gs[i].defined() ? reshape(gs[i], whole) : zeros(whole, dtype));
                        }
                        return concat(gradients, static_cast<std::int64_t>(dim));
                      }});
}

}  // namespace

Tensor reshape(const Tensor& x, const Shape& shape) {
  detail::require_defined("reshape", x);
  return record({.name = "reshape",
                 .inputs = {x},
                 .value = detail::Access::make(detail::Access::array(x).reshaped(resolved_shape(x, shape))),
                 .vjp = [from = x.shape()](const Tensor& g, Needs) { return reshape(g, from); }});
}

Tensor flatten(const Tensor& x, std::int64_t start_dim, std::int64_t end_dim) {
  detail::require_defined("flatten", x);
  if (x.dim() == 0) return reshape(x, {1});
  const std::size_t start = detail::checked_dim("flatten", start_dim, x.shape());
  const std::size_t end = detail::checked_dim("flatten", end_dim, x.shape());
  if (start > end) throw ValueError(message("flatten: start_dim {} is after end_dim {}", start_dim, end_dim));
  Shape shape(x.shape().begin(), x.shape().begin() + start);
  shape.push_back(1);
  for (std::size_t i = start; i <= end; ++i) shape.back() *= x.shape()[i];
  for (std::size_t i = end + 1; i < x.shape().size(); ++i) shape.push_back(x.shape()[i]);
  return reshape(x, shape);
}

Tensor squeeze(const Tensor& x, std::int64_t dim) {
  detail::require_defined("squeeze", x);
  const std::size_t d = detail::checked_dim("squeeze", dim, x.shape());
  Shape shape = x.shape();
  if (!shape.empty() && shape[d] == 1) shape.erase(shape.begin() + d);
  return reshape(x, shape);
}

Tensor unsqueeze(const Tensor& x, std::int64_t dim) {
  detail::require_defined("unsqueeze", x);
  const std::int64_t rank = x.dim() + 1;
  if (dim < -rank || dim >= rank)
    throw IndexError(message("unsqueeze: dim {} is out of range for shape {}", dim, x.shape()));
  detail::require_dims("unsqueeze", x.shape().size() + 1);
  Shape shape = x.shape();
  shape.insert(shape.begin() + (dim < 0 ? dim + rank : dim), 1);
  return reshape(x, shape);
}

Tensor permute(const Tensor& x, const Dims& dims) {
  detail::require_defined("permute", x);
  const Shape& order = dims.list();
  if (order.size() != x.shape().size())
    throw ValueError(message("permute: dims {} list {} but the input has shape {}", order,
                             detail::counted(order.size(), "dimension"), x.shape()));
  const Strides from = strides_of(x.shape());
  Strides strides{};
  Shape shape;
  std::vector<std::int64_t> inverse(order.size(), -1);
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::size_t d = detail::checked_dim("permute", order[i], x.shape());
    if (inverse[d] != -1) throw ValueError(message("permute: dims {} contain dimension {} twice", order, d));
    inverse[d] = static_cast<std::int64_t>(i);
    shape.push_back(x.shape()[d]);
    strides[i] = from[d];
  }
  return record({.name = "permute",
                 .inputs = {x},
                 .value = strided(x, shape, strides, 0),
                 .vjp = [inverse = Dims(inverse)](const Tensor& g, Needs) { return permute(g, inverse); }});
}

Tensor transpose(const Tensor& x, std::int64_t dim0, std::int64_t dim1) {
  detail::require_defined("transpose", x);
  const std::size_t a = detail::checked_dim("transpose", dim0, x.shape());
  const std::size_t b = detail::checked_dim("transpose", dim1, x.shape());
  std::vector<std::int64_t> order(x.shape().size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
  if (!order.empty()) std::swap(order[a], order[b]);
  return order.empty() ? x : permute(x, order);
}

Tensor slice(const Tensor& x, std::int64_t dim, std::optional<std::int64_t> start,
             std::optional<std::int64_t> end, std::int64_t step) {
  detail::require_defined("slice", x);
  if (x.dim() == 0) throw IndexError("slice: a 0-dim tensor has no dimension to slice");
  const std::size_t d = detail::checked_dim("slice", dim, x.shape());
  if (step < 1) throw ValueError(message("slice: step is {}; it must be at least 1", step));
  const std::int64_t n = x.shape()[d];
  const auto position = [n](std::int64_t p) { return std::clamp<std::int64_t>(p < 0 ? p + n : p, 0, n); };
  const std::int64_t from = position(start.value_or(0));
  const std::int64_t to = position(end.value_or(n));
  // A step beyond the extent must not overflow the count.
  const std::int64_t length = to <= from ? 0 : (to - from - 1) / step + 1;
  // A single element uses no step, however large the option is.
  return take(x, {d, from, length, length > 1 ? step : 1});
}

Tensor select(const Tensor& x, std::int64_t dim, std::int64_t index) {
  detail::require_defined("select", x);
  if (x.dim() == 0) throw IndexError("select: a 0-dim tensor has no dimension to select from");
  const std::size_t d = detail::checked_dim("select", dim, x.shape());
  const std::int64_t n = x.shape()[d];
  if (index < -n || index >= n)
    throw IndexError(
        message("select: index {} is out of range for dim {} of shape {}", index, dim, x.shape()));
  return squeeze(take(x, {d, index < 0 ? index + n : index, 1, 1}), static_cast<std::int64_t>(d));
}

Tensors unbind(const Tensor& x, std::int64_t dim) {
  detail::require_defined("unbind", x);
  if (x.dim() == 0) throw IndexError("unbind: a 0-dim tensor has no dimension to unbind");
  const std::size_t d = detail::checked_dim("unbind", dim, x.shape());
  Shape shape = x.shape();
  shape.erase(shape.begin() + d);
  return parts_of("unbind", x, d, std::vector<std::int64_t>(static_cast<std::size_t>(x.shape()[d]), 1),
                  &shape);
}

Tensors split(const Tensor& x, std::int64_t size, std::int64_t dim) {
  detail::require_defined("split", x);
  if (x.dim() == 0) throw IndexError("split: a 0-dim tensor has no dimension to split");
  const std::size_t d = detail::checked_dim("split", dim, x.shape());
  const std::int64_t n = x.shape()[d];
  if (size < 1 && !(size == 0 && n == 0))
    throw ValueError(message("split: size is {}; it must be at least 1", size));
  std::vector<std::int64_t> sizes;
  for (std::int64_t left = n; sizes.empty() || left > 0; left -= sizes.back())
    sizes.push_back(std::min(size, left));
  return parts_of("split", x, d, sizes);
}

Tensors split(const Tensor& x, const std::vector<std::int64_t>& sizes, std::int64_t dim) {
  detail::require_defined("split", x);
  if (x.dim() == 0) throw IndexError("split: a 0-dim tensor has no dimension to split");
  const std::size_t d = detail::checked_dim("split", dim, x.shape());
  std::int64_t left = x.shape()[d];
  bool fits = true;
  for (const std::int64_t size : sizes) {
    fits = fits && size >= 0 && size <= left;
    if (fits) left -= size;
  }
  if (!fits || left != 0) {
    std::string list;
    for (const std::int64_t size : sizes) list += (list.empty() ? "" : ", ") + std::to_string(size);
    throw ShapeError(
        message("split: the sizes are [{}]; they must be at least 0 and add up to the extent of dim {} of "
                "shape {}",
                list, dim, x.shape()));
  }
  return parts_of("split", x, d, sizes);
}

Tensors chunk(const Tensor& x, std::int64_t n, std::int64_t dim) {
  detail::require_defined("chunk", x);
  if (x.dim() == 0) throw IndexError("chunk: a 0-dim tensor has no dimension to split");
  const std::int64_t extent = x.shape()[detail::checked_dim("chunk", dim, x.shape())];
  if (n < 1) throw ValueError(message("chunk: n is {}; it must be at least 1", n));
  // An extent of 0 gives n empty parts, as in PyTorch.
  if (constexpr std::int64_t most = 1 << 20; extent == 0 && n > most)
    throw ValueError(message("chunk: n is {}; an empty dimension gives at most {} parts", n, most));
  if (extent == 0) return split(x, std::vector<std::int64_t>(static_cast<std::size_t>(n), 0), dim);
  return split(x, (extent - 1) / n + 1, dim);
}

Tensor concat(const Tensors& xs, std::int64_t dim) {
  for (const Tensor& x : xs) detail::require_defined("concat", x);
  if (xs.empty()) throw ValueError("concat: give at least one tensor");
  const Shape& first = xs[0].shape();
  if (first.empty())
    throw ShapeError("concat: 0-dim tensors cannot be joined; reshape them to {1}, or use stack");
  const std::size_t d = detail::checked_dim("concat", dim, first);
  Shape shape = first;
  shape[d] = 0;
  DType dtype = xs[0].dtype();
  for (std::size_t i = 0; i < xs.size(); ++i) {
    const Shape& other = xs[i].shape();
    if (other.size() != first.size() || detail::with_extent(other, d, first[d]) != first)
      throw ShapeError(
          message("concat: tensor {} has shape {} but tensor 0 has {}; they may differ in dim {} only", i,
                  other, first, dim));
    shape[d] += other[d];
    dtype = promote(dtype, xs[i].dtype());
  }
  Array out(shape, dtype, "concat");
  const detail::Split s = detail::split_at(shape, d);
  const std::size_t item = static_cast<std::size_t>(s.inner) * size_of(dtype);
  auto* to = static_cast<std::byte*>(out.write());
  std::vector<std::int64_t> sizes;
  std::int64_t start = 0;
  for (const Tensor& x : xs) {
    const Tensor part = x.detach().to(dtype);
    const std::int64_t length = part.shape()[d];
    const std::size_t row = static_cast<std::size_t>(length) * item;
    const auto* from = static_cast<const std::byte*>(detail::Access::array(part).read());
    if (row > 0)
      parallel_for(s.outer, std::max<std::int64_t>(1, 131072 / static_cast<std::int64_t>(row)),
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t i = begin; i < end; ++i)
                       std::memcpy(to + static_cast<std::size_t>(i * s.n + start) * item,
                                   from + static_cast<std::size_t>(i) * row, row);
                   });
    sizes.push_back(length);
    start += length;
  }
  return record({.name = "concat",
                 .inputs = xs,
                 .value = detail::Access::make(std::move(out)),
                 .vjp = [sizes = std::move(sizes), d](const Tensor& g, Needs needs) {
                   bool all = true;
                   for (std::size_t i = 0; i < sizes.size(); ++i) all = all && needs[i];
                   if (all) return parts_of("concat backward", g, d, sizes);
                   Tensors gradients(sizes.size());
                   std::int64_t at = 0;
                   for (std::size_t i = 0; i < sizes.size(); at += sizes[i++])
                     if (needs[i]) gradients[i] = take(g, {d, at, sizes[i], 1});
                   return gradients;
                 }});
}

Tensor stack(const Tensors& xs, std::int64_t dim) {
  for (const Tensor& x : xs) detail::require_defined("stack", x);
  if (xs.empty()) throw ValueError("stack: give at least one tensor");
  detail::require_dims("stack", xs[0].shape().size() + 1);
  Tensors rows;
  for (std::size_t i = 0; i < xs.size(); ++i) {
    if (xs[i].shape() != xs[0].shape())
      throw ShapeError(
          message("stack: tensor {} has shape {} but tensor 0 has {}", i, xs[i].shape(), xs[0].shape()));
    rows.push_back(unsqueeze(xs[i], dim));
  }
  return concat(rows, dim < 0 ? dim + xs[0].dim() + 1 : dim);
}

}  // namespace retort
