#include "retort/framework/train/generate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "retort/framework/base/options.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/require.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/sampling.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"
#include "retort/framework/ops/sorting.hpp"

namespace retort {
namespace {

// Selects one token (N, 1) per row of the logits (N, C).
Tensor next_token(const Tensor& logits, const GenerateOptions& options) {
  if (sum(isnan(logits)).item<std::int64_t>() > 0) throw ValueError("generate: the model's logits are NaN");
  if (options.temperature == 0) return unsqueeze(argmax(logits, 1), 1);
  const Tensor highest = amax(logits, {1}, true);
  if (sum(isfinite(highest)).item<std::int64_t>() < highest.size())
    throw ValueError("generate: the highest logit of a row is infinite; no token can be drawn");
  // The highest logit is subtracted first, so that no division overflows. Below the smallest float, any other
  // token has probability 0 already.
  const double temperature = std::max(options.temperature, double{std::numeric_limits<float>::min()});
  const auto draw = [&](const Tensor& kept) {
    const Tensor p = softmax((kept - highest) / temperature, 1);
    return options.generator ? multinomial(p, 1, false, *options.generator) : multinomial(p, 1);
  };
  if (options.top_k == 0) return draw(logits);
  const auto [values, classes] = topk(logits, std::min(options.top_k, logits.size(1)), 1);
  return gather(classes, 1, draw(values));
}

}  // namespace

Tensor generate(const std::function<Tensor(const Tensor& tokens)>& model, const Tensor& prompt,
                const GenerateOptions& options) {
  if (!model) throw ValueError("generate: the model is an empty function");
  detail::require_defined("generate", "the prompt", prompt);
  if (prompt.dtype() != DType::int64)
    throw TypeError(message("generate: the prompt is {}; it must be int64", prompt.dtype()));
  if (prompt.dim() != 2 || prompt.size(1) < 1)
    throw ShapeError(
        message("generate: the prompt has shape {}; it must be (N, P) with P >= 1", prompt.shape()));
  detail::require_option(options.length >= 0, "generate", "length", options.length, "at least 0");
  detail::require_option(options.temperature >= 0 && std::isfinite(options.temperature), "generate",
                         "temperature", options.temperature, "finite and at least 0");
  detail::require_option(options.top_k >= 0, "generate", "top_k", options.top_k, "at least 0");
  const NoGradGuard no_grad;
  Tensors parts{prompt};
  for (std::int64_t i = 0; i < options.length; ++i) {
    const Tensor& unseen = parts.back();
    const Tensor logits = model(unseen);
    if (logits.dim() != 3 || logits.size(0) != unseen.size(0) || logits.size(1) != unseen.size(1))
      throw ShapeError(message("generate: the model returned {} for tokens {}; expected (N, L, C)",
                               logits.shape(), unseen.shape()));
    parts.push_back(next_token(select(logits, 1, logits.size(1) - 1), options));
  }
  return concat(parts, 1);
}

}  // namespace retort
