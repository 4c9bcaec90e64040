// Sparse teachers in files.
#pragma once

#include <string>

#include "retort/framework/io/safetensors.hpp"
#include "retort/losses/sparse_distillation_loss.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Writes a sparse teacher as a safetensors file, which is there as a whole or not at all. The file holds
/// `indices` (int32) and `log_probs` (float32, or float16 with FloatStorage::float16), both [..., K], and
/// in its metadata `classes`, `temperature` and the pairs given. The tail is not stored: it is the rest of
/// each row.
///
/// Edge cases: float64 is rounded to float32. float16 has an error of at most 0.05 % of each
/// log-probability.
/// Throws: ValueError for tensors that are missing or do not fit together, classes out of range or given
/// twice in a row, log-probabilities that are NaN or above 0, a row whose probabilities do not add up to 1,
/// a temperature that is not above 0, FloatStorage::bfloat16, or metadata that has one of the two keys;
/// IoError when writing fails.
void save_sparse_teacher(const std::string& path, const SparseTeacher& teacher, const Metadata& metadata = {},
                         FloatStorage floats = FloatStorage::as_is);

/// Reads such a file. The tail of each row is 1 less the probabilities of its kept classes, so that the row
/// adds up to 1. `metadata`, when given, receives the pairs that were given to save_sparse_teacher().
///
/// Edge cases: a tail of at most 2e-6 counts as rounding and becomes 0 (log -inf). A row in which rounding
/// left more than 1, or one with all classes that does not add up to 1, is scaled to 1. Other tensors in
/// the file are ignored.
/// Throws: IoError that names the file for everything that save_sparse_teacher() refuses, a tensor of
/// another dtype, and whatever is not a safetensors file.
[[nodiscard]] SparseTeacher load_sparse_teacher(const std::string& path, Metadata* metadata = nullptr);

}  // namespace retort
