// The format is RFC 4180's: cells between delimiters, quoted ones may contain delimiters, line ends and
// doubled quotes. The text is walked twice, once to count and check rows, once to read numbers into their
// place, so that memory stays near what the numbers need.
#include "retort/framework/data/csv.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <new>
#include <span>
#include <type_traits>

#include "retort/framework/base/error.hpp"
#include "retort/framework/io/input_impl.hpp"

namespace retort {
namespace {

using detail::Input;
using detail::shown_name;

// Whether a decimal number that does not fit into its type is too small for it rather than too large.
bool is_tiny(std::string_view text) {
  const std::size_t e = std::min(text.find_first_of("eE"), text.size());
  std::int64_t exponent = 0;
  if (e < text.size()) {
    std::string_view digits = text.substr(e + 1);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
    if (error != std::errc()) return digits.starts_with('-');  // more digits than any text makes up for
  }
  const std::string_view number = text.substr(0, e);
  const std::size_t first = std::min(number.find_first_of("123456789"), number.size());
  const std::size_t point = std::min(number.find('.'), number.size());
  return exponent < static_cast<std::int64_t>(first) - static_cast<std::int64_t>(point);
}

// Reads all of `text` as a number. What is too small for a T is 0.
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

// Labels that are asked for as int64 may be written 3.0.
bool parse_label(std::string_view text, std::int64_t& value) {
  if (parse_number(text, value)) return true;
  double number = 0;
  if (!parse_number(text, number) || std::trunc(number) != number || std::abs(number) > 0x1p53) return false;
  value = static_cast<std::int64_t>(number);
  return true;
}

struct Cell {
  std::string_view text;  // without quotes and space around them; doubled quotes stay doubled
  std::int64_t line = 0;
  std::int64_t column = 0;  // from 0
};

// Cuts text into cells, from left to right.
class Scanner {
 public:
  Scanner(const Input& input, std::string_view text, char delimiter)
      : input_(input), rest_(text), delimiter_(delimiter) {
    if (rest_.starts_with("\xEF\xBB\xBF")) rest_.remove_prefix(3);  // a byte order mark
  }

  // Goes to the beginning of the next line that isn't empty; false at the end.
  bool next_row() {
    column_ = 0;
    while (!rest_.empty() && (rest_[0] == '\n' || rest_.starts_with("\r\n") || rest_ == "\r")) end_line();
    return !rest_.empty();
  }

  // Takes one cell; `last` says whether it ends its row.
  Cell next_cell(bool& last) {
    Cell cell{{}, line_, column_++};
    std::size_t first = 0;
    while (first < rest_.size() && is_space(rest_[first])) ++first;
    if (rest_.substr(first).starts_with('"')) {
      rest_.remove_prefix(first + 1);
      cell.text = without_space(take_quoted(cell));
      const std::string_view after = take_plain(last);
      if (!after.empty())
        input_.fail("line {}, column {}: text follows the closing quote", cell.line, cell.column + 1);
    } else {
      cell.text = take_plain(last);
    }
    return cell;
  }

 private:
  bool is_space(char c) const { return (c == ' ' || c == '\t') && c != delimiter_; }
  std::string_view without_space(std::string_view text) const {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
  }
  std::string_view take_plain(bool& last) {
    std::size_t end = 0;
    while (end < rest_.size() && rest_[end] != delimiter_ && rest_[end] != '\n') ++end;
    std::string_view text = rest_.substr(0, end);
    last = end == rest_.size() || rest_[end] == '\n';
    if (last && text.ends_with('\r')) text.remove_suffix(1);
    rest_.remove_prefix(end);
    if (last) {
      end_line();
    } else {
      rest_.remove_prefix(1);
    }
    return without_space(text);
  }
  std::string_view take_quoted(const Cell& cell) {
    std::size_t end = rest_.find('"');
    while (end != std::string_view::npos && rest_.substr(end + 1).starts_with('"'))
      end = rest_.find('"', end + 2);
    if (end == std::string_view::npos)
      input_.fail("line {}, column {}: the quote is not closed", cell.line, cell.column + 1);
    const std::string_view text = rest_.substr(0, end);
    for (const char c : text) line_ += c == '\n';
    rest_.remove_prefix(end + 1);
    return text;
  }
  void end_line() {
    rest_.remove_prefix(std::min(rest_.size(), rest_.find('\n')));
    if (rest_.empty()) return;
    rest_.remove_prefix(1);
    ++line_;
  }

