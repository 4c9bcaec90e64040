// Sequences that a model continues.
#pragma once

#include <cstdint>
#include <functional>

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

class Generator;

struct GenerateOptions {
  std::int64_t length = 1;         ///< tokens to add
  double temperature = 1;          ///< divides the logits; 0 always takes the most probable token
  std::int64_t top_k = 0;          ///< draws among the k most probable tokens; 0: among all
  Generator* generator = nullptr;  ///< absent: the default one
};

/// Continues token sequences with draws from softmax(logits/temperature). `model` is called with the tokens
/// that it has not seen yet, first the prompt and then each new token, and returns logits for each; it keeps
/// what it needs of the earlier ones, for instance in an AttentionCache per layer:
///
///     std::vector<rt::AttentionCache> caches(model.layers.size());
///     const auto next = [&](const rt::Tensor& tokens) { return model(tokens, caches); };
///     const rt::Tensor text = rt::generate(next, prompt, {.length = 200, .temperature = 0.8, .top_k = 40});
///
/// Nothing is recorded. A module should be in evaluation mode.
///
/// Shapes: prompt int64 (N, P) with P >= 1; the model maps (N, L) to (N, L, C); the result is int64 (N, P +
/// length).
/// Throws: TypeError or ShapeError for another prompt or other logits; ValueError for a negative length,
/// temperature or top_k, and for logits that are NaN.
[[nodiscard]] Tensor generate(const std::function<Tensor(const Tensor& tokens)>& model, const Tensor& prompt,
                              const GenerateOptions& options = {});

}  // namespace retort
