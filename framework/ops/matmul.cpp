#include "retort/framework/ops/matmul.hpp"

#include <algorithm>
#include <span>
#include <vector>

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

// op(a) · op(b) for [..., rows, columns] of one type, where op optionally transposes.
struct Product {
  Product(const Tensor& left, const Tensor& right, bool left_turned, bool right_turned)
      : a(left), b(right), transpose_a(left_turned), transpose_b(right_turned) {
    const Matrices x = matrices_of(a), y = matrices_of(b);
    lda = x.columns;
    ldb = y.columns;
    m = transpose_a ? x.columns : x.rows;
    k = transpose_a ? x.rows : x.columns;
    n = transpose_b ? y.rows : y.columns;
    try {
      batch = detail::broadcast_shapes("matmul", x.batch, y.batch);
    } catch (const ShapeError&) {
      throw ShapeError(
          message("matmul: inputs have shapes {} and {}; their batch dimensions do not broadcast", a.shape(),
                  b.shape()));
    }
    // Repeated batch dimensions have stride 0.
    const auto steps = [&](const Matrices& of, auto& step) {
      std::int64_t stride = of.rows * of.columns;
      for (std::size_t i = 0; i < of.batch.size(); ++i) {
        const std::size_t from_end = of.batch.size() - 1 - i;
        step[batch.size() - 1 - i] = of.batch[from_end] == 1 ? 0 : stride;
        stride *= of.batch[from_end];
      }
    };
    steps(x, a_step);
    steps(y, b_step);
    Shape shape = batch;
    shape.push_back(m);
    shape.push_back(n);
    out = Array(shape, a.dtype(), "matmul");
  }

  std::int64_t work() const { return std::max<std::int64_t>(1, m * n * std::max<std::int64_t>(1, k)); }

  Tensor a, b;
  bool transpose_a, transpose_b;
  std::int64_t m, n, k, lda, ldb;
  Shape batch;
  std::array<std::int64_t, Shape::max_dims> a_step{}, b_step{};
  Array out;
};

// The memory of one product of a batch.
template <class T>
struct Place {
  const T *a, *b;
  T* c;
};

// The memory of the next product that the present one does not use, if the operands of both fit into the
// second-level cache.
template <class T>
kernels::Upcoming upcoming(const Product& of, const Place<T>& next, const Place<T>& present) {
  constexpr std::int64_t small = 1 << 15, most = (1 << 19) / sizeof(T);
  if (of.work() < small || of.m * of.k + of.k * of.n + of.m * of.n > most) return {};
  const auto range = [&](const T* x, std::int64_t size) {
    const bool known = x == present.a || x == present.b;
    return kernels::Upcoming::Range{x, known ? 0 : size * static_cast<std::int64_t>(sizeof(T))};
  };
  return {{range(next.a, of.m * of.k), range(next.b, of.k * of.n), range(next.c, of.m * of.n)}};
}

// Computes one or two products whose batches have the same shape. Products with the same batch index follow
// each other, so that a matrix that both use is read once.
void multiply(std::span<Product> products) {
  if (products.empty()) return;
  const Shape& batch = products[0].batch;
  const std::int64_t count = element_count(batch);
  std::int64_t work = 0;
  for (const Product& of : products) work = std::max(work, of.work());
  visit_floating(products[0].a.dtype(), [&]<class T>(T) {
    std::array<Place<T>, 2> first;
    for (std::size_t j = 0; j < products.size(); ++j)
      first[j] = {products[j].a.data<T>().data(), products[j].b.data<T>().data(),
                  products[j].out.fill<T>().data()};
    const auto place = [&](std::size_t j, std::int64_t i) {
      const Product& of = products[j];
      Place<T> at = first[j];
      at.c += i * of.m * of.n;
      for (std::size_t d = batch.size(); d-- > 0; i /= batch[d]) {
        at.a += i % batch[d] * of.a_step[d];
        at.b += i % batch[d] * of.b_step[d];
      }
      return at;
    };
    // The kernel itself divides large products among threads; small ones are grouped.
    constexpr std::int64_t large = 1 << 24, few = 1 << 18;
    parallel_for(count, work >= large ? count : std::max<std::int64_t>(1, few / work),
                 [&](std::int64_t begin, std::int64_t end) {
                   Place<T> at = place(0, begin);
                   for (std::int64_t i = begin; i < end; ++i)
                     for (std::size_t j = 0; j < products.size(); ++j) {
                       const bool last = j + 1 == products.size();
                       const std::size_t next = last ? 0 : j + 1;
                       const bool ends = last && i + 1 == end;
                       const Place<T> then = ends ? at : place(next, i + last);
                       const Product& of = products[j];
                       kernels::gemm<T>(of.transpose_a, of.transpose_b, of.m, of.n, of.k, 1, at.a, of.lda,
                                        at.b, of.ldb, 0, at.c, of.n,
                                        ends ? kernels::Upcoming() : upcoming(products[next], then, at));
                       at = then;
                     }
                 });
  });
}

// Each gradient is again such a product, so the rule copies no transposed matrix.
Tensor recorded(Product&& of) {
  return record({.name = "matmul",
                 .inputs = {of.a, of.b},
                 .value = detail::Access::make(std::move(of.out)),
                 .vjp = [a = of.a, b = of.b, transpose_a = of.transpose_a, transpose_b = of.transpose_b](
                            const Tensor& g, Needs needs) {
                   std::vector<Product> products;
                   products.reserve(2);
                   if (needs[0])
                     products.push_back(transpose_a ? Product(b, g, transpose_b, true)
                                                    : Product(g, b, false, !transpose_b));
                   if (needs[1])
                     products.push_back(transpose_b ? Product(g, a, true, transpose_a)
                                                    : Product(a, g, !transpose_a, false));
                   multiply(products);
                   std::array<Tensor, 2> gradients;
                   if (needs[0]) gradients[0] = recorded(std::move(products.front()));
                   if (needs[1]) gradients[1] = recorded(std::move(products.back()));
                   return gradients;
                 }});
}

Tensor product(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  Product made(a, b, transpose_a, transpose_b);
  multiply({&made, 1});
  return recorded(std::move(made));
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
  const Tensor z = product(x, y, false, false);
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
  Array value(shape, dtype, "linear");
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
