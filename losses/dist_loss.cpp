#include "retort/losses/dist_loss.hpp"

#include <cmath>
#include <limits>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/distance.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"

namespace retort {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// Row-wise softmax. Excluded entries are -inf; rows with only such entries are 0.
Tensor probabilities(const Tensor& logits, const Tensor& takes_part, const Tensor& row_takes_part) {
  return where(takes_part, softmax(where(row_takes_part, logits, 0), -1), 0);
}

// The mean of 1 - ρ along `dim` over the rows or classes with included entries.
Tensor uncorrelated(const Tensor& a, const Tensor& b, const Tensor& takes_part, Index dim) {
  const Tensor count = sum(takes_part, dim, true).to(a.dtype());
  const auto centred = [&](const Tensor& x) {
    return where(takes_part, x - sum(x, dim, true) / maximum(count, ones_like(count)), 0);
  };
  const Tensor x = centred(a), y = centred(b);
  const Tensor rho = sum(x * y, dim, true) / (norm(x, 2, dim, true) * norm(y, 2, dim, true) + 1e-8);
  const Tensor counts = greater(count, 0);
  return sum(where(counts, 1 - rho, 0)) / static_cast<double>(sum(counts).item<Index>());
}

}  // namespace

void DISTLossOptions::check() const {
  detail::require_finite("dist_loss", "beta", beta);
  detail::require_finite("dist_loss", "gamma", gamma);
  detail::require_positive("dist_loss", "temperature", temperature);
}

Tensor dist_loss(const Tensor& student, const Tensor& teacher, DISTLossOptions options) {
  options.check();
  detail::require_floating("dist_loss", "student", student);
  detail::require_floating("dist_loss", "teacher", teacher);
  if (student.dim() == 0 || student.shape() != teacher.shape())
    throw ShapeError(message("dist_loss: student has shape {} but teacher {}; both must be (..., C)",
                             student.shape(), teacher.shape()));
  const DType dtype = promote(student.dtype(), teacher.dtype());
  const Index classes = student.size(-1);
  const Shape rows{classes == 0 ? 0 : student.size() / classes, classes};
  const auto softened = [&](const Tensor& x) { return reshape(x.to(dtype), rows) / options.temperature; };
  const Tensor s = softened(student), t = softened(options.detach_teacher ? teacher.detach() : teacher);
  const Tensor takes_part = not_equal(maximum(s, t).detach(), -infinity);
  const Tensor row_takes_part = greater(sum(takes_part, -1, true), 0);
  const Tensor q = probabilities(s, takes_part, row_takes_part);
  const Tensor p = probabilities(t, takes_part, row_takes_part);
  return (uncorrelated(q, p, takes_part, 1) * options.beta +
          uncorrelated(q, p, takes_part, 0) * options.gamma) *
         (options.temperature * options.temperature);
}

Tensor mix_teachers(const Tensors& logits, const std::vector<double>& weights, double temperature) {
  detail::require_positive("mix_teachers", "temperature", temperature);
  if (logits.empty() || logits.size() != weights.size())
    throw ValueError(message("mix_teachers: got {} and {}; give one weight for each teacher",
                             detail::counted(logits.size(), "teacher"),
                             detail::counted(weights.size(), "weight")));
  DType dtype = DType::float32;
  for (std::size_t k = 0; k < logits.size(); ++k) {
    detail::require_floating("mix_teachers", message("teacher {}", k).c_str(), logits[k]);
    if (logits[k].dim() == 0 || logits[k].shape() != logits[0].shape())
      throw ShapeError(message("mix_teachers: teacher {} has shape {} but teacher 0 {}; all must be (..., C)",
                               k, logits[k].shape(), logits[0].shape()));
    if (!(weights[k] >= 0) || std::isinf(weights[k]))
      throw ValueError(
          message("mix_teachers: weight {} is {}; it must be a finite number of at least 0", k, weights[k]));
    dtype = promote(dtype, logits[k].dtype());
  }
  Tensors terms;
  for (std::size_t k = 0; k < logits.size(); ++k)
    if (weights[k] > 0)
      terms.push_back(log_softmax(logits[k].to(dtype) / temperature, -1) + std::log(weights[k]));
  if (terms.empty()) throw ValueError("mix_teachers: all weights are 0; at least one must be positive");
  const Tensor all = stack(terms, 0);
  const Tensor possible = not_equal(amax(all.detach(), 0), -infinity);
  return where(possible, logsumexp(where(possible, all, 0), 0) * temperature, -infinity);
}

}  // namespace retort
