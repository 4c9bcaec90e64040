#include "retort/framework/data/csv.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <span>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/core/factories.hpp"
#include "retort/framework/data/csv_impl.hpp"

namespace retort {
namespace detail {
namespace {

constexpr std::size_t chunk = 256 << 10;         // bytes read at a time
constexpr std::size_t longest_row = 64UL << 20;  // bytes

// Returns the position of the quote that closes the one at `at`, or npos.
std::size_t closing_quote(std::string_view text, std::size_t at) {
  do {
    at = text.find('"', at + 1);
    if (at == std::string_view::npos || !text.substr(at + 1).starts_with('"')) return at;
    ++at;
  } while (true);
}

}  // namespace

bool is_csv_space(char c, char delimiter) { return (c == ' ' || c == '\t') && c != delimiter; }

std::size_t CsvRows::row_end(std::string_view text, char delimiter, bool is_whole) {
  const std::size_t none = is_whole ? text.size() : std::string_view::npos;
  if (text.empty()) return none;
  const std::size_t line_end = std::min(text.find('\n'), text.size());
  if (std::memchr(text.data(), '"', line_end) == nullptr) return line_end == text.size() ? none : line_end;
  for (std::size_t cell = 0; cell <= text.size();) {
    std::size_t at = cell;
    while (at < text.size() && is_csv_space(text[at], delimiter)) ++at;
    if (at < text.size() && text[at] == '"') {
      at = closing_quote(text, at);
      // The next piece may start with the second of two doubled quotes.
      if (at == std::string_view::npos || (at + 1 == text.size() && !is_whole)) return none;
    }
    while (at < text.size() && text[at] != delimiter && text[at] != '\n') ++at;
    if (at == text.size()) return none;
    if (text[at] == '\n') return at;
    cell = at + 1;
  }
  return none;
}

CsvRows::CsvRows(const Input& input, char delimiter) : input_(input), delimiter_(delimiter) {
  char mark[3] = {};
  if (input.size() >= sizeof(mark)) input.read(0, mark, sizeof(mark));
  if (std::string_view(mark, sizeof(mark)) == "\xEF\xBB\xBF") read_ = sizeof(mark);  // a byte order mark
}

// Returns false at the end of the file. Grows the buffer for a row that is longer.
bool CsvRows::read_more() {
  if (read_ == input_.size()) return false;
  std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
            buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
  end_ -= begin_;
  begin_ = 0;
  const std::uint64_t left = input_.size() - read_;
  if (end_ >= longest_row)
    input_.fail("line {} is longer than {}, so much of it is not held in memory (is a quote not closed?)",
                next_line_, detail::counted(longest_row, "byte"));
  if (end_ == buffer_.size())
    buffer_.resize(end_ + static_cast<std::size_t>(std::min<std::uint64_t>(left, std::max(end_, chunk))));
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer_.size() - end_));
  input_.read(read_, buffer_.data() + end_, count);
  end_ += count;
  read_ += count;
  return true;
}

bool CsvRows::next() {
  for (;;) {
    const std::string_view rest(buffer_.data() + begin_, end_ - begin_);
    const bool is_whole = read_ == input_.size();
    if (rest.empty() && is_whole) return false;
    const std::size_t end = row_end(rest, delimiter_, is_whole);
    if (end == std::string_view::npos) {
      read_more();
      continue;
    }
    text_ = rest.substr(0, end);
    offset_ = read_ - rest.size();
    line_ = next_line_;
    next_line_ += 1 + std::count(text_.begin(), text_.end(), '\n');
    begin_ += std::min(end + 1, rest.size());
    if (text_.ends_with('\r')) text_.remove_suffix(1);
    if (!text_.empty()) return true;
  }
}

bool CsvCells::next(CsvCell& cell) {
  if (ended_) return false;
  cell = {{}, line_, column_++, false};
  std::size_t first = 0;
  while (first < rest_.size() && is_csv_space(rest_[first], delimiter_)) ++first;
  if (rest_.substr(first).starts_with('"')) {
    rest_.remove_prefix(first);
    cell.quoted = true;
    cell.text = without_space(take_quoted(cell));
    if (!take_plain().empty())
      input_.fail("line {}, column {}: text follows the closing quote", cell.line, cell.column + 1);
  } else {
    cell.text = take_plain();
  }
  return true;
}

std::string_view CsvCells::without_space(std::string_view text) const {
  while (!text.empty() && is_csv_space(text.front(), delimiter_)) text.remove_prefix(1);
  while (!text.empty() && is_csv_space(text.back(), delimiter_)) text.remove_suffix(1);
  return text;
}

std::string_view CsvCells::take_plain() {
  const std::size_t end = rest_.find(delimiter_);
  ended_ = end == std::string_view::npos;
  const std::string_view text = rest_.substr(0, end);
  rest_.remove_prefix(ended_ ? rest_.size() : end + 1);
  return without_space(text);
}

