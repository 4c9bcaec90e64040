// Tables of numbers as text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "retort/framework/base/dtype.hpp"
#include "retort/framework/data/dataset.hpp"

namespace retort {

struct CsvOptions {
  /// Whether the first line names the columns. Absent: it does when none of its cells is a number.
  std::optional<bool> header = {};
  std::int64_t label_column = -1;  ///< counted from 0, or from the end when negative
  std::string label_name = {};     ///< names the label column instead; needs a header
  DType dtype = DType::float32;    ///< of the inputs: float32 or float64
  std::optional<DType> label_dtype =
      {};  ///< absent: int64 when every label is written as an integer, else `dtype`
  char delimiter = ',';
};

/// Reads a table of numbers: inputs [rows, columns - 1], targets [rows] from the label column. Cells may be
/// quoted and have spaces around them; a number too small for its type is 0; lines end in LF or CRLF, the
/// last one or not; empty lines are skipped.
/// IoError that names the file and, for a cell that isn't a number or a row of another length, line and
/// column (from 1); also for a file without rows or with one column, and a label column that isn't there.
/// TypeError for int64 inputs, ValueError for a delimiter that is a quote or a line end.
Dataset load_csv(const std::string& path, const CsvOptions& options = {});
/// The same from text in memory; `name` stands for the file in messages.
Dataset parse_csv(std::string_view text, const CsvOptions& options = {}, std::string_view name = "memory");

}  // namespace retort
