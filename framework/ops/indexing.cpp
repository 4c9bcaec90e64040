#include "retort/framework/ops/indexing.hpp"

#include <algorithm>
#include <array>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/engine_ops.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

using detail::Split;
using detail::split_at;

void check_indices(const char* operation, const Tensor& index, std::int64_t bound) {
  const auto values = index.data<std::int64_t>();
  bool inside = true;
  for (const std::int64_t value : values)
    inside &= static_cast<std::uint64_t>(value) < static_cast<std::uint64_t>(bound);
  if (inside) return;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] < 0 || values[i] >= bound)
      throw IndexError(message("{}: index {} at position {} is out of range for a dimension of extent {}",
                               operation, values[i],
                               detail::position_text(static_cast<Index>(i), index.shape()), bound));
}

// Calls visit(position in the index, position in x) for the elements of gather, on all threads. Those of one
// element of x are visited in order by one thread.
template <class Visit>
void for_each_gathered(const Shape& x, std::size_t dim, const Tensor& index, Visit visit) {
  const Shape& shape = index.shape();
  if (index.size() == 0 || shape.empty()) {
    if (index.size() > 0) visit(Index{0}, Index{0});
    return;
  }
  const Index* const picks = index.data<std::int64_t>().data();
  const std::size_t rank = shape.size(), last = rank - 1;
  Shape strides = x;
  Index stride = 1;
  for (std::size_t d = rank; d-- > 0;) {
    strides[d] = stride;
    stride *= x[d];
  }
  const Index n = shape[last], step = strides[dim];
  Index group = 1;  // rows that may share elements of x
  for (std::size_t d = dim; d < last; ++d) group *= shape[d];
  // Within a group, threads share the columns.
  constexpr Index grain = 16384, width = 512;
  const Index strip = dim == last ? n : width, strips = (n + strip - 1) / strip;
  const Index groups = index.size() / (group * n);
  const auto visit_rows = [&](Index row, Index row_end, Index column, Index column_end) {
    Shape at(rank, 0);
    for (std::size_t d = last, rest = static_cast<std::size_t>(row); d-- > 0;) {
      at[d] = static_cast<Index>(rest) % shape[d];
      rest /= static_cast<std::size_t>(shape[d]);
    }
    for (; row < row_end; ++row) {
      Index base = 0;
      for (std::size_t d = 0; d < last; ++d) base += d == dim ? 0 : at[d] * strides[d];
      const Index* const of_row = picks + row * n;
      if (dim == last)
        for (Index j = column; j < column_end; ++j) visit(row * n + j, base + of_row[j]);
      else
        for (Index j = column; j < column_end; ++j) visit(row * n + j, base + of_row[j] * step + j);
      for (std::size_t d = last; d-- > 0 && ++at[d] == shape[d];) at[d] = 0;
    }
  };
  parallel_for(groups * strips, std::max<Index>(1, grain / (group * std::min(n, strip))),
               [&](Index begin, Index end) {
                 if (strips == 1) return visit_rows(begin * group, end * group, 0, n);
                 for (Index i = begin; i < end; ++i) {
                   const Index row = i / strips * group, column = i % strips * strip;
                   visit_rows(row, row + group, column, std::min(n, column + strip));
                 }
               });
}

Tensor gather_unchecked(const Tensor& x, std::size_t dim, const Tensor& index);

// Adds g in place to `out` at the gathered positions.
void add_gathered(const Tensor& out, const Tensor& g, std::size_t dim, const Tensor& index) {
  visit_dtype(g.dtype(), [&]<class T>(T) {
    const T* const from = g.data<T>().data();
    T* const to = out.mutable_data<T>().data();
    for_each_gathered(out.shape(), dim, index, [=](Index i, Index at) { to[at] += from[i]; });
  });
}

// The gradient of gather: adds g in place to `out`, or to zeros if it is undefined, at the gathered
// positions.
Tensor scatter(Tensor out, const Tensor& g, const Shape& shape, std::size_t dim, const Tensor& index) {
  if (!out.defined()) out = zeros(shape, g.dtype());
  add_gathered(out, g, dim, index);
  return record({.name = "gather backward",
                 .inputs = {g},
                 .value = std::move(out),
                 .vjp = [dim, index](const Tensor& gg, Needs) { return gather_unchecked(gg, dim, index); }});
}

Tensor gather_unchecked(const Tensor& x, std::size_t dim, const Tensor& index) {
  Array out(index.shape(), x.dtype(), "gather");
  visit_dtype(x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>().data();
    T* const to = out.fill<T>().data();
    for_each_gathered(x.shape(), dim, index, [=](Index i, Index at) { to[i] = from[at]; });
  });
  return record({.name = "gather",
                 .inputs = {x},
                 .value = detail::Access::make(std::move(out)),
                 .vjp = [shape = x.shape(), dim, index](const Tensor& g, Needs) {
                   return scatter(detail::gathered_gradient(0, shape, g.dtype()), g, shape, dim, index);
                 }});
}

