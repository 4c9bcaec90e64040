// The op table: one row for every public operation, read by all drivers of op_table_test.cpp.
//
// An operation that is declared in a header of framework/ops, losses or core/engine_ops.hpp and has no row
// here fails the build of the tests (check_op_table.cmake).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "framework/ops/references.hpp"
#include "retort/retort.hpp"

namespace retort::tests {

using Function = std::function<Tensor(const Tensors&)>;

enum class Refusal { shape, type, value, index };
/// Arguments that must be refused, and with which error.
struct Refused {
  Refusal with = Refusal::shape;
  Tensors inputs = {};
};

struct OpCase {
  std::string name = {};     ///< the public function's
  std::string variant = {};  ///< distinguishes several rows of one function
  Function call = {};
  Function reference = {};            ///< its definition in float64, as an xtensor expression or loops
  std::vector<Tensors> samples = {};  ///< float64 (and int64) arguments: some sizes, one element, none
  std::vector<Refused> refused = {};
  bool differentiable = true;       ///< false: the result is int64
  bool promotes = true;             ///< false: float types may not be mixed
  double mixed_tolerance = 1e-12;   ///< wider for one that computes the float32 part in float32
  double float32_tolerance = 2e-5;  ///< |float32 - float64| <= this · (1 + |value|)

  std::string title() const { return variant.empty() ? name : name + ", " + variant; }
};

/// Every row, from all parts of the table.
const std::vector<OpCase>& op_cases();

/// The parts, in tests/framework/ops and tests/losses.
std::vector<OpCase> elementwise_cases();
std::vector<OpCase> reduction_cases();
std::vector<OpCase> shape_cases();
std::vector<OpCase> array_cases();
std::vector<OpCase> product_cases();
std::vector<OpCase> network_cases();
std::vector<OpCase> sequence_cases();
std::vector<OpCase> loss_cases();
std::vector<OpCase> toolbox_cases();
std::vector<OpCase> pair_loss_cases();

// ---- samples that many rows share -----------------------------------------------------------------------

/// One tensor of several sizes: odd ones, one element, a scalar's shape, none.
inline std::vector<Tensors> unary_samples() {
  return {{spread({2, 3, 4})}, {spread({17}, 2)}, {spread({1})}, {spread({})}, {spread({0, 3})}};
}
inline std::vector<Tensors> positive_samples() {
  return {{uniform({2, 3, 4}, 1, 0.3, 2)},
          {uniform({17}, 2, 0.3, 2)},
          {uniform({1}, 3, 0.3, 2)},
          {uniform({}, 4, 0.3, 2)},
          {uniform({0, 3}, 5, 0.3, 2)}};
}
/// Pairs that broadcast in every way.
inline std::vector<Tensors> binary_samples() {
  const auto b = [](const Shape& shape) { return spread(shape, 7, 0.6); };
  return {{spread({3, 5}), b({3, 5})}, {spread({3, 5}), b({5})},       {spread({3, 1}), b({1, 5})},
          {spread({}), b({2, 3})},     {spread({2, 1, 4}), b({3, 1})}, {spread({1}), b({1})},
          {spread({}), b({})},         {spread({0, 3}), b({1, 3})},    {spread({33}), b({33})}};
}
/// Pairs of shapes that do not broadcast.
inline std::vector<Refused> unequal_pair() { return {{Refusal::shape, {spread({2, 3}), spread({4})}}}; }

}  // namespace retort::tests
