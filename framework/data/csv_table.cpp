#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "retort/framework/base/counted.hpp"

#include "retort/framework/data/csv_impl.hpp"

namespace retort::detail {
namespace {

constexpr std::size_t most_categories = 1000;  // learnt from a file, per column
constexpr std::size_t most_unknown = 8;        // named in a message

// Returns true if a decimal number out of the range of its type is too small rather than too large.
bool is_tiny(std::string_view text) {
  const std::size_t e = std::min(text.find_first_of("eE"), text.size());
  std::int64_t exponent = 0;
  if (e < text.size()) {
    std::string_view digits = text.substr(e + 1);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
    // The exponent has too many digits for the mantissa to compensate.
    if (error != std::errc()) return digits.starts_with('-');
  }
  const std::string_view number = text.substr(0, e);
  const std::size_t first = std::min(number.find_first_of("123456789"), number.size());
  const std::size_t point = std::min(number.find('.'), number.size());
  return exponent < static_cast<std::int64_t>(first) - static_cast<std::int64_t>(point);
}

// Labels requested as int64 may be written as 3.0.
bool parse_label(std::string_view text, std::int64_t& value) {
  if (parse_number(text, value)) return true;
  double number = 0;
  if (!parse_number(text, number) || std::trunc(number) != number || std::abs(number) > 0x1p53) return false;
  value = static_cast<std::int64_t>(number);
  return true;
}

// Returns true for a number beyond the range of its type; for int64, only if it has no fraction.
bool is_too_large(std::string_view text, DType dtype) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (end != text.data() + text.size() || text.empty()) return false;
  if (error == std::errc::result_out_of_range) return !is_tiny(text);
  if (error != std::errc() || !std::isfinite(number)) return false;
  return dtype == DType::float32 ? std::abs(number) > std::numeric_limits<float>::max()
                                 : dtype == DType::int64 && std::trunc(number) == number;
}

std::string shown_delimiter(std::string_view character) {
  return character == "\t" ? "a tab" : message("'{}'", character);
}

// The text of a category or a column name.
std::string unquoted(const CsvCell& cell) {
  std::string text(cell.text);
  if (cell.quoted)
    for (std::size_t i = 0; (i = text.find("\"\"", i)) != std::string::npos; ++i) text.erase(i, 1);
  return text;
}

}  // namespace

template <class T>
bool parse_number(std::string_view text, T& value) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size()) return false;
  if constexpr (std::is_floating_point_v<T>) {
    if (error == std::errc::result_out_of_range && is_tiny(text)) {
      value = text.starts_with('-') ? -T{0} : T{0};
      return true;
    }
  }
  return error == std::errc();
}

CsvTable::CsvTable(const Input& input, const CsvOptions& options) : input_(input), options_(options) {
  if (!is_floating_point(options.dtype))
    throw TypeError(message("{}: dtype is int64; inputs are float32 or float64", input.operation()));
  if (std::string_view("\"\r\n").find(options.delimiter) != std::string_view::npos)
    throw ValueError(message("{}: the delimiter cannot be a quote or a line end", input.operation()));
  describe();
}

// Determines columns, header and label column from the first row.
void CsvTable::describe() {
  bool has_number = false;
  CsvRows rows(input_, options_.delimiter);
  if (!rows.next()) input_.fail("has no rows");
  CsvCells cells(input_, rows.text(), rows.line(), options_.delimiter);
  for (CsvCell cell; cells.next(cell);) {
    double number = 0;
    has_number = has_number || parse_number(cell.text, number);
    columns_.emplace_back().name = unquoted(cell);
  }
  if (columns_.size() == 1) fail_single(rows.text());
  header_ = options_.header.value_or(!has_number);
  if (!header_)
    for (Column& column : columns_) column.name.clear();
  else
    check_names();
  find_label();
  find_categorical();
  learns_means_ = options_.missing == CsvMissing::mean && options_.means.empty();
  if (!options_.means.empty() && options_.means.size() != columns_.size())
    input_.fail("has {}, but {} means are given", detail::counted(columns_.size(), "column"),
                options_.means.size());
}

