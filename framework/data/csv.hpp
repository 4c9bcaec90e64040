// Tables as text.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/framework/base/dtype.hpp"
#include "retort/framework/data/dataset.hpp"

namespace [[RETORT_EXPORT]] retort {

/// How a missing cell is treated.
enum class CsvMissing : std::uint8_t {
  error,     ///< it is an error, as any cell that is not a number
  nan,       ///< a number becomes NaN, a category becomes no category
  mean,      ///< a number becomes the mean of its column, a category becomes no category
  skip_row,  ///< the row is left out
};

/// How a category that is not in the column's list is treated.
enum class CsvUnknown : std::uint8_t {
  error,        ///< it is an error that names the category
  no_category,  ///< one-hot columns are all 0, a code is -1
};

/// How a categorical column becomes numbers.
enum class CsvEncoding : std::uint8_t {
  one_hot,  ///< one column of 0 and 1 per category
  code,     ///< one column that holds the category's place in the list, from 0
};

/// A column of categories instead of numbers.
struct CsvCategorical {
  std::string column = {};  ///< its name, or its number from 0
  std::vector<std::string> categories =
      {};  ///< empty: those of the file in alphabetical order, at most 1,000
  CsvEncoding encoding = CsvEncoding::one_hot;
};

/// The kind of the targets.
enum class CsvTarget : std::uint8_t {
  automatic,   ///< classes if every label is written as an integer, otherwise regression
  classes,     ///< int64
  regression,  ///< the element type of the inputs
};

struct CsvOptions {
  /// Whether the first line names the columns. Absent: it does when none of its cells is a number.
  std::optional<bool> header = {};
  std::int64_t label_column = -1;         ///< counted from 0, or from the end when negative
  std::string label_name = {};            ///< names the label column instead; needs a header
  DType dtype = DType::float32;           ///< of the inputs: float32 or float64
  std::optional<DType> label_dtype = {};  ///< absent: `.target` decides
  char delimiter = ',';
  CsvTarget target = CsvTarget::automatic;
  CsvMissing missing = CsvMissing::error;
  /// The spellings of a missing cell. (`nan` is a number.)
  std::vector<std::string> missing_values = {"", "NA", "N/A", "null", "?"};
  /// The label column may be one of them: its targets are codes, int64.
  std::vector<CsvCategorical> categorical = {};
  CsvUnknown unknown = CsvUnknown::error;
  /// For CsvMissing::mean, the number for each column of the file; empty: the mean of the column in this
  /// file, which must then have a value.
  std::vector<double> means = {};
};

/// Reads a table: inputs [rows, columns - 1] (more with one-hot columns), targets [rows] from the label
/// column. Cells may be quoted and have spaces around them; a number too small for its type is 0; lines end
/// in LF or CRLF, the last one or not; empty lines are skipped. A missing label is an error, or leaves out
/// its row with CsvMissing::skip_row.
/// Throws: IoError that names the file and, for a cell that cannot be read or a row of another length, line
/// and column (from 1), for unknown categories all of them; also for a file without rows or with one column,
/// and a column that is not in the file. TypeError for int64 inputs; ValueError for a delimiter that is a
/// quote or a line end.
Dataset load_csv(const std::string& path, const CsvOptions& options = {});
/// The same from text in memory; messages give `name` as the file.
Dataset parse_csv(std::string_view text, const CsvOptions& options = {}, std::string_view name = "memory");

/// The options with everything that is learnt from the file filled in: the categories of each categorical
/// column and the means of the others. With the options of the training file, a test file is read in the same
/// way: `const CsvOptions fitted = fit_csv("train.csv", options);`.
CsvOptions fit_csv(const std::string& path, const CsvOptions& options = {});

/// A table that stays in its file, which may be larger than memory. The constructor reads the file once and
/// keeps eight bytes per row; fetch() reads the rows that it is asked for. The file must not change
/// meanwhile. May be used by several threads at the same time.
class CsvSource : public RowSource {
 public:
  /// Throws: as load_csv, but for cells that are not numbers, which fetch() finds.
  explicit CsvSource(const std::string& path, const CsvOptions& options = {});
  ~CsvSource() override;
  CsvSource(CsvSource&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  CsvSource& operator=(CsvSource&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }

  std::int64_t size() const override;
  Batch fetch(std::span<const std::int64_t> rows) const override;
  /// The options with everything that was learnt from the file, as fit_csv returns them.
  const CsvOptions& options() const;

 private:
  struct State;
  State* state_;  // owned
};

}  // namespace retort
