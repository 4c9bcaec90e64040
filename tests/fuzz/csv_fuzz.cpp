// The CSV reader.
#include "retort/framework/data/csv.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "fuzz.hpp"

using namespace retort;

namespace {

// The first character also chooses the options, so that a seed is a plain table.
CsvOptions options_for(std::string_view text) {
  const unsigned choice = text.empty() ? 0 : static_cast<unsigned char>(text.front());
  CsvOptions options;
  if (choice % 3 != 0) options.header = choice % 3 == 1;
  options.label_column = static_cast<std::int64_t>(choice / 3 % 4) - 2;
  if (choice / 12 % 4 == 0) options.label_name = "label";
  if (choice / 48 % 2 == 0) options.dtype = DType::float64;
  constexpr std::array types{DType::float32, DType::float64, DType::int64};
  if (choice / 64 % 4 != 3) options.label_dtype = types[choice / 64 % 4];
  if (choice / 2 % 8 == 0) options.delimiter = ';';
  return options;
}

template <class T>
void append_number(std::string& text, T value) {
  std::array<char, 64> digits;
  text.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
}

// The table written with the shortest digits that identify each number, labels last.
std::string written(const Dataset& table) {
  std::string text;
  const std::int64_t columns = table.inputs().size(1);
  visit_floating(table.inputs().dtype(), [&](auto input) {
    visit_dtype(table.targets().dtype(), [&](auto label) {
      const auto inputs = table.inputs().template data<decltype(input)>();
      const auto labels = table.targets().template data<decltype(label)>();
      for (std::int64_t row = 0; row < table.size(); ++row) {
        for (std::int64_t i = 0; i < columns; ++i) {
          append_number(text, inputs[static_cast<std::size_t>(row * columns + i)]);
          text += ',';
        }
        append_number(text, labels[static_cast<std::size_t>(row)]);
        text += '\n';
      }
    });
  });
  return text;
}

// The sign of a NaN does not survive as text.
bool same_numbers(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  return visit_dtype(a.dtype(), [&](auto zero) {
    const auto x = a.data<decltype(zero)>();
    const auto y = b.data<decltype(zero)>();
    return std::equal(x.begin(), x.end(), y.begin(),
                      [](auto p, auto q) { return p == q || (p != p && q != q); });
  });
}

void read(std::string_view text, const CsvOptions& options) {
  fuzz::run(
      fuzz::memory_bound(text.size()), [&] { return parse_csv(text, options, fuzz::input_name); },
      [](const Dataset& loaded) {
        const Dataset again = parse_csv(
            written(loaded),
            {.header = false, .dtype = loaded.inputs().dtype(), .label_dtype = loaded.targets().dtype()});
        if (!same_numbers(again.inputs(), loaded.inputs()) ||
            !same_numbers(again.targets(), loaded.targets()))
          fuzz::fail("written and read again, it differs");
      });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read(text, options_for(text));
  return 0;
}
