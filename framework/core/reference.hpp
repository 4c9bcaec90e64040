// Rules of fused operations, derived from a reference made of operations.
#pragma once

#include <functional>
#include <utility>

#include "retort/framework/core/grad_mode.hpp"
#include "retort/framework/core/rule.hpp"

namespace [[RETORT_EXPORT]] retort {

namespace detail {
/// The gradient of each input for the gradients gs of the results of reference(inputs).
Tensors reference_gradients(const std::function<Tensors(const Tensors&)>& reference, const Tensors& inputs,
                            const Tensors& gs, Needs needs);
}  // namespace detail

/// Returns the rule of a fused op, derived from a reference made of ops: `reference` is a callable from
/// `const Tensors&` to Tensor that computes the same value. The rule is differentiable to any order. Each
/// input is passed through an identity, so that a tensor passed twice gets separate gradients for its two
/// places.
template <class Reference>
auto vjp_by_reference(Reference reference, Tensors inputs) {
  return [reference = std::move(reference), inputs = std::move(inputs)](const Tensor& g, Needs needs) {
    const auto results = [&](const Tensors& identities) { return Tensors{reference(identities)}; };
    return detail::reference_gradients(results, inputs, {g}, needs);
  };
}

}  // namespace retort
