// The rows of a sparse teacher, checked and put in the order that the kernel reads.
#pragma once

#include "retort/losses/sparse_distillation_loss.hpp"

namespace retort::detail {

/// Throws: ValueError for a tensor that is missing or a temperature that is not above 0, TypeError.
void check_sparse_tensors(const char* operation, const SparseTeacher& teacher);
/// Throws: as check_sparse_tensors, and ShapeError unless the teacher has the classes and the rows of the
/// student's logits.
void check_sparse_teacher(const char* operation, const SparseTeacher& teacher, const Shape& logits);

/// The teacher with rows flattened to [count, K], in `dtype`, without history, the kept classes of each row
/// in ascending order. A row that the mask [count] leaves out has the classes 0 … K-1 with
/// log-probabilities of 0.
/// Throws: IndexError for a class out of range; ValueError for one that occurs twice, and for a
/// log-probability or tail of NaN or +inf, in a row that counts.
SparseTeacher prepare_sparse_teacher(const char* operation, const SparseTeacher& teacher, Index count,
                                     DType dtype, const Tensor& mask);

}  // namespace retort::detail