// How many items of that many elements one thread takes.
Index items_at_a_time(Index elements) { return std::max<Index>(1, 32768 / std::max<Index>(1, elements)); }

enum class AtSkipped { read, zero };
Tensor pick_rows(const Tensor& x, std::size_t dim, const Tensor& index, std::int64_t skipped, AtSkipped);

// Adds the rows of g in place to `out`, or to zeros if it is undefined, at the selected positions except
// `skipped`.
Tensor add_rows(Tensor out, const Tensor& g, const Shape& shape, std::size_t dim, const Tensor& index,
                std::int64_t skipped) {
  if (!out.defined()) out = zeros(shape, g.dtype());
  const Split s = split_at(shape, dim);
  const Index* const picks = index.data<std::int64_t>().data();
  const Index rows = index.size();
  visit_dtype(g.dtype(), [&]<class T>(T) {
    const T* const from = g.data<T>().data();
    T* const to = out.mutable_data<T>().data();
    parallel_for(s.inner == 0 ? 0 : s.outer, items_at_a_time(rows * s.inner), [&](Index begin, Index end) {
      for (Index o = begin; o < end; ++o) {
        const T* row = from + o * rows * s.inner;
        T* const slice = to + o * s.n * s.inner;
        for (Index i = 0; i < rows; ++i, row += s.inner) {
          if (picks[i] == skipped) continue;
          T* const sum = slice + picks[i] * s.inner;
          *sum += *row;
          for (Index k = 1; k < s.inner; ++k) sum[k] += row[k];
        }
      }
    });
  });
  return record({.name = "index_select backward",
                 .inputs = {g},
                 .value = std::move(out),
                 .vjp = [dim, index, skipped](const Tensor& gg, Needs) {
                   return pick_rows(gg, dim, index, skipped, AtSkipped::zero);
                 }});
}

// Rows of x along dim. The row at position `skipped` gets no gradient.
Tensor pick_rows(const Tensor& x, std::size_t dim, const Tensor& index, std::int64_t skipped,
                 AtSkipped at_skipped) {
  const Split s = split_at(x.shape(), dim);
  const auto picks = index.data<std::int64_t>();
  const Index rows = index.size();
  Array out(detail::with_extent(x.shape(), dim, rows), x.dtype(), "index_select");
  visit_dtype(x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>().data();
    T* const to = out.fill<T>().data();
    parallel_for(s.inner == 0 ? 0 : s.outer * rows, items_at_a_time(s.inner), [&](Index begin, Index end) {
      for (Index i = begin; i < end;) {
        // The rows of one slice.
        const Index o = i / rows, stop = std::min(end, (o + 1) * rows);
        const T* const slice = from + o * s.n * s.inner;
        for (const Index* pick = &picks[i - o * rows]; i < stop; ++i, ++pick) {
          const bool zero = *pick == skipped && at_skipped == AtSkipped::zero;
          if (s.inner == 1)
            to[i] = zero ? T{0} : slice[*pick];
          else if (zero)
            std::fill_n(to + i * s.inner, s.inner, T{0});
          else
            std::copy_n(slice + *pick * s.inner, s.inner, to + i * s.inner);
        }
      }
    });
  });
  return record({.name = "index_select",
                 .inputs = {x},
                 .value = detail::Access::make(std::move(out)),
                 .vjp = [shape = x.shape(), dim, index, skipped](const Tensor& g, Needs) {
                   return add_rows(detail::gathered_gradient(0, shape, g.dtype()), g, shape, dim, index,
                                   skipped);
                 }});
}

constexpr std::int64_t nothing_skipped = -1;

}  // namespace

Tensor gather(const Tensor& x, std::int64_t dim, const Tensor& index) {
  detail::require_defined("gather", x);
  detail::require_int64("gather", "index", index);
  const std::size_t d = detail::checked_dim("gather", dim, x.shape());
  bool fits = index.dim() == x.dim();
  for (std::size_t i = 0; fits && i < x.shape().size(); ++i)
    fits = i == d || index.shape()[i] <= x.shape()[i];
  if (!fits && index.size() > 0)  // an index without elements may have any shape
    throw ShapeError(
        message("gather: index has shape {} but the input {}; the index must have as many dimensions "
                "and, outside dim {}, no larger extent",
                index.shape(), x.shape(), dim));
  check_indices("gather", index, x.dim() == 0 ? 1 : x.shape()[d]);
  return gather_unchecked(x, d, index);
}

Tensor index_select(const Tensor& x, std::int64_t dim, const Tensor& index) {
  detail::require_defined("index_select", x);
  detail::require_int64("index_select", "index", index);
  if (index.dim() != 1)
    throw ShapeError(message("index_select: the index must have one dimension, not shape {}", index.shape()));
  if (x.dim() == 0) throw IndexError("index_select: a 0-dim tensor has no dimension to select from");
  const std::size_t d = detail::checked_dim("index_select", dim, x.shape());
  check_indices("index_select", index, x.shape()[d]);
  return pick_rows(x, d, index, nothing_skipped, AtSkipped::read);
}

