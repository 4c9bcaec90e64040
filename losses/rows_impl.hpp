// Rows of classes: the labels, class weights and masks of all classification losses, checked and counted in
// one place.
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
  Tensor weight = {};                      ///< of each class [C]; undefined for 1
  std::optional<Index> ignore_index = {};  ///< rows with this label do not count
  Tensor mask = {};                        ///< int64 0 or 1: rows that count; undefined for all
  Tensor row_weight = {};                  ///< of each row; undefined for 1
  bool read_labels = true;                 ///< false: labels may have any value, or be left out
};

/// Rows [N, d…] of an input [N, C, d…] whose dimension `dim` holds the classes.
struct ClassRows {
  Tensor labels;       ///< int64; of any value in a row that does not count
  Tensor mask;         ///< int64 0 or 1; undefined if every row counts
  Tensor weight;       ///< of each row, in the input's type, 0 if it does not count; undefined for 1
  Index counted = 0;   ///< number of rows that count
  double divisor = 0;  ///< sum of their weights
};

/// Throws: TypeError, ShapeError, ValueError for a mask other than 0 and 1, and IndexError for a label
/// outside [0, C) in a row that counts.
ClassRows prepare_rows(const char* operation, const Shape& input, DType dtype, std::size_t dim,
                       const Tensor& labels, const RowOptions& options);

/// Throws: ShapeError unless `weight` is undefined or has shape [C]; TypeError for int64.
void check_class_weight(const char* operation, const Tensor& weight, const Shape& input, std::size_t dim);

/// The dimension of the classes: 1, or 0 if the input has one dimension. Throws: ShapeError for shape ().
std::size_t class_dim(const char* operation, const Tensor& input);

/// Shape of the rows of an input whose classes are dimension `dim`.
inline Shape row_shape(Shape input, std::size_t dim) {
  input.erase(input.begin() + static_cast<std::ptrdiff_t>(dim));
  return input;
}

/// `terms`, exactly 0 (as are all derivatives) in rows that do not count.
[[nodiscard]] Tensor counted_terms(const Tensor& terms, const ClassRows& rows);

/// Weighted negative log-likelihoods of the labels, reduced.
[[nodiscard]] Tensor nll_of_rows(const Tensor& log_probabilities, std::size_t dim, const ClassRows& rows,
                                 Reduction reduction);

/// Throws: ValueError for a temperature, alpha or reduction out of range.
void check_distillation_options(const char* operation, const DistillationLossOptions& options);
/// prepare_rows of logits [..., C]. Throws: ValueError too if labels with a share in the loss are missing.
/// If the weights of a batchmean add up to 0, no row counts.
ClassRows distillation_rows(const char* operation, const Shape& logits, DType dtype, const Tensor& labels,
                            const Tensor& mask, const Tensor& weight, const DistillationLossOptions& options);
/// The factor of the sum over rows: the inverse of the sum of weights for batchmean, otherwise 1.
double row_scale(Reduction reduction, const ClassRows& rows);
bool all_finite(const Tensor& x);

/// The reduction after the deprecated arguments have had their say; warns about them.
Reduction resolve_reduction(std::optional<bool> size_average, std::optional<bool> reduce,
                            Reduction reduction);
/// Throws: ValueError for batchmean, on behalf of a loss without it.
void refuse_batchmean(const char* operation, Reduction reduction);
/// The reduction that options ask for. Throws: as refuse_batchmean.
template <class Options>
Reduction checked_reduction(const char* operation, const Options& options) {
  Reduction reduction = options.reduction;
  if constexpr (requires { options.reduce; })
    reduction = resolve_reduction(options.size_average, options.reduce, reduction);
  refuse_batchmean(operation, reduction);
  return reduction;
}
/// Throws: TypeError for int64, ShapeError if the shapes differ.
void require_same_shape(const char* operation, const Tensor& input, const Tensor& target);
/// Checks the arguments of a loss of pairs of elements and returns its reduction.
/// Throws: as require_same_shape and the options' check().
template <class Options>
Reduction prepare_terms(const char* operation, const Tensor& input, const Tensor& target,
                        const Options& options) {
  options.check();
  require_same_shape(operation, input, target);
  return checked_reduction(operation, options);
}
/// The terms, their sum, or the sum divided by `divisor` (by their number, if absent).
[[nodiscard]] Tensor reduce_terms(const Tensor& terms, Reduction reduction,
                                  std::optional<double> divisor = std::nullopt);

}  // namespace retort::detail