  const Input& input_;
  std::string_view rest_;
  char delimiter_;
  std::int64_t line_ = 1;
  std::int64_t column_ = 0;
};

struct Table {
  bool header = false;
  std::int64_t rows = 0;  // without the header
  std::int64_t columns = 0;
  std::int64_t label = 0;
  bool integer_labels = true;
};

// Calls f(cell, whether it is the row's last) for each cell of the first row.
template <class F>
void for_first_row(const Input& input, std::string_view text, char delimiter, F f) {
  Scanner scanner(input, text, delimiter);
  bool last = !scanner.next_row();
  while (!last) {
    const Cell cell = scanner.next_cell(last);
    f(cell);
  }
}

// Finds columns, header and label column from the first row.
Table describe(const Input& input, std::string_view text, const CsvOptions& options) {
  Table table;
  bool has_number = false;
  std::int64_t named = -1;
  for_first_row(input, text, options.delimiter, [&](const Cell& cell) {
    double number = 0;
    has_number = has_number || parse_number(cell.text, number);
    if (named < 0 && cell.text == options.label_name) named = cell.column;
    table.columns = cell.column + 1;
  });
  if (table.columns == 0) input.fail("has no rows");
  if (table.columns == 1) input.fail("has one column only; inputs and a label are needed");
  table.header = options.header.value_or(!has_number);
  if (options.label_name.empty()) {
    table.label = options.label_column + (options.label_column < 0 ? table.columns : 0);
    if (table.label < 0 || table.label >= table.columns)
      input.fail("has {} columns, but the label column is {}", table.columns, options.label_column);
  } else {
    table.label = named;
    if (!table.header)
      input.fail("has no header, but the label column is given by name: {}", shown_name(options.label_name));
    if (named < 0) input.fail("has no column {}", shown_name(options.label_name));
  }
  return table;
}

Table measure(const Input& input, std::string_view text, const CsvOptions& options) {
  Table table = describe(input, text, options);
  Scanner scanner(input, text, options.delimiter);
  bool skip = table.header;
  while (scanner.next_row()) {
    Cell cell;
    for (bool last = false; !last;) {
      cell = scanner.next_cell(last);
      std::int64_t integer = 0;
      if (!skip && cell.column == table.label && table.integer_labels)
        table.integer_labels = parse_number(cell.text, integer);
    }
    if (cell.column + 1 != table.columns)
      input.fail("line {} has {} columns instead of {}", cell.line, cell.column + 1, table.columns);
    table.rows += !skip;
    skip = false;
  }
  if (table.rows == 0) input.fail("has no rows");
  return table;
}

[[noreturn]] void fail_cell(const Input& input, std::string_view text, char delimiter, const Table& table,
                            const Cell& cell, std::string_view wanted) {
  std::string name;
  if (table.header) {
    for_first_row(input, text, delimiter, [&](const Cell& title) {
      if (title.column != cell.column) return;
      name = ' ';
      name += shown_name(title.text);
    });
  }
  const bool first_row = !table.header && cell.line == 1;
  input.fail("line {}, column {}{}: {} is not {}{}", cell.line, cell.column + 1, name, shown_name(cell.text),
             wanted, first_row ? " (set .header = true if line 1 names the columns)" : "");
}

// Reads the rows of `table`; T and L are the element types of inputs and labels.
template <class T, class L>
void fill(const Input& input, std::string_view text, char delimiter, const Table& table, std::span<T> inputs,
          std::span<L> labels) {
  Scanner scanner(input, text, delimiter);
  std::size_t next_input = 0;
  std::size_t next_label = 0;
  bool skip = table.header;
  while (scanner.next_row()) {
    for (bool last = false; !last;) {
      const Cell cell = scanner.next_cell(last);
      if (skip) continue;
      if (cell.column != table.label) {
        if (!parse_number(cell.text, inputs[next_input++]))
          fail_cell(input, text, delimiter, table, cell, "a number");
      } else if constexpr (std::is_same_v<L, std::int64_t>) {
        if (!parse_label(cell.text, labels[next_label++]))
          fail_cell(input, text, delimiter, table, cell, "an integer");
      } else {
        if (!parse_number(cell.text, labels[next_label++]))
          fail_cell(input, text, delimiter, table, cell, "a number");
      }
    }
    skip = false;
  }
}

Dataset read_csv(const Input& input, std::string_view text, const CsvOptions& options) {
  if (!is_floating_point(options.dtype))
    throw TypeError("load_csv: dtype is int64; inputs are float32 or float64");
  if (std::string_view("\"\r\n").find(options.delimiter) != std::string_view::npos)
    throw ValueError("load_csv: the delimiter cannot be a quote or a line end");
  const Table table = measure(input, text, options);
  const DType label_dtype = options.label_dtype.value_or(table.integer_labels ? DType::int64 : options.dtype);
  const Tensor inputs = empty({table.rows, table.columns - 1}, options.dtype);
  const Tensor labels = empty({table.rows}, label_dtype);
  visit_floating(options.dtype, [&](auto input_zero) {
    visit_dtype(label_dtype, [&](auto label_zero) {
      fill(input, text, options.delimiter, table, inputs.mutable_data<decltype(input_zero)>(),
           labels.mutable_data<decltype(label_zero)>());
    });
  });
  return Dataset(inputs, labels);
}

}  // namespace

Dataset load_csv(const std::string& path, const CsvOptions& options) {
  const Input input("load_csv", path);
  const auto size = static_cast<std::size_t>(input.size());
  Array memory;
  try {
    memory = Array({static_cast<std::int64_t>(size / 8 + 1)}, DType::int64);
  } catch (const std::bad_alloc&) {
    input.fail("has {} bytes, more than there is memory", size);
  }
  char* const text = static_cast<char*>(memory.write());
  input.read(0, text, size);
  return read_csv(input, {text, size}, options);
}

Dataset parse_csv(std::string_view text, const CsvOptions& options, std::string_view name) {
  return read_csv(Input("parse_csv", name, std::as_bytes(std::span(text.data(), text.size()))), text,
                  options);
}

}  // namespace retort