std::string_view CsvCells::take_quoted(const CsvCell& cell) {
  const std::size_t end = closing_quote(rest_, 0);
  if (end == std::string_view::npos)
    input_.fail("line {}, column {}: the quote is not closed", cell.line, cell.column + 1);
  const std::string_view text = rest_.substr(1, end - 1);
  line_ += std::count(text.begin(), text.end(), '\n');
  rest_.remove_prefix(end + 1);
  return text;
}

}  // namespace detail

namespace {

using detail::CsvTable;
using detail::Input;

Dataset read_csv(const Input& input, const CsvOptions& options) {
  const CsvTable table(input, options, [](const detail::CsvRows&) {});
  Array inputs = detail::allocate(input, "", {table.rows(), table.width()}, options.dtype);
  Array labels = detail::allocate(input, "", {table.rows()}, table.label_dtype());
  table.visit([&]<class T, class L>(T, L) {
    std::span<T> next = inputs.fill<T>();
    std::span<L> label = labels.fill<L>();
    for (detail::CsvRows rows = table.first_row(); rows.next();) {
      // The file has grown in the meantime.
      if (label.empty()) break;
      if (!table.encode(rows.text(), rows.line(), next.data(), label.front())) continue;
      next = next.subspan(static_cast<std::size_t>(table.width()));
      label = label.subspan(1);
    }
    if (!label.empty()) input.fail("changed while it was read");
  });
  return Dataset(detail::Access::make(std::move(inputs)), detail::Access::make(std::move(labels)));
}

}  // namespace

Dataset load_csv(const std::string& path, const CsvOptions& options) {
  return read_csv(Input("load_csv", path), options);
}

Dataset parse_csv(std::string_view text, const CsvOptions& options, std::string_view name) {
  return read_csv(Input("parse_csv", name, std::as_bytes(std::span(text.data(), text.size()))), options);
}

CsvOptions fit_csv(const std::string& path, const CsvOptions& options) {
  const Input input("fit_csv", path);
  return CsvTable(input, options, [](const detail::CsvRows&) {}).options();
}

struct CsvSource::State {
  State(const std::string& path, const CsvOptions& options)
      : input("CsvSource", path),
        table(input, options, [this](const detail::CsvRows& row) { offsets.push_back(row.offset()); }) {
    offsets.shrink_to_fit();
  }

  // The text of a row, read into `buffer`.
  std::string_view text_of(std::int64_t row, std::string& buffer) const {
    const std::uint64_t begin = offsets[static_cast<std::size_t>(row)];
    const std::uint64_t end =
        row + 1 < table.rows() ? offsets[static_cast<std::size_t>(row) + 1] : input.size();
    for (std::uint64_t most = 4096;; most *= 2) {
      const std::uint64_t count = std::min(end - begin, most);
      buffer.resize(static_cast<std::size_t>(count));
      input.read(begin, buffer.data(), buffer.size());
      const std::size_t length =
          detail::CsvRows::row_end(buffer, table.options().delimiter, begin + count == input.size());
      if (length == std::string_view::npos && count < end - begin) continue;
      std::string_view text = std::string_view(buffer).substr(0, length);
      if (text.ends_with('\r')) text.remove_suffix(1);
      return text;
    }
  }

  // The line on which the row begins. Only needed for errors, so lines are not stored.
  std::int64_t line_of(std::int64_t row) const {
    detail::CsvRows rows = table.first_row();
    while (rows.next())
      if (rows.offset() == offsets[static_cast<std::size_t>(row)]) return rows.line();
    return 0;
  }

  std::vector<std::uint64_t> offsets;
  Input input;
  CsvTable table;
};

CsvSource::CsvSource(const std::string& path, const CsvOptions& options) try
    : state_(new State(path, options)) {
} catch (const std::bad_alloc&) {
  throw IoError(message("CsvSource: {}: has more rows than memory can index", path), path);
}

CsvSource::~CsvSource() { delete state_; }

std::int64_t CsvSource::size() const { return state_->table.rows(); }

const CsvOptions& CsvSource::options() const { return state_->table.options(); }

Batch CsvSource::fetch(std::span<const std::int64_t> rows) const {
  const CsvTable& table = state_->table;
  const auto count = static_cast<std::int64_t>(rows.size());
  Array inputs({count, table.width()}, table.options().dtype);
  Array labels({count}, table.label_dtype());
  std::string buffer;
  table.visit([&]<class T, class L>(T, L) {
    T* input = inputs.fill<T>().data();
    L* label = labels.fill<L>().data();
    for (const std::int64_t row : rows) {
      if (row < 0 || row >= size())
        throw IndexError(message("CsvSource: row {} is out of range [0, {})", row, size()));
      const std::string_view text = state_->text_of(row, buffer);
      try {
        if (!table.encode(text, 0, input, *label)) state_->input.fail("changed while it was read");
      } catch (const IoError&) {
        table.encode(text, state_->line_of(row), input, *label);  // throws the same error with the line
        throw;
      }
      input += table.width();
      ++label;
    }
  });
  return {.input = detail::Access::make(std::move(inputs)),
          .target = detail::Access::make(std::move(labels))};
}

}  // namespace retort
