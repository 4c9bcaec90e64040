// Tables in text files.
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

/// The treatment of missing cells.
enum class CsvMissing : std::uint8_t {
  error,     ///< an error, like any cell that is not a number
  nan,       ///< numbers become NaN, categories become "no category"
  mean,      ///< numbers become the mean of their column, categories become "no category"
  skip_row,  ///< the row is skipped
};

/// The treatment of a category that is not in the column's list.
enum class CsvUnknown : std::uint8_t {
  error,        ///< an error naming the category
  no_category,  ///< the one-hot columns are all 0, a code is -1
};

/// The encoding of a categorical column.
enum class CsvEncoding : std::uint8_t {
  one_hot,  ///< one column of 0 and 1 per category
  code,     ///< one column with the category's index in the list
};

/// A column of categories.
struct CsvCategorical {
  std::string column = {};  ///< its name, or its number from 0
  std::vector<std::string> categories =
      {};  ///< if empty: the categories in the file in alphabetical order, at most 1,000
  CsvEncoding encoding = CsvEncoding::one_hot;
};

/// The kind of the targets.
enum class CsvTarget : std::uint8_t {
  automatic,   ///< classes if every label is written as an integer, otherwise regression
  classes,     ///< int64
  regression,  ///< the element type of the inputs
};

struct CsvOptions {
  /// True if the first line names the columns. If absent, it is a header unless one of its cells is a number.
  std::optional<bool> header = {};
  std::int64_t label_column = -1;         ///< counted from 0, or from the end if negative
  std::string label_name = {};            ///< the label column by name instead; requires a header
  DType dtype = DType::float32;           ///< element type of the inputs: float32 or float64
  std::optional<DType> label_dtype = {};  ///< if absent, determined by `.target`
  char delimiter = ',';
  CsvTarget target = CsvTarget::automatic;
  CsvMissing missing = CsvMissing::error;
  /// The spellings of a missing cell. (`nan` is a number.)
  std::vector<std::string> missing_values = {"", "NA", "N/A", "null", "?"};
  /// If the label column is one of them, the targets are int64 codes.
  std::vector<CsvCategorical> categorical = {};
  CsvUnknown unknown = CsvUnknown::error;
  /// For CsvMissing::mean, one number per column of the file. If empty, the means of the columns in this
  /// file, which must then contain a value.
  std::vector<double> means = {};
  std::vector<std::string> columns = {};  ///< names that a header must not have in a different order
};

/// Reads a table: inputs [rows, columns - 1] (more with one-hot columns), targets [rows] from the label
/// column. Cells may be quoted and surrounded by spaces; a number too small for its type is 0. Lines end in
/// LF or CRLF, optional after the last; empty lines are skipped. A missing label is an error, or with
/// CsvMissing::skip_row its row is skipped.
/// Throws: IoError naming the file and, for an unreadable cell or a row of wrong length, line and column
/// (from 1), or all unknown categories; also if the file has no rows, a single column, or lacks a named
/// column or has it twice. TypeError if dtype is int64; ValueError if the delimiter is a quote or a line end.
Dataset load_csv(const std::string& path, const CsvOptions& options = {});
/// As load_csv, from text in memory; errors use `name` as the file name.
Dataset parse_csv(std::string_view text, const CsvOptions& options = {}, std::string_view name = "memory");

/// Returns the options with everything learnt from the file filled in: the names of the columns, the
/// categories of each categorical column and the means of the others. With the options of the training file,
/// a test file is read in the same way: `const CsvOptions fitted = fit_csv("train.csv", options);`.
CsvOptions fit_csv(const std::string& path, const CsvOptions& options = {});

/// A table that stays in its file, which may be larger than memory. The constructor reads the file once and
/// keeps eight bytes per row; fetch() reads the requested rows. The file must not change. Thread-safe.
class CsvSource : public RowSource {
 public:
  /// Throws: the errors of load_csv, except for cells that are not numbers, which fetch() reports.
  explicit CsvSource(const std::string& path, const CsvOptions& options = {});
  ~CsvSource() override;
  CsvSource(CsvSource&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  CsvSource& operator=(CsvSource&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }

  std::int64_t size() const override;
  Batch fetch(std::span<const std::int64_t> rows) const override;
  /// The options with everything learnt from the file, as returned by fit_csv.
  const CsvOptions& options() const;

 private:
  struct State;
  State* state_;  // owned
};

}  // namespace retort
