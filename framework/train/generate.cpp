#include "retort/framework/train/generate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/require.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/sampling.hpp"
#include "retort/framework/ops/scan.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"
#include "retort/framework/ops/sorting.hpp"

namespace retort {
namespace {

// Selects one token (N, 1) per row of the logits (N, C) of a step.
Tensor next_token(const Tensor& logits, std::int64_t step, const GenerateOptions& options) {
  const Tensor highest = amax(logits, {1}, true);  // NaN if a logit of the row is
  const std::vector<double> tops = highest.values<double>();
  const auto bad = std::ranges::find_if_not(tops, [](double top) { return std::isfinite(top); });
  if (bad != tops.end()) {
    const std::int64_t row = bad - tops.begin();
    if (std::isnan(*bad))
      throw ValueError(message("generate: the model's logits of sequence {} are NaN at step {}", row, step));
    throw ValueError(
        message("generate: the highest of the model's logits of sequence {} is {} at step {}; no token can "
                "be drawn",
                row, *bad, step));
  }
  if (options.temperature == 0) return unsqueeze(argmax(logits, 1), 1);
  // The highest logit is subtracted first, so that no division overflows. Below the smallest float, any other
  // token has probability 0 already.
  const double temperature = std::max(options.temperature, double{std::numeric_limits<float>::min()});
  const auto probabilities = [&](const Tensor& kept) { return softmax((kept - highest) / temperature, 1); };
  const auto draw = [&](const Tensor& p) {
    return options.generator ? multinomial(p, 1, false, *options.generator) : multinomial(p, 1);
  };
  if (options.top_k == 0 && options.top_p == 1) return draw(probabilities(logits));
  const std::int64_t most = options.top_k == 0 ? logits.size(1) : std::min(options.top_k, logits.size(1));
  const auto [values, classes] = topk(logits, most, 1);
  Tensor p = probabilities(values);
  // In descending order: a token is kept if those before it do not reach top_p.
  if (options.top_p < 1) p = where(less(cumsum(p, 1) - p, options.top_p), p, 0.0);
  return gather(classes, 1, draw(p));
}

// Throws unless each token of the prompt is one of the model's classes.
void check_prompt(const Tensor& prompt, std::int64_t classes) {
  const auto tokens = prompt.data<std::int64_t>();
  const auto outside =
      std::ranges::find_if(tokens, [&](std::int64_t token) { return token < 0 || token >= classes; });
  if (outside == tokens.end()) return;
  const std::int64_t at = outside - tokens.begin(), length = prompt.size(1);
  throw IndexError(
      message("generate: the prompt has token {} at position {} of row {}, which is out of range [0, {}) for "
              "a model with logits of {}; encode the prompt with the model's vocabulary",
              *outside, at % length, at / length, classes, detail::counted(classes, "class")));
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
  detail::require_option(options.top_p > 0 && options.top_p <= 1, "generate", "top_p", options.top_p,
                         "in (0, 1]");
  const NoGradGuard no_grad;
  Tensors parts{prompt};
  Tensor ended;              // (N, 1), 1 for sequences that have ended
  std::int64_t classes = 0;  // of the model's logits
  for (std::int64_t i = 0; i < options.length; ++i) {
    const Tensor& unseen = parts.back();
    const Tensor logits = model(unseen);
    detail::require_defined("generate", "the model's result", logits);
    if (!is_floating_point(logits.dtype()))
      throw TypeError(
          message("generate: the model's logits are {}; they must be float32 or float64", logits.dtype()));
    if (logits.dim() != 3 || logits.size(2) < 1 || logits.size(0) != unseen.size(0) ||
        logits.size(1) != unseen.size(1))
      throw ShapeError(
          message("generate: the model returned {} for tokens {}; expected (N, L, C) with C >= 1",
                  logits.shape(), unseen.shape()));
    if (i == 0) {
      classes = logits.size(2);
      check_prompt(prompt, classes);
    } else if (logits.size(2) != classes) {
      throw ShapeError(
          message("generate: the model returned logits of {} after logits of {}; every call must return the "
                  "same number of classes",
                  detail::counted(logits.size(2), "class"), classes));
    }
    Tensor next = next_token(select(logits, 1, logits.size(1) - 1), i, options);
    if (options.end_token) {
      const std::int64_t end = *options.end_token;
      if (end < 0 || end >= logits.size(2))
        throw ValueError(message("generate: end_token is {}; it must be in [0, {}), as the model's tokens",
                                 end, logits.size(2)));
      if (ended.defined()) next = where(ended, end, next);
      ended = equal(next, end);
    }
    parts.push_back(next);
    if (ended.defined() && sum(ended).item<std::int64_t>() == ended.size()) break;
  }
  return concat(parts, 1);
}

}  // namespace retort
