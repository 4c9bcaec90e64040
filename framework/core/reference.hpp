// The rule of a fused operation, from a plain reference made of operations.
#pragma once

#include <utility>

#include "retort/framework/core/grad_mode.hpp"
#include "retort/framework/core/rule.hpp"

namespace [[RETORT_EXPORT]] retort {

namespace detail {
/// For each input that requires a gradient a tensor of its own with the same values; the others themselves.
Tensors fresh_identities(const Tensors& inputs, Needs needs);
/// The gradients of y, which was computed from `identities`, with respect to each input, for g.
Tensors reference_gradients(const Tensor& y, const Tensors& inputs, const Tensors& identities,
                            const Tensor& g, Needs needs);
}  // namespace detail

/// The rule of a fused op that has a plain reference made of ops: derives `reference(inputs)`, a callable
/// from `const Tensors&` to Tensor that computes the same value. It is right to any order. Each input is
/// given an identity of its own, so that a tensor that is passed twice gets the share of each place once.
template <class Reference>
auto vjp_by_reference(Reference reference, Tensors inputs) {
  return [reference = std::move(reference), inputs = std::move(inputs)](const Tensor& g, Needs needs) {
    const Tensors identities = detail::fresh_identities(inputs, needs);
    Tensor y;
    {
      const GradMode recording(true);  // also if no higher order is asked for
      y = reference(identities);
    }
    return detail::reference_gradients(y, inputs, identities, g, needs);
  };
}

}  // namespace retort
