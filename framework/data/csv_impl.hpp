// Parts of the CSV reader: the rows of a file, the cells of a row, and the numbers in cells. Internal.
#pragma once

#include <set>
#include <vector>

#include "retort/framework/data/csv.hpp"
#include "retort/framework/io/input_impl.hpp"

namespace retort::detail {

/// The rows of a file in order, read in pieces. The format is RFC 4180: cells between delimiters; quoted
/// cells may contain delimiters, line ends and doubled quotes.
class CsvRows {
 public:
  CsvRows(const Input& input, char delimiter);
  /// Moves to the next non-empty row. Returns false at the end.
  bool next();
  std::string_view text() const { return text_; }  ///< without the line end; valid until next()
  std::uint64_t offset() const { return offset_; }
  std::int64_t line() const { return line_; }  ///< first line of the row, from 1

  /// Returns the end of the row at the beginning of `text`: a line end outside of quotes, or, if no more text
  /// follows, the end of the text. npos if more text is needed.
  static std::size_t row_end(std::string_view text, char delimiter, bool is_whole);

 private:
  bool read_more();

  const Input& input_;
  char delimiter_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  // start of the rows not returned yet, in the buffer
  std::size_t end_ = 0;
  std::uint64_t read_ = 0;  // bytes of the file read so far
  std::string_view text_;
  std::uint64_t offset_ = 0;
  std::int64_t line_ = 1;
  std::int64_t next_line_ = 1;
};

struct CsvCell {
  std::string_view text;  // without quotes and surrounding spaces; doubled quotes stay doubled
  std::int64_t line = 0;
  std::int64_t column = 0;  // from 0
  bool quoted = false;
};

/// Splits a row into cells.
class CsvCells {
 public:
  CsvCells(const Input& input, std::string_view row, std::int64_t line, char delimiter)
      : input_(input), rest_(row), delimiter_(delimiter), line_(line) {}
  /// Reads the next cell. Returns false at the end of the row.
  bool next(CsvCell& cell);

 private:
  std::string_view take_plain();
  std::string_view take_quoted(const CsvCell& cell);
  std::string_view without_space(std::string_view text) const;

  const Input& input_;
  std::string_view rest_;
  char delimiter_;
  std::int64_t line_;
  std::int64_t column_ = 0;
  bool ended_ = false;
};

bool is_csv_space(char c, char delimiter);

/// Parses all of `text` as a number. A number too small for a T is 0.
template <class T>
bool parse_number(std::string_view text, T& value);

/// The columns of a table, the values learnt from its rows, and the conversion of rows to numbers.
class CsvTable {
 public:
  /// Reads the file once. Calls kept(row) for each row that is not skipped.
  template <class Kept>
  CsvTable(const Input& input, const CsvOptions& options, Kept kept) : CsvTable(input, options) {
    for (CsvRows rows = first_row(); rows.next();)
      if (learn(rows)) kept(rows);
    finish();
  }

  const CsvOptions& options() const { return options_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t width() const { return width_; }  ///< number of input columns
  DType label_dtype() const;
  /// The rows after the header.
  CsvRows first_row() const;
  /// Writes the numbers of a row. Returns false, with undefined contents, for a skipped row.
  template <class T, class L>
  bool encode(std::string_view row, std::int64_t line, T* inputs, L& label) const;
  /// Calls f(zero of the inputs' type, zero of the labels' type).
  template <class F>
  decltype(auto) visit(F f) const {
    return visit_floating(options_.dtype, [&](auto input_zero) {
      return visit_dtype(label_dtype(), [&](auto label_zero) { return f(input_zero, label_zero); });
    });
  }

 private:
  struct Column {
    std::string name;
    CsvCategorical* categorical = nullptr;                    // in options_
    std::vector<std::pair<std::string, std::int64_t>> codes;  // of its categories, sorted
    std::set<std::string, std::less<>> seen;  // the categories of the file, if they are learnt
    double sum = 0;
    std::int64_t count = 0;
  };

  // A category that is not in its column's list.
  struct Unknown {
    std::string name;  // with the column
    std::int64_t line;
  };

  CsvTable(const Input& input, const CsvOptions& options);
  CsvTable(const CsvTable&) = delete;
  CsvTable& operator=(const CsvTable&) = delete;
  void describe();
  void check_names();
  [[noreturn]] void fail_single(std::string_view row) const;
  std::string names_of_columns() const;
  void check_once(const std::string& name) const;
  void find_label();
  void find_categorical();
  bool learn(const CsvRows& row);
  void learn_category(Column& column, const CsvCell& cell);
  void finish();
  void index_categories(Column& column);
  bool is_missing(const CsvCell& cell) const;
  std::int64_t code_of(const Column& column, const CsvCell& cell) const;
  template <class T>
  T* encode_input(const Column& column, const CsvCell& cell, T* out) const;
  template <class L>
  void encode_label(const Column& column, const CsvCell& cell, L& label) const;
  [[noreturn]] void fail_cell(const CsvCell& cell, std::string_view wanted) const;

  const Input& input_;
  CsvOptions options_;
  std::vector<Column> columns_;
  bool header_ = false;
  bool learns_means_ = false;
  std::int64_t label_ = 0;
  std::int64_t rows_ = 0;
  std::int64_t width_ = 0;
  bool integer_labels_ = true;
  std::vector<Unknown> unknown_;
};

}  // namespace retort::detail
