#include "retort/framework/ops/attention.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "retort/framework/base/draws.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/attention.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/matmul.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"

namespace retort {
namespace {

// Sizes, and the shape (…, L, S) that the mask broadcasts to.
struct Plan {
  kernels::AttentionShape sizes;
  Shape scores;
  std::vector<Index> mask_at;

  kernels::AttentionShape shape() const {
    kernels::AttentionShape shape = sizes;
    shape.mask_at = mask_at;
    return shape;
  }
};

bool broadcasts_to(const Shape& from, const Shape& to) {
  if (from.size() > to.size()) return false;
  for (std::size_t i = 1; i <= from.size(); ++i)
    if (from[from.size() - i] != 1 && from[from.size() - i] != to[to.size() - i]) return false;
  return true;
}

// Computes the offset of each head's mask and the mask's strides, which are 0 along repeated dimensions.
void place_mask(Plan& plan, const Shape& mask) {
  const std::size_t rank = plan.scores.size(), missing = rank - mask.size();
  std::vector<Index> steps(rank, 0);
  Index step = 1;
  for (std::size_t i = rank; i-- > missing;) {
    steps[i] = mask[i - missing] == 1 ? 0 : step;
    step *= mask[i - missing];
  }
  plan.sizes.mask_key_step = steps[rank - 1];
  plan.sizes.mask_query_step = steps[rank - 2];
  for (Index head = 0; head < plan.sizes.head_count(); ++head) {
    Index rest = head, at = 0;
    for (std::size_t d = rank - 2; d-- > 0; rest /= plan.scores[d]) at += rest % plan.scores[d] * steps[d];
    plan.mask_at.push_back(at);
  }
}

template <class T>
kernels::AttentionMask<T> mask_of(const Tensor& mask) {
  if (!mask.defined()) return {};
  if (mask.dtype() == DType::int64) return {.allowed = mask.data<std::int64_t>().data()};
  return {.added = mask.data<T>().data()};
}

// The reference for the kernel; keeps all intermediate arrays.
Tensor reference(const Plan& plan, const Tensors& inputs, const Tensor& integer_mask) {
  const kernels::AttentionShape& of = plan.sizes;
  const auto by_head = [&](const Tensor& x, Index rows, Index width) {
    return permute(reshape(x, {of.batch, rows, of.heads, width}), {0, 2, 1, 3});
  };
  const Tensor q = by_head(inputs[0], of.queries, of.width), k = by_head(inputs[1], of.keys, of.width),
               v = by_head(inputs[2], of.keys, of.value_width);
  const DType dtype = q.dtype();
  constexpr double infinity = std::numeric_limits<double>::infinity();
  Tensor scores = reshape(matmul(q * of.scale, transpose(k, -2, -1)), plan.scores);
  Tensor seen = ones(plan.scores, DType::int64);
  if (of.is_causal)
    seen = seen * greater_equal(reshape(arange(of.queries), {of.queries, 1}), arange(of.keys));
  if (integer_mask.defined()) {
    seen = seen * not_equal(integer_mask, 0);
  } else if (inputs.size() == 4) {
    const Tensor possible = not_equal(inputs[3].detach(), -infinity);
    seen = seen * possible;
    scores = scores + where(possible, inputs[3], 0);
  }
  // All scores of a query without keys are 0; its weights are then set to 0.
  const Tensor any = greater(sum(seen, -1, true), 0);
  Tensor weights = where(seen, softmax(where(any, where(seen, scores, -infinity), 0), -1), 0);
  if (of.dropout_p > 0) {
    const Tensor kept = empty(plan.scores, dtype);
    compute_into(
        dtype,
        [&]<class T>(T* out) {
          detail::fill_kept(std::span<T>(out, static_cast<std::size_t>(kept.size())), of.dropout,
                            1 - of.dropout_p, of.dropout_p == 1 ? 0 : 1 / (1 - of.dropout_p));
        },
        writable(kept));
    weights = weights * kept;
  }
  const Tensor y = matmul(reshape(weights, {of.batch, of.heads, of.queries, of.keys}), v);
  return permute(y, {0, 2, 1, 3});
}

// The inputs are q, k and v, or one array with the three next to each other in each row.
Tensor attend(const char* operation, Plan plan, const Shape& shape, Tensors inputs, const Tensor& mask) {
  const bool adds = mask.defined() && mask.dtype() != DType::int64;
  if (mask.defined()) place_mask(plan, mask.shape());
  kernels::AttentionShape& of = plan.sizes;
  if (of.dropout_p > 0)
    of.dropout =
        detail::take_from_default(detail::blocks_for(of.head_count() * of.queries * of.keys, DType::float32));
  const DType dtype = inputs[0].dtype();
  const std::size_t count = inputs.size(), k_at = count == 1 ? 0 : 1, v_at = count == 1 ? 0 : 2;
  const Index apart = count == 1 ? of.shared_row / 3 : 0;  // the distance from q to k, and from k to v
  const Tensor y = empty(shape, dtype), log_sums = empty({of.head_count(), of.queries}, dtype);
  compute_into(
      dtype,
      [&]<class T>(T* out, T* sums, const T* q, const T* k, const T* v) {
        kernels::attention<T>(plan.shape(), q, k + apart, v + 2 * apart, mask_of<T>(mask), out, sums);
      },
      writable(y), writable(log_sums), inputs[0], inputs[k_at], inputs[v_at]);
  if (adds) inputs.push_back(mask);
  const Tensor integer_mask = adds ? Tensor() : mask;
  return record(
      {.name = operation,
       .inputs = inputs,
       .value = y,
       .vjp = vjp_by_reference(
           [plan, integer_mask, shape, count](Tensors x) {
             if (count == 1) {
               Tensors parts = chunk(x[0], 3, -1);
               parts.insert(parts.end(), x.begin() + 1, x.end());
               x = std::move(parts);
             }
             return reshape(reference(plan, x, integer_mask), shape);
           },
           inputs),
       .fast_vjp = [plan, inputs, mask, log_sums, adds, count, k_at, v_at, apart](
                       const Tensor& g, const Tensor& out, Needs needs) {
         const kernels::AttentionShape sizes = plan.shape();
         Tensors gradients(inputs.size());
         for (std::size_t i = 0; i < count; ++i)
           if (needs[i]) gradients[i] = empty_like(inputs[i]);
         if (adds && needs[count]) gradients[count] = zeros_like(mask);
         const Index partials = needs[0] ? kernels::attention_partials(sizes) : 0;
         const Tensor partial =
             partials > 0 ? empty({partials, sizes.head_count() * sizes.queries * sizes.width}, g.dtype())
                          : Tensor();
         const auto moved = [](auto* x, Index by) { return x == nullptr ? x : x + by; };
         compute_into(
             g.dtype(),
             [&]<class T>(T* dq, T* dk, T* dv, T* dmask, T* part, const T* q, const T* k, const T* v,
                          const T* result, const T* sums, const T* upstream) {
               kernels::attention_backward<T>(sizes,
                                              {q, k + apart, v + 2 * apart, result, sums, upstream, dq,
                                               moved(dk, apart), moved(dv, 2 * apart), dmask, part},
                                              mask_of<T>(mask));
             },
             writable(gradients[0]), writable(gradients[k_at]), writable(gradients[v_at]),
             writable(adds ? gradients[count] : Tensor()), writable(partial), inputs[0], inputs[k_at],
             inputs[v_at], out, log_sums, g);
         return gradients;
       }});
}

// Converts the inputs to a common type.
Tensors promoted(const char* operation, Tensors inputs, Tensor& mask) {
  constexpr std::array names = {"query", "key", "value"};
  DType dtype = inputs[0].dtype();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    detail::require_floating(operation, names[i], inputs[i]);
    dtype = promote(dtype, inputs[i].dtype());
  }
  if (mask.defined() && is_floating_point(mask.dtype())) {
    dtype = promote(dtype, mask.dtype());
    mask = mask.to(dtype);
  }
  for (Tensor& x : inputs) x = x.to(dtype);
  return inputs;
}

kernels::AttentionShape sizes_of(const char* operation, const ScaledDotProductAttentionOptions& options,
                                 Index width) {
  detail::require_from_0_to_1(operation, "dropout_p", options.dropout_p);
  if (options.scale) detail::require_finite(operation, "scale", *options.scale);
  return {.width = width,
          .scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(width))),
          .is_causal = options.is_causal,
          .dropout_p = options.dropout_p};
}

}  // namespace

Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                    ScaledDotProductAttentionOptions options) {
  constexpr const char* name = "scaled_dot_product_attention";
  Tensors inputs = promoted(name, {q, k, v}, options.mask);
  const auto refuse = [&](const std::string& why) {
    throw ShapeError(message(
        "{}: query has shape {}, key {} and value {}{}; {}", name, q.shape(), k.shape(), v.shape(),
        options.mask.defined() ? message(", the mask {}", options.mask.shape()) : std::string(), why));
  };
  if (q.dim() < 2 || k.dim() < 2 || v.dim() < 2) refuse("they must be (…, L, E), (…, S, E) and (…, S, V)");
  if (q.size(-1) != k.size(-1)) refuse("query and key must have the same last extent");
  if (k.size(-2) != v.size(-2)) refuse("key and value must have the same number of rows");
  const auto leading = [](const Tensor& x) { return Shape(x.shape().begin(), x.shape().end() - 2); };
  Shape batch;
  try {
    batch =
        detail::broadcast_shapes(name, detail::broadcast_shapes(name, leading(q), leading(k)), leading(v));
  } catch (const ShapeError&) {
    refuse("their leading dimensions must broadcast");
  }
  const auto with = [&](std::int64_t rows, std::int64_t columns) {
    Shape shape = batch;
    shape.push_back(rows);
    shape.push_back(columns);
    return shape;
  };
  for (Tensor& x : inputs)
    if (leading(x) != batch) x = broadcast_to(x, with(x.size(-2), x.size(-1)));
  Plan plan{sizes_of(name, options, q.size(-1)), with(q.size(-2), k.size(-2)), {}};
  if (options.mask.defined() && !broadcasts_to(options.mask.shape(), plan.scores))
    refuse(message("the mask must broadcast to {}", plan.scores));
  if (options.mask.defined() && options.mask.dtype() == DType::int64)
    detail::require_0_or_1(name, "the mask", options.mask);
  plan.sizes.batch = element_count(batch);
  plan.sizes.queries = q.size(-2);
  plan.sizes.keys = k.size(-2);
  plan.sizes.value_width = v.size(-1);
  return attend(name, std::move(plan), with(q.size(-2), v.size(-1)), std::move(inputs), options.mask);
}

