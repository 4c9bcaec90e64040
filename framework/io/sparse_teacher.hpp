// Sparse teachers in files.
#pragma once

#include <string>

#include "retort/framework/io/safetensors.hpp"
#include "retort/losses/sparse_distillation_loss.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Writes a sparse teacher as a safetensors file, completely or not at all. The file contains `indices`
/// (int32) and `log_probs` (float32, or float16 with FloatStorage::float16), both [..., K], and as metadata
/// `classes`, `temperature` and the given pairs. The tail is not stored; it is the remainder of each row.
///
/// Edge cases: float64 is rounded to float32. float16 has a relative error of at most 0.05 % per
/// log-probability.
/// Throws: ValueError if tensors are missing or do not fit together, a class is out of range or occurs twice
/// in a row, a log-probability is NaN or positive, a row's probabilities do not add up to 1, the temperature
/// is not positive, FloatStorage::bfloat16 is used, or the metadata has one of the two keys; IoError if
/// writing fails.
void save_sparse_teacher(const std::string& path, const SparseTeacher& teacher, const Metadata& metadata = {},
                         FloatStorage floats = FloatStorage::as_is);

/// Reads a file written by save_sparse_teacher(). The tail of each row is 1 minus the probabilities of its
/// stored classes, so that the row adds up to 1. `metadata`, if given, receives the additional pairs.
///
/// Edge cases: a tail of at most 2e-6 is treated as rounding and becomes 0 (log -inf). A row that exceeds 1
/// by rounding, or one with all classes that does not add up to 1, is scaled to 1. Other tensors in the file
/// are ignored.
/// Throws: IoError naming the file if save_sparse_teacher() would reject the contents, a tensor has a
/// different dtype, or it is not a valid safetensors file.
[[nodiscard]] SparseTeacher load_sparse_teacher(const std::string& path, Metadata* metadata = nullptr);

}  // namespace retort
