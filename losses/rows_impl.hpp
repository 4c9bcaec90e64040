// Rows of classes: checks and counts the labels, class weights and masks of all classification losses.
#pragma once

#include <cstddef>
#include <optional>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/tensor.hpp"
#include "retort/losses/reduction.hpp"

namespace retort {
struct DistillationLossOptions;
}

namespace retort::detail {

struct RowOptions {
  Tensor weight = {};                      ///< per class [C]; 1 if undefined
  std::optional<Index> ignore_index = {};  ///< rows with this label are excluded
  Tensor mask = {};                        ///< int64: 1 to include a row, 0 to exclude it; all if undefined
  Tensor row_weight = {};                  ///< per row; 1 if undefined
  bool read_labels = true;                 ///< false: labels may have any value or be absent
  /// The arguments' names in messages. In distillation losses they are fields.
  struct Names {
    const char* input = "input";
    const char* labels = "target";
    const char* mask = "mask";
    const char* row_weight = "weight";
  } names = {};
};
/// The names of the fields of DistillationInputs.
constexpr RowOptions::Names distillation_names{".student", ".labels", ".mask", ".weight"};

/// The rows [N, d…] of an input [N, C, d…] whose dimension `dim` contains the classes.
struct ClassRows {
  Tensor labels;       ///< int64; arbitrary in excluded rows
  Tensor mask;         ///< int64 0 or 1; undefined if all rows are included
  Tensor weight;       ///< per row, in the input's type, 0 if excluded; 1 if undefined
  Index counted = 0;   ///< number of included rows
  double divisor = 0;  ///< sum of their weights
};

/// Throws: TypeError; ShapeError, also for an included row without classes; ValueError if the mask is not 0
/// or 1; IndexError if a label of an included row is outside [0, C).
ClassRows prepare_rows(const char* operation, const Shape& input, DType dtype, std::size_t dim,
                       const Tensor& labels, const RowOptions& options);

/// Throws: ShapeError unless `weight` is undefined or has shape [C]; TypeError for int64.
void check_class_weight(const char* operation, const Tensor& weight, const Shape& input, std::size_t dim);

/// Returns the dimension of the classes: 1, or 0 if the input has one dimension.
/// Throws: ShapeError if the shape is ().
std::size_t class_dim(const char* operation, const Tensor& input);

/// The shape of the rows of an input whose classes are in dimension `dim`.
inline Shape row_shape(Shape input, std::size_t dim) {
  input.erase(input.begin() + static_cast<std::ptrdiff_t>(dim));
  return input;
}

/// `terms`, but exactly 0 (with all derivatives) in excluded rows.
[[nodiscard]] Tensor counted_terms(const Tensor& terms, const ClassRows& rows);

/// The reduced, weighted negative log-likelihoods of the labels.
[[nodiscard]] Tensor nll_of_rows(const Tensor& log_probabilities, std::size_t dim, const ClassRows& rows,
                                 Reduction reduction);

/// Throws: ValueError if the temperature, alpha or reduction is out of range.
void check_distillation_options(const char* operation, const DistillationLossOptions& options);
/// prepare_rows for logits [..., C]. If the weights of a batchmean add up to 0, all rows are excluded.
/// Throws: the errors of prepare_rows; ValueError if labels are missing but contribute to the loss.
ClassRows distillation_rows(const char* operation, const Shape& logits, DType dtype, const Tensor& labels,
                            const Tensor& mask, const Tensor& weight, const DistillationLossOptions& options,
                            const RowOptions::Names& names = distillation_names);
/// The factor of the sum over rows: the inverse of the sum of weights for batchmean, otherwise 1.
double row_scale(Reduction reduction, const ClassRows& rows);
bool all_finite(const Tensor& x);

/// The reduction, taking the deprecated arguments into account, about which it warns.
Reduction resolve_reduction(std::optional<bool> size_average, std::optional<bool> reduce,
                            Reduction reduction);
/// Throws: ValueError if the reduction is batchmean, for losses that do not support it.
void refuse_batchmean(const char* operation, Reduction reduction);
/// The reduction selected by the options.
/// Throws: the errors of refuse_batchmean.
template <class Options>
Reduction checked_reduction(const char* operation, const Options& options) {
  Reduction reduction = options.reduction;
  if constexpr (requires { options.reduce; })
    reduction = resolve_reduction(options.size_average, options.reduce, reduction);
  refuse_batchmean(operation, reduction);
  return reduction;
}
/// Throws: TypeError if a tensor is int64; ShapeError if the shapes differ.
void require_same_shape(const char* operation, const Tensor& input, const Tensor& target);
/// Checks the arguments of an elementwise loss and returns its reduction.
/// Throws: the errors of require_same_shape and of the options' check().
template <class Options>
Reduction prepare_terms(const char* operation, const Tensor& input, const Tensor& target,
                        const Options& options) {
  options.check();
  require_same_shape(operation, input, target);
  return checked_reduction(operation, options);
}
/// The terms, their sum, or the sum divided by `divisor` (default: their number).
[[nodiscard]] Tensor reduce_terms(const Tensor& terms, Reduction reduction,
                                  std::optional<double> divisor = std::nullopt);

}  // namespace retort::detail
