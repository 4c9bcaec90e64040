#include "retort/framework/ops/matmul.hpp"

#include <algorithm>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/gemm.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

struct Matrices {
  std::int64_t rows, columns;
  Shape batch;
};

Matrices matrices_of(const Tensor& x) {
  const Shape& shape = x.shape();
  const std::size_t rank = shape.size();
  return {shape[rank - 2], shape[rank - 1], Shape(shape.begin(), shape.begin() + rank - 2)};
}

// op(a) · op(b) for [..., rows, columns] of one type, where op optionally transposes. Each gradient is again
// such a product, so the rule copies no transposed matrix.
Tensor product(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  const Matrices left = matrices_of(a);
  const Matrices right = matrices_of(b);
  const std::int64_t m = transpose_a ? left.columns : left.rows;
  const std::int64_t k = transpose_a ? left.rows : left.columns;
  const std::int64_t n = transpose_b ? right.rows : right.columns;
  Shape shape = detail::broadcast_shapes("matmul", left.batch, right.batch);
  const std::int64_t count = element_count(shape);
  // Repeated batch dimensions have stride 0.
  std::array<std::int64_t, Shape::max_dims> a_step{}, b_step{};
  const auto steps = [&](const Matrices& x, auto& step) {
    std::int64_t stride = x.rows * x.columns;
    for (std::size_t i = 0; i < x.batch.size(); ++i) {
      const std::size_t from_end = x.batch.size() - 1 - i;
      step[shape.size() - 1 - i] = x.batch[from_end] == 1 ? 0 : stride;
      stride *= x.batch[from_end];
    }
  };
  steps(left, a_step);
  steps(right, b_step);
  const Shape batch = shape;
  shape.push_back(m);
  shape.push_back(n);
  Array out(shape, a.dtype());
  visit_floating(a.dtype(), [&]<class T>(T) {
    const T* x = a.data<T>().data();
    const T* y = b.data<T>().data();
    T* z = out.fill<T>().data();
    // The kernel itself divides large products among threads; small ones are grouped.
    constexpr std::int64_t large = 1 << 24, few = 1 << 18;
    const std::int64_t work = std::max<std::int64_t>(1, m * n * std::max<std::int64_t>(1, k));
    parallel_for(count, work >= large ? count : std::max<std::int64_t>(1, few / work),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     std::int64_t rest = i, x_at = 0, y_at = 0;
                     for (std::size_t d = batch.size(); d-- > 0; rest /= batch[d]) {
                       x_at += rest % batch[d] * a_step[d];
                       y_at += rest % batch[d] * b_step[d];
                     }
                     kernels::gemm<T>(transpose_a, transpose_b, m, n, k, 1, x + x_at, left.columns, y + y_at,
                                      right.columns, 0, z + i * m * n, n);
                   }
                 });
  });
  return record({.name = "matmul",
                 .inputs = {a, b},
                 .value = detail::Access::make(std::move(out)),
                 .vjp = [a, b, transpose_a, transpose_b](const Tensor& g, Needs needs) {
                   std::array<Tensor, 2> gradients;
                   if (needs[0])
                     gradients[0] =
                         transpose_a ? product(b, g, transpose_b, true) : product(g, b, false, !transpose_b);
                   if (needs[1])
                     gradients[1] =
                         transpose_b ? product(g, a, true, transpose_a) : product(a, g, !transpose_a, false);
                   return gradients;
                 }});
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  detail::require_floating("matmul", "a", a);
  detail::require_floating("matmul", "b", b);
  if (a.dim() == 0 || b.dim() == 0)
    throw ShapeError(
        message("matmul: inputs have shapes {} and {}; neither may be 0-dim, use *", a.shape(), b.shape()));
  const std::int64_t inner = b.dim() == 1 ? b.shape()[0] : b.size(-2);
  if (a.size(-1) != inner)
    throw ShapeError(
        message("matmul: inputs have shapes {} and {}; the inner extents {} and {} must be equal", a.shape(),
                b.shape(), a.size(-1), inner));
  const DType dtype = promote(a.dtype(), b.dtype());
  Tensor x = a.to(dtype);
  Tensor y = b.to(dtype);
  // A vector is a row on the left and a column on the right; the result drops these dimensions.
  if (a.dim() == 1) x = reshape(x, {1, a.size()});
  if (b.dim() == 1) y = reshape(y, {b.size(), 1});
  // A batch times one matrix is a single larger product.
  Shape batch;
  if (x.dim() > 2 && y.dim() == 2) {
    batch = Shape(x.shape().begin(), x.shape().end() - 1);
    x = reshape(x, {x.size(-1) == 0 ? element_count(batch) : -1, x.size(-1)});
  }
  Tensor z;
  try {
    z = product(x, y, false, false);
  } catch (const ShapeError&) {
    throw ShapeError(message("matmul: inputs have shapes {} and {}; their batch dimensions do not broadcast",
                             a.shape(), b.shape()));
  }
  Shape shape = z.shape();
  if (!batch.empty()) {
    shape = batch;
    shape.push_back(z.size(-1));
  }
  if (b.dim() == 1) shape.pop_back();
  if (a.dim() == 1) shape.erase(shape.end() - (b.dim() == 1 ? 1 : 2));
  return shape == z.shape() ? z : reshape(z, shape);
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  detail::require_floating("linear", x);
  detail::require_floating("linear", "weight", weight);
  if (weight.dim() != 2)
    throw ShapeError(message("linear: weight has shape {}; it must be (out, in)", weight.shape()));
  const std::int64_t in = weight.shape()[1];
  const std::int64_t out = weight.shape()[0];
  if (x.dim() == 0 || x.size(-1) != in)
    throw ShapeError(message("linear: input has shape {} but weight {}; the input's last extent must be {}",
                             x.shape(), weight.shape(), in));
  detail::require_parameter("linear", "bias", bias, {out});
  DType dtype = promote(x.dtype(), weight.dtype());
  if (bias.defined()) dtype = promote(dtype, bias.dtype());
  const Tensor input = x.to(dtype);
  const Tensor w = weight.to(dtype);
  const Tensor b = bias.defined() ? bias.to(dtype) : bias;
  Shape shape = x.shape();
  shape.back() = out;
  const std::int64_t rows = element_count(Shape(x.shape().begin(), x.shape().end() - 1));
  Array value(shape, dtype);
  visit_floating(dtype, [&]<class T>(T) {
    kernels::linear<T>(input.data<T>().data(), w.data<T>().data(), b.defined() ? b.data<T>().data() : nullptr,
                       value.fill<T>().data(), rows, in, out);
  });
  return record(
      {.name = "linear",
       .inputs = {input, w, b},
       .value = detail::Access::make(std::move(value)),
       .vjp = [input, w, rows, in, out](const Tensor& g, Needs needs) {
         std::array<Tensor, 3> gradients;
         const Tensor flat = g.dim() == 2 ? g : reshape(g, {rows, out});
         if (needs[0]) {
           gradients[0] = product(flat, w, false, false);
           if (input.dim() != 2) gradients[0] = reshape(gradients[0], input.shape());
         }
         if (needs[1])
           gradients[1] = product(flat, input.dim() == 2 ? input : reshape(input, {rows, in}), true, false);
         if (needs[2]) gradients[2] = sum(flat, 0);
         return gradients;
       }});
}

}  // namespace retort
