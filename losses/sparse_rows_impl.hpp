// The rows of a sparse teacher, checked and in the order that the kernel reads.
#pragma once

#include "retort/losses/sparse_distillation_loss.hpp"

namespace retort::detail {

/// Throws: ValueError if a tensor is missing or the temperature is not positive; TypeError.
void check_sparse_tensors(const char* operation, const SparseTeacher& teacher);
/// Throws: the errors of check_sparse_tensors; ShapeError unless the teacher has the classes and rows of the
/// student's logits.
void check_sparse_teacher(const char* operation, const SparseTeacher& teacher, const Shape& logits);

/// Returns the teacher with rows flattened to [count, K], in `dtype`, without history, with the classes of
/// each row in ascending order. Rows excluded by the mask [count] have the classes 0 … K-1 with
/// log-probabilities of 0.
/// Throws: IndexError if a class is out of range; ValueError if one occurs twice in an included row.
SparseTeacher prepare_sparse_teacher(const char* operation, const SparseTeacher& teacher, Index count,
                                     DType dtype, const Tensor& mask);

}  // namespace retort::detail