// Keeps the header in the options, or compares it with theirs. A column may be renamed, but not moved.
void CsvTable::check_names() {
  std::vector<std::string> names;
  for (const Column& column : columns_) names.push_back(column.name);
  if (options_.columns.empty()) options_.columns = names;
  if (names.size() != options_.columns.size())
    input_.fail("has {}, but {} names are given in .columns", detail::counted(names.size(), "column"),
                options_.columns.size());
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] != options_.columns[i] &&
        std::ranges::find(options_.columns, names[i]) != options_.columns.end())
      input_.fail("column {} is {}, not {}; the columns must be in the order of .columns", i + 1,
                  shown_name(names[i]), shown_name(options_.columns[i]));
}

// Names the character of the row that may be the delimiter.
void CsvTable::fail_single(std::string_view row) const {
  const std::string_view given(&options_.delimiter, 1);
  const std::size_t other = row.find_first_of(";\t|,:");
  input_.fail("has one column only; inputs and a label are needed (.delimiter is {}{})",
              shown_delimiter(given),
              other == row.npos ? "" : ", but line 1 contains " + shown_delimiter(row.substr(other, 1)));
}

std::string CsvTable::names_of_columns() const {
  constexpr std::size_t most = 20;
  std::string names;
  for (std::size_t i = 0; i < std::min(columns_.size(), most); ++i)
    names += (i > 0 ? ", " : "") + shown_name(columns_[i].name);
  return names + (columns_.size() > most ? " and others" : "");
}

// Refuses a name that two columns have.
void CsvTable::check_once(const std::string& name) const {
  const auto first = std::ranges::find(columns_, name, &Column::name);
  if (first == columns_.end()) return;
  const auto second = std::ranges::find(first + 1, columns_.end(), name, &Column::name);
  if (second != columns_.end())
    input_.fail("has the column {} twice, at {} and {} (from 0); give the number instead", shown_name(name),
                first - columns_.begin(), second - columns_.begin());
}

void CsvTable::find_label() {
  const auto columns = static_cast<std::int64_t>(columns_.size());
  if (options_.label_name.empty()) {
    label_ = options_.label_column + (options_.label_column < 0 ? columns : 0);
    if (label_ < 0 || label_ >= columns)
      input_.fail("has {}, but the label column is {}", detail::counted(columns, "column"),
                  options_.label_column);
  } else {
    if (!header_)
      input_.fail("has no header, but the label column is given by name: {}",
                  shown_name(options_.label_name));
    check_once(options_.label_name);
    label_ = std::ranges::find(columns_, options_.label_name, &Column::name) - columns_.begin();
    if (label_ == columns)
      input_.fail("has no column {}; its columns are {}", shown_name(options_.label_name),
                  names_of_columns());
  }
}

void CsvTable::find_categorical() {
  for (CsvCategorical& each : options_.categorical) {
    if (header_) check_once(each.column);
    auto found = std::ranges::find(columns_, each.column, &Column::name);
    std::size_t number = 0;
    if ((!header_ || found == columns_.end()) && parse_number(each.column, number))
      found = columns_.begin() + static_cast<std::ptrdiff_t>(std::min(number, columns_.size()));
    if (found == columns_.end())
      input_.fail("has no column {}; its columns are {}", shown_name(each.column),
                  header_ ? names_of_columns() : message("numbered from 0 to {}", columns_.size() - 1));
    if (found->categorical) input_.fail("the column {} is categorical twice", shown_name(each.column));
    found->categorical = &each;
    index_categories(*found);
  }
}

void CsvTable::index_categories(Column& column) {
  std::int64_t code = 0;
  for (const std::string& category : column.categorical->categories)
    column.codes.emplace_back(category, code++);
  std::ranges::sort(column.codes);
  const auto twice =
      std::ranges::adjacent_find(column.codes, {}, &std::pair<std::string, std::int64_t>::first);
  if (twice != column.codes.end())
    throw ValueError(message("{}: the category {} of column {} is given twice", input_.operation(),
                             shown_name(twice->first), shown_name(column.categorical->column)));
}

CsvRows CsvTable::first_row() const {
  CsvRows rows(input_, options_.delimiter);
  if (header_) rows.next();
  return rows;
}

bool CsvTable::is_missing(const CsvCell& cell) const {
  return options_.missing != CsvMissing::error &&
         std::ranges::find(options_.missing_values, cell.text) != options_.missing_values.end();
}

// The index of the cell's category in the column's list, or -1.
std::int64_t CsvTable::code_of(const Column& column, const CsvCell& cell) const {
  const auto find = [&](std::string_view text) {
    const auto found = std::ranges::lower_bound(
        column.codes, text, {}, [](const auto& entry) -> std::string_view { return entry.first; });
    return found != column.codes.end() && found->first == text ? found->second : -1;
  };
  const bool doubled = cell.quoted && cell.text.find('"') != std::string_view::npos;
  return doubled ? find(unquoted(cell)) : find(cell.text);
}

