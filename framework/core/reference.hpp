// Rules of fused operations, derived from a reference made of operations.
#pragma once

#include <utility>

#include "retort/framework/core/grad_mode.hpp"
#include "retort/framework/core/rule.hpp"

namespace [[RETORT_EXPORT]] retort {

namespace detail {
/// Returns a new tensor with the same values for each input that requires a gradient, and the others
/// unchanged.
Tensors fresh_identities(const Tensors& inputs, Needs needs);
/// The gradients for g of y, which was computed from `identities`, with respect to each input.
Tensors reference_gradients(const Tensor& y, const Tensors& inputs, const Tensors& identities,
                            const Tensor& g, Needs needs);
}  // namespace detail

/// Returns the rule of a fused op, derived from a reference made of ops: `reference` is a callable from
/// `const Tensors&` to Tensor that computes the same value. The rule is differentiable to any order. Each
/// input is passed through an identity, so that a tensor passed twice gets separate gradients for its two
/// places.
template <class Reference>
auto vjp_by_reference(Reference reference, Tensors inputs) {
  return [reference = std::move(reference), inputs = std::move(inputs)](const Tensor& g, Needs needs) {
    const Tensors identities = detail::fresh_identities(inputs, needs);
    Tensor y;
    {
      const GradMode recording(true);  // even if no higher order is requested
      y = reference(identities);
    }
    return detail::reference_gradients(y, inputs, identities, g, needs);
  };
}

}  // namespace retort
