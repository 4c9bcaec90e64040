// The parts of the CSV reader: rows of a file, cells of a row, and the numbers of a cell. Internal.
#pragma once

#include <set>
#include <vector>

#include "retort/framework/data/csv.hpp"
#include "retort/framework/io/input_impl.hpp"

namespace retort::detail {

/// The rows of a file from first to last, read in pieces. The format is RFC 4180's: cells between delimiters,
/// quoted ones may contain delimiters, line ends and doubled quotes.
class CsvRows {
 public:
  CsvRows(const Input& input, char delimiter);
  /// Moves to the next row that is not empty; false at the end.
  bool next();
  std::string_view text() const { return text_; }  ///< without the line end; valid until next()
  std::uint64_t offset() const { return offset_; }
  std::int64_t line() const { return line_; }  ///< where the row begins, from 1

  /// Where the row at the beginning of `text` ends: at a line end outside of quotes, or, if no more text
  /// follows, at the end. npos if more text is needed.
  static std::size_t row_end(std::string_view text, char delimiter, bool is_whole);

 private:
  bool read_more();

  const Input& input_;
  char delimiter_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  // of what was not returned yet, in the buffer
  std::size_t end_ = 0;
  std::uint64_t read_ = 0;  // bytes of the file that were read
  std::string_view text_;
  std::uint64_t offset_ = 0;
  std::int64_t line_ = 1;
  std::int64_t next_line_ = 1;
};

struct CsvCell {
  std::string_view text;  // without quotes and the space around them; doubled quotes stay doubled
  std::int64_t line = 0;
  std::int64_t column = 0;  // from 0
  bool quoted = false;
};

/// Cuts a row into cells.
class CsvCells {
 public:
  CsvCells(const Input& input, std::string_view row, std::int64_t line, char delimiter)
      : input_(input), rest_(row), delimiter_(delimiter), line_(line) {}
  /// Takes the next cell; false at the end of the row.
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

/// Reads all of `text` as a number. What is too small for a T is 0.
template <class T>
bool parse_number(std::string_view text, T& value);

/// The columns of a table, what is learnt from its rows, and how a row becomes numbers.
class CsvTable {
 public:
  /// Reads the file once. Calls kept(row) for each row that is not left out.
  template <class Kept>
  CsvTable(const Input& input, const CsvOptions& options, Kept kept) : CsvTable(input, options) {
    for (CsvRows rows = first_row(); rows.next();)
      if (learn(rows)) kept(rows);
    finish();
  }

  const CsvOptions& options() const { return options_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t width() const { return width_; }  ///< of the inputs
  DType label_dtype() const;
  /// The rows after the header.
  CsvRows first_row() const;
  /// Writes the numbers of a row; false, with nothing useful written, for one that is left out.
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
    std::set<std::string, std::less<>> seen;  // the categories of the file, where they are learnt
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
  void find_label(std::int64_t named);
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