// Processes one row of the first pass. Returns false for a skipped row.
bool CsvTable::learn(const CsvRows& row) {
  const auto for_each_cell = [&](auto visit) {
    CsvCells cells(input_, row.text(), row.line(), options_.delimiter);
    CsvCell cell;
    while (cells.next(cell)) {
      if (cell.column < static_cast<std::int64_t>(columns_.size()))
        visit(cell, columns_[static_cast<std::size_t>(cell.column)]);
    }
    if (cell.column + 1 != static_cast<std::int64_t>(columns_.size()))
      input_.fail("line {} has {} column{} instead of {}", cell.line, cell.column + 1,
                  cell.column == 0 ? "" : "s", columns_.size());
  };
  bool skipped = false;
  if (options_.missing == CsvMissing::skip_row)
    for_each_cell([&](const CsvCell& cell, const Column&) { skipped = skipped || is_missing(cell); });
  if (skipped) return false;
  for_each_cell([&](const CsvCell& cell, Column& column) {
    const bool is_label = cell.column == label_;
    if (column.categorical) {
      if (!is_missing(cell)) learn_category(column, cell);
    } else if (is_label) {
      std::int64_t integer = 0;
      integer_labels_ = integer_labels_ && parse_number(cell.text, integer);
    } else if (double number = 0; learns_means_ && !is_missing(cell)) {
      if (!parse_number(cell.text, number)) fail_cell(cell, "a number");
      column.sum += number;
      ++column.count;
    }
  });
  ++rows_;
  return true;
}

void CsvTable::learn_category(Column& column, const CsvCell& cell) {
  if (column.codes.empty()) {
    if (column.seen.contains(cell.text)) return;
    column.seen.insert(unquoted(cell));
    if (column.seen.size() > most_categories)
      input_.fail("the column {} has more than {} categories; list those that count in .categories",
                  shown_name(column.categorical->column), most_categories);
  } else if (options_.unknown == CsvUnknown::error && code_of(column, cell) < 0 &&
             unknown_.size() <= most_unknown) {
    std::string name =
        message("{} in the column {}", shown_name(unquoted(cell)), shown_name(column.categorical->column));
    if (std::ranges::find(unknown_, name, &Unknown::name) == unknown_.end())
      unknown_.push_back({std::move(name), cell.line});
  }
}

void CsvTable::finish() {
  if (!unknown_.empty()) {
    std::string names;
    for (std::size_t i = 0; i < std::min(unknown_.size(), most_unknown); ++i)
      names += message("{}{} (line {})", i > 0 ? ", " : "", unknown_[i].name, unknown_[i].line);
    input_.fail("has unknown categories: {}{}", names, unknown_.size() > most_unknown ? " and others" : "");
  }
  if (rows_ == 0) input_.fail("has no rows");
  if (learns_means_) options_.means.resize(columns_.size());
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    Column& column = columns_[i];
    const auto shown = [&] {
      return message("{}{}{}", i + 1, header_ ? " " : "", header_ ? shown_name(column.name) : "");
    };
    if (column.categorical && column.codes.empty()) {
      if (column.seen.empty())
        input_.fail("column {} has no values to take categories from; leave it out or give .categories",
                    shown());
      column.categorical->categories.assign(column.seen.begin(), column.seen.end());
      index_categories(column);
      column.seen.clear();
    }
    if (static_cast<std::int64_t>(i) == label_) continue;
    if (learns_means_ && !column.categorical) {
      if (column.count == 0)
        input_.fail("column {} has no values to take a mean of; leave it out or give .means", shown());
      options_.means[i] = column.sum / static_cast<double>(column.count);
    }
    const bool one_hot = column.categorical && column.categorical->encoding == CsvEncoding::one_hot;
    width_ += one_hot ? static_cast<std::int64_t>(column.codes.size()) : 1;
  }
}

DType CsvTable::label_dtype() const {
  if (columns_[static_cast<std::size_t>(label_)].categorical) return DType::int64;
  if (options_.label_dtype) return *options_.label_dtype;
  if (options_.target == CsvTarget::automatic) return integer_labels_ ? DType::int64 : options_.dtype;
  return options_.target == CsvTarget::classes ? DType::int64 : options_.dtype;
}

