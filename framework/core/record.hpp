// How an operation enters the graph: its name, inputs, value and rule.
#pragma once

#include "retort/framework/core/rule.hpp"

namespace [[RETORT_EXPORT]] retort {

/// One operation, as record() takes it.
struct Op {
  const char* name = "operation";  ///< used in error messages; must outlive the graph (a string literal)
  detail::Inputs inputs = {};      ///< what the value depends on
  Tensor value = {};               ///< the result, computed without history
  detail::RuleOf<Tensor> vjp =
      {};  ///< gradient of each input, written in ops, so that it can be derived itself
  detail::RuleOf<Tensor> fast_vjp = {};  ///< the same numbers without a graph; used when nothing is recorded
};

/// Gives `op.value` its place in the graph and returns it: with history if an input requires a gradient and
/// recording is on, without otherwise.
///
/// A rule is called as (g, needs) or (g, y, needs): g is the gradient of the result [its shape], and y the
/// result itself, which is kept only for a rule that asks. It returns one tensor per input, undefined if
/// needs[i] is false or if nothing flows. A gradient may have the broadcast shape or a wider float type; the
/// engine reduces and converts it. A rule saves an input by capturing it.
/// Throws: GraphError for a floating-point value if an input requires a gradient and no rule is given.
Tensor record(Op op);

/// One operation with several results, as record_many() takes it.
struct ManyOp {
  const char* name = "operation";    ///< used in error messages; must outlive the graph (a string literal)
  detail::Inputs inputs = {};        ///< what the values depend on
  Tensors values = {};               ///< the results, computed without history
  detail::RuleOf<Tensors> vjp = {};  ///< gradient of each input, written in ops
  detail::RuleOf<Tensors> fast_vjp = {};  ///< the same numbers without a graph; used when nothing is recorded
};

/// Gives the results of one operation their place in the graph, as record() does for a single result, and
/// returns them.
///
/// A rule is called once per backward as (gs, needs) or (gs, ys, needs): gs holds one gradient per result,
/// undefined for a result that nothing flows into, and ys the results, kept only for a rule that asks. It
/// returns one tensor per input under the terms of record().
///
/// Edge cases: int64 results and undefined ones have no history, and their entry of gs is always undefined.
/// Without any floating-point result nothing is recorded.
/// Throws: GraphError if an input requires a gradient and no rule is given.
[[nodiscard]] Tensors record_many(ManyOp op);

}  // namespace retort