namespace detail {

// Without k and v, q has all three next to each other in each row: (N, L, 3 · heads · E).
Tensor attention_of_heads(const char* operation, const Tensor& q, const Tensor& k, const Tensor& v,
                          std::int64_t heads, const ScaledDotProductAttentionOptions& options) {
  Tensor mask = options.mask;
  const bool is_shared = !k.defined();
  Tensors inputs = promoted(operation, is_shared ? Tensors{q} : Tensors{q, k, v}, mask);
  const std::int64_t parts = is_shared ? 3 : 1, width = q.size(2) / parts,
                     value_width = is_shared ? width : v.size(2), keys = is_shared ? q.size(1) : k.size(1);
  Plan plan{sizes_of(operation, options, width / heads), {q.size(0), heads, q.size(1), keys}, {}};
  if (mask.defined() && !broadcasts_to(mask.shape(), plan.scores))
    throw ShapeError(message("{}: the mask has shape {}; it must broadcast to (N, heads, L, S) = {}",
                             operation, mask.shape(), plan.scores));
  plan.sizes.batch = q.size(0);
  plan.sizes.heads = heads;
  plan.sizes.queries = q.size(1);
  plan.sizes.keys = keys;
  plan.sizes.value_width = value_width / heads;
  plan.sizes.shared_row = is_shared ? q.size(2) : 0;
  return attend(operation, std::move(plan), {q.size(0), q.size(1), value_width}, std::move(inputs), mask);
}

}  // namespace detail
}  // namespace retort