Tensor embedding(const Tensor& index, const Tensor& weight, EmbeddingOptions options) {
  detail::require_defined("embedding", "weight", weight);
  detail::require_int64("embedding", "index", index);
  if (weight.dim() != 2)
    throw ShapeError(message("embedding: weight has shape {}; it must be (rows, features)", weight.shape()));
  const std::int64_t rows = weight.shape()[0];
  std::int64_t padding = nothing_skipped;
  if (options.padding_idx) {
    padding = *options.padding_idx < 0 ? *options.padding_idx + rows : *options.padding_idx;
    if (padding < 0 || padding >= rows)
      throw IndexError(message("embedding: padding_idx {} is out of range for {}", *options.padding_idx,
                               detail::counted(rows, "row")));
  }
  check_indices("embedding", index, rows);
  detail::require_dims("embedding", index.shape().size() + 1);
  Shape shape = index.shape();
  shape.push_back(weight.shape()[1]);
  return reshape(pick_rows(weight, 0, reshape(index, {index.size()}), padding, AtSkipped::read), shape);
}

Tensor scatter_add(const Tensor& x, std::int64_t dim, const Tensor& index, const Tensor& source) {
  detail::require_defined("scatter_add", x);
  detail::require_defined("scatter_add", "source", source);
  detail::require_int64("scatter_add", "index", index);
  const std::size_t d = detail::checked_dim("scatter_add", dim, x.shape());
  bool fits = index.dim() == x.dim() && index.dim() == source.dim();
  for (std::size_t i = 0; fits && i < x.shape().size(); ++i)
    fits = index.shape()[i] <= source.shape()[i] && (i == d || index.shape()[i] <= x.shape()[i]);
  if (!fits && index.size() > 0)  // an index without elements may have any shape
    throw ShapeError(
        message("scatter_add: the input has shape {}, the index {} and the source {}; they must have as "
                "many dimensions, and the index no larger extent but in dim {} of the input",
                x.shape(), index.shape(), source.shape(), dim));
  check_indices("scatter_add", index, x.dim() == 0 ? 1 : x.shape()[d]);
  const DType dtype = promote(x.dtype(), source.dtype());
  const Tensor sum = x.to(dtype);
  Tensor part = source.to(dtype);
  if (index.size() == 0) {
    const Tensor nothing = slice(reshape(part, {part.size()}), 0, 0, 0);
    return sum + scatter({}, reshape(nothing, index.shape()), x.shape(), d, index);
  }
  for (std::size_t i = 0; i < x.shape().size(); ++i)
    if (index.shape()[i] < source.shape()[i])
      part = slice(part, static_cast<std::int64_t>(i), 0, index.shape()[i]);
  const Tensor value = sum.detach().clone();
  add_gathered(value, part, d, index);
  return record(
      {.name = "scatter_add",
       .inputs = {sum, part},
       .value = value,
       .vjp = [d, index](const Tensor& g, Needs needs) {
         return std::array{needs[0] ? g : Tensor(), needs[1] ? gather_unchecked(g, d, index) : Tensor()};
       }});
}

Tensor index_add(const Tensor& x, std::int64_t dim, const Tensor& index, const Tensor& source) {
  detail::require_defined("index_add", x);
  detail::require_defined("index_add", "source", source);
  detail::require_int64("index_add", "index", index);
  if (x.dim() == 0) throw IndexError("index_add: a 0-dim tensor has no dimension to add to");
  const std::size_t d = detail::checked_dim("index_add", dim, x.shape());
  if (index.dim() != 1 || source.shape() != detail::with_extent(x.shape(), d, index.size()))
    throw ShapeError(
        message("index_add: the index has shape {} and the source {}; for an input of shape {} and dim {} "
                "they must be (K) and the input's with extent K there",
                index.shape(), source.shape(), x.shape(), dim));
  check_indices("index_add", index, x.shape()[d]);
  const Tensor rows = source.to(promote(x.dtype(), source.dtype()));
  return x + add_rows({}, rows, x.shape(), d, index, nothing_skipped);
}

Tensor one_hot(const Tensor& labels, std::int64_t classes) {
  detail::require_int64("one_hot", "labels", labels);
  if (classes < 1) throw ValueError(message("one_hot: classes is {}; it must be at least 1", classes));
  check_indices("one_hot", labels, classes);
  detail::require_dims("one_hot", labels.shape().size() + 1);
  Shape shape = labels.shape();
  shape.push_back(classes);
  Array out(shape, DType::int64, "one_hot");
  const auto values = labels.data<std::int64_t>();
  const auto to = out.fill<std::int64_t>();
  std::fill(to.begin(), to.end(), 0);
  for (std::size_t i = 0; i < values.size(); ++i)
    to[i * static_cast<std::size_t>(classes) + static_cast<std::size_t>(values[i])] = 1;
  return detail::Access::make(std::move(out));
}

}  // namespace retort
