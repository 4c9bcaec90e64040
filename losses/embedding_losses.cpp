#include "retort/losses/embedding_losses.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "retort/framework/base/options.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/distance.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort {
namespace {

/// Throws: ShapeError unless a and b have the same shape [..., D] and c has shape `expected`.
void require_shapes(const char* operation, const Tensor& a, const Tensor& b, const Tensor& c,
                    const Shape& expected, const char* rule) {
  if (a.dim() == 0 || a.shape() != b.shape() || c.shape() != expected)
    throw ShapeError(message("{}: the arguments have shapes {}, {} and {}; {}", operation, a.shape(),
                             b.shape(), c.shape(), rule));
}

}  // namespace

void CosineEmbeddingLossOptions::check() const {
  (void)detail::checked_reduction("cosine_embedding_loss", *this);
  detail::require_finite("cosine_embedding_loss", "margin", margin);
}

void TripletMarginLossOptions::check() const {
  const char* const name = "triplet_margin_loss";
  (void)detail::checked_reduction(name, *this);
  detail::require_positive(name, "margin", margin);
  detail::require_option(!std::isnan(p), name, "p", p, "a number");
  detail::require_finite(name, "eps", eps);
}

Tensor cosine_embedding_loss(const Tensor& input1, const Tensor& input2, const Tensor& target,
                             CosineEmbeddingLossOptions options) {
  const char* const name = "cosine_embedding_loss";
  detail::require_floating(name, "input1", input1);
  detail::require_floating(name, "input2", input2);
  detail::require_int64(name, "target", target);
  Shape rows = input1.shape();
  if (!rows.empty()) rows.pop_back();
  require_shapes(name, input1, input2, target, rows,
                 "the inputs must have one shape [..., D], and the target that without the last dimension");
  const Reduction reduction = detail::prepare_terms(name, input1, input2, options);
  for (const std::int64_t value : target.data<std::int64_t>())
    if (value != 1 && value != -1)
      throw ValueError(message("{}: the target holds {}; it must be 1 or -1", name, value));

  const DType dtype = promote(input1.dtype(), input2.dtype());
  const Tensor a = input1.to(dtype), b = input2.to(dtype);
  const auto square = [](const Tensor& x) { return sum(x * x, -1) + 1e-12; };
  const Tensor cosine = sum(a * b, -1) / sqrt(square(a) * square(b));
  const Tensor terms = where(equal(target, 1), 1 - cosine, clamp(cosine - options.margin, 0.0, std::nullopt));
  return detail::reduce_terms(terms, reduction);
}

Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                           TripletMarginLossOptions options) {
  const char* const name = "triplet_margin_loss";
  for (const auto& [what, x] : {std::pair<const char*, const Tensor&>("anchor", anchor),
                                {"positive", positive},
                                {"negative", negative}})
    detail::require_floating(name, what, x);
  require_shapes(name, anchor, positive, negative, anchor.shape(), "all must have one shape [..., D]");
  const Reduction reduction = detail::prepare_terms(name, anchor, positive, options);
  const auto distance = [&](const Tensor& a, const Tensor& b) {
    return norm(a - b + options.eps, options.p, -1);
  };
  Tensor apart = distance(anchor, negative);
  if (options.swap) apart = minimum(apart, distance(positive, negative));
  return detail::reduce_terms(clamp(distance(anchor, positive) - apart + options.margin, 0.0, std::nullopt),
                              reduction);
}

}  // namespace retort
