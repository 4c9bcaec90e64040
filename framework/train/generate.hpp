// Generation of sequences by a model.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

class Generator;

struct GenerateOptions {
  std::int64_t length = 1;  ///< tokens to add, at most
  double temperature = 1;   ///< divides the logits; 0 always selects the most probable token
  std::int64_t top_k = 0;   ///< draw from the k most probable tokens; 0: from all
  double top_p = 1;         ///< of these, the fewest whose probabilities sum to top_p
  std::optional<std::int64_t> end_token = {};  ///< a sequence ends after this token
  Generator* generator = nullptr;              ///< the default generator if absent
};

/// Continues token sequences by draws from softmax(logits/temperature). `model` is called with the new
/// tokens, first the prompt and then each new token, and returns their logits; it keeps its own state for
/// earlier tokens, for instance an AttentionCache per layer:
///
///     std::vector<rt::AttentionCache> caches(model.layers.size());
///     const auto next = [&](const rt::Tensor& tokens) { return model(tokens, caches); };
///     const rt::Tensor text = rt::generate(next, prompt, {.length = 200, .temperature = 0.8, .top_k = 40});
///
/// Nothing is recorded. Modules should be in evaluation mode. A sequence that has ended continues with its
/// end token, and generation stops once all have ended. An end token in the prompt has no effect.
///
/// Shapes: prompt int64 (N, P) with P >= 1; the model maps (N, L) to (N, L, C); the result is int64 (N, P +
/// length), or shorter if all sequences ended earlier.
/// Throws: TypeError or ShapeError if the prompt or the logits do not fit; ValueError if the model is empty
/// or returns an undefined tensor, an option is out of range (end_token: [0, C)), a logit is NaN, or the
/// highest logit of a row is infinite; IndexError if a token of the prompt is outside [0, C).
[[nodiscard]] Tensor generate(const std::function<Tensor(const Tensor& tokens)>& model, const Tensor& prompt,
                              const GenerateOptions& options = {});

}  // namespace retort