void CsvTable::fail_cell(const CsvCell& cell, std::string_view wanted) const {
  const std::string& name = columns_[static_cast<std::size_t>(cell.column)].name;
  const bool first_row = !header_ && cell.line == 1;
  const bool missing = std::ranges::find(options_.missing_values, cell.text) != options_.missing_values.end();
  const bool is_text = !cell.text.empty() && std::isalpha(static_cast<unsigned char>(cell.text.front())) != 0;
  const bool is_input = cell.column != label_ && wanted == "a number";
  const std::string column =
      message("{}{}{}", cell.column + 1, header_ ? " " : "", header_ ? shown_name(name) : "");
  if (cell.column == label_ && missing)
    input_.fail("line {}, column {}: the label is missing; CsvMissing::skip_row leaves such rows out",
                cell.line, column);
  const DType dtype = cell.column == label_ ? label_dtype() : options_.dtype;
  if (wanted != "a known category" && is_too_large(cell.text, dtype))
    input_.fail("line {}, column {}: {} is too large for {}", cell.line, column, shown_name(cell.text),
                dtype);
  const char* const hint = first_row             ? " (set .header = true if line 1 names the columns)"
                           : is_input && missing ? " (missing cells are treated as .missing specifies)"
                           : is_input && is_text ? " (columns of text are listed in .categorical)"
                                                 : "";
  input_.fail("line {}, column {}: {} is not {}{}", cell.line, column, shown_name(cell.text), wanted, hint);
}

template <class T>
T* CsvTable::encode_input(const Column& column, const CsvCell& cell, T* out) const {
  if (column.categorical) {
    const std::int64_t code = is_missing(cell) ? -1 : code_of(column, cell);
    if (code < 0 && !is_missing(cell) && options_.unknown == CsvUnknown::error)
      fail_cell(cell, "a known category");
    if (column.categorical->encoding == CsvEncoding::code) {
      *out = static_cast<T>(code);
      return out + 1;
    }
    for (std::size_t i = 0; i < column.codes.size(); ++i)
      *out++ = static_cast<T>(static_cast<std::int64_t>(i) == code);
    return out;
  }
  if (is_missing(cell)) {
    *out = options_.missing == CsvMissing::mean
               ? static_cast<T>(options_.means[static_cast<std::size_t>(cell.column)])
               : std::numeric_limits<T>::quiet_NaN();
  } else if (!parse_number(cell.text, *out)) {
    fail_cell(cell, "a number");
  }
  return out + 1;
}

template <class L>
void CsvTable::encode_label(const Column& column, const CsvCell& cell, L& label) const {
  if (column.categorical) {
    const std::int64_t code = code_of(column, cell);
    if (code < 0) fail_cell(cell, "a known category");
    label = static_cast<L>(code);
  } else if constexpr (std::is_same_v<L, std::int64_t>) {
    if (!parse_label(cell.text, label)) fail_cell(cell, "an integer");
  } else {
    if (!parse_number(cell.text, label)) fail_cell(cell, "a number");
  }
}

template <class T, class L>
bool CsvTable::encode(std::string_view row, std::int64_t line, T* inputs, L& label) const {
  CsvCells cells(input_, row, line, options_.delimiter);
  CsvCell cell;
  while (cells.next(cell)) {
    if (cell.column == static_cast<std::int64_t>(columns_.size())) break;
    if (options_.missing == CsvMissing::skip_row && is_missing(cell)) return false;
    const Column& column = columns_[static_cast<std::size_t>(cell.column)];
    if (cell.column == label_) {
      encode_label(column, cell, label);
    } else {
      inputs = encode_input(column, cell, inputs);
    }
  }
  if (cell.column + 1 != static_cast<std::int64_t>(columns_.size()))
    input_.fail("line {} has {} column{} instead of {}", cell.line, cell.column + 1,
                cell.column == 0 ? "" : "s", columns_.size());
  return true;
}

#define RETORT_ENCODE(T, L) \
  template bool CsvTable::encode<T, L>(std::string_view, std::int64_t, T*, L&) const;
RETORT_ENCODE(float, float)
RETORT_ENCODE(float, double)
RETORT_ENCODE(float, std::int64_t)
RETORT_ENCODE(double, float)
RETORT_ENCODE(double, double)
RETORT_ENCODE(double, std::int64_t)
#undef RETORT_ENCODE

}  // namespace retort::detail
