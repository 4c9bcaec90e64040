// Recording of operations: name, inputs, value and rule.
#pragma once

#include "retort/framework/core/rule.hpp"

namespace [[RETORT_EXPORT]] retort {

/// One operation, as passed to record().
struct Op {
  const char* name = "operation";   ///< used in error messages; must outlive the graph (a string literal)
  detail::Inputs inputs = {};       ///< the tensors that the value depends on
  Tensor value = {};                ///< the result, computed without history
  detail::RuleOf<Tensor> vjp = {};  ///< gradient of each input, written in differentiable ops
  /// The same numbers without a graph; used if derivatives are not recorded.
  detail::RuleOf<Tensor> fast_vjp = {};
};

/// Adds an operation to the graph and returns its value: with history if an input requires a gradient and
/// recording is on, otherwise without.
///
/// A rule is called as (g, needs) or (g, y, needs): g is the gradient of the result [its shape] and y the
/// result, which is kept only for a rule that takes it. It returns one tensor per input, undefined if
/// needs[i] is false or the gradient is zero. A gradient may have the broadcast shape or a wider float type;
/// the engine reduces and converts it. A rule saves an input by capturing it.
/// Throws: GraphError if an input requires a gradient and a floating-point value has no rule.
Tensor record(Op op);

/// One operation with several results, as passed to record_many().
struct ManyOp {
  const char* name = "operation";    ///< used in error messages; must outlive the graph (a string literal)
  detail::Inputs inputs = {};        ///< the tensors that the values depend on
  Tensors values = {};               ///< the results, computed without history
  detail::RuleOf<Tensors> vjp = {};  ///< gradient of each input, written in differentiable ops
  /// The same numbers without a graph; used if derivatives are not recorded.
  detail::RuleOf<Tensors> fast_vjp = {};
};

/// Adds an operation with several results to the graph and returns the results, as record() does for one.
///
/// A rule is called once per backward pass as (gs, needs) or (gs, ys, needs): gs holds one gradient per
/// result, undefined for a result that no gradient reaches, and ys the results, kept only for a rule that
/// takes them. It returns one tensor per input, as in record().
///
/// Edge cases: int64 and undefined results have no history, and their gradients are always undefined. Without
/// a floating-point result nothing is recorded.
/// Throws: GraphError if an input requires a gradient and no rule is given.
[[nodiscard]] Tensors record_many(ManyOp op);

}  // namespace retort
