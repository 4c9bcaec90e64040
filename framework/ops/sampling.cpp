#include "retort/framework/ops/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "retort/framework/base/random.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/sorting.hpp"

namespace retort {
namespace {

// The probabilities as [rows, classes] in float64.
Tensor checked_rows(const Tensor& probabilities, std::int64_t n, bool replacement) {
  detail::require_floating("multinomial", probabilities);
  if (n < 0) throw ValueError(message("multinomial: n is {}; it must not be negative", n));
  if (probabilities.dim() != 1 && probabilities.dim() != 2)
    throw ShapeError(
        message("multinomial: the input has shape {}; it must be (C) or (N, C)", probabilities.shape()));
  const std::int64_t classes = probabilities.size(-1);
  const std::int64_t rows = probabilities.dim() == 1 ? 1 : probabilities.size(0);
  const Tensor p = reshape(probabilities.detach(), {rows, classes}).to(DType::float64);
  const double* values = p.data<double>().data();
  for (std::int64_t row = 0; row < rows; ++row, values += classes) {
    std::int64_t positive = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      if (!(values[c] >= 0 && values[c] <= std::numeric_limits<double>::max()))
        throw ValueError(
            message("multinomial: element {} of row {} is {}; it must be finite and not negative", c, row,
                    values[c]));
      positive += values[c] > 0 ? 1 : 0;
    }
    if (positive < (replacement ? std::min<std::int64_t>(n, 1) : n))
      throw ValueError(message("multinomial: row {} has {} positive elements, from which {} cannot be drawn",
                               row, positive, n));
  }
  return p;
}

Tensor draw(const Tensor& probabilities, std::int64_t n, bool replacement, Generator* generator) {
  const Tensor p = checked_rows(probabilities, n, replacement);
  const std::int64_t rows = p.size(0), classes = p.size(1);
  const Shape shape = probabilities.dim() == 1 ? Shape{n} : Shape{rows, n};
  const Shape drawn = replacement ? Shape{rows, n} : Shape{rows, classes};
  const Tensor uniform = generator ? rand(drawn, DType::float64, *generator) : rand(drawn, DType::float64);
  const double* weights = p.data<double>().data();
  if (!replacement) {
    // The waiting time of class c is exponential with rate p[c]: the first n arrivals are the draws.
    double* times = uniform.mutable_data<double>().data();
    for (std::int64_t i = 0; i < rows * classes; ++i)
      times[i] =
          weights[i] > 0 ? -std::log1p(-times[i]) / weights[i] : std::numeric_limits<double>::infinity();
    return reshape(topk(uniform, n, 1, false).indices, shape);
  }
  const Tensor out = empty(shape, DType::int64);
  std::int64_t* to = out.mutable_data<std::int64_t>().data();
  const double* u = uniform.data<double>().data();
  std::vector<double> up_to(static_cast<std::size_t>(classes));
  for (std::int64_t row = 0; row < rows; ++row, weights += classes) {
    // Divided by the largest weight, so that the sum is finite. A class ends at its cumulative sum, so a
    // class without probability is never drawn. A draw that rounds up to the total belongs to the last class
    // with a positive probability.
    const double most = classes == 0 ? 0 : *std::max_element(weights, weights + classes);
    double sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) up_to[static_cast<std::size_t>(c)] = sum += weights[c] / most;
    const auto last = std::lower_bound(up_to.begin(), up_to.end(), sum);
    for (std::int64_t i = 0; i < n; ++i)
      *to++ = std::min(std::upper_bound(up_to.begin(), up_to.end(), *u++ * sum), last) - up_to.begin();
  }
  return out;
}

}  // namespace

Tensor multinomial(const Tensor& probabilities, std::int64_t n, bool replacement) {
  return draw(probabilities, n, replacement, nullptr);
}

Tensor multinomial(const Tensor& probabilities, std::int64_t n, bool replacement, Generator& generator) {
  return draw(probabilities, n, replacement, &generator);
}

}  // namespace retort
