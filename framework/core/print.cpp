// Printing tensors in the style of NumPy.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>

#include "retort/framework/core/tensor.hpp"

namespace retort {
namespace {

constexpr std::int64_t shorten_above = 1000;  // elements
constexpr std::int64_t edge_items = 3;        // kept at each end of a shortened dimension
constexpr int max_decimals = 4;

// The number format of one tensor, so that columns line up.
struct Format {
  bool scientific = false;
  int decimals = 0;
  std::size_t width = 0;
};

std::string text_of(double value, const Format& format) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, format.scientific ? "%.*e" : "%.*f", format.decimals, value);
  std::string text = buffer;
  if (format.decimals == 0 && !format.scientific) text += '.';
  return text;
}
std::string text_of(std::int64_t value, const Format&) { return std::to_string(value); }

int decimals_of(double value) {
  for (int decimals = 0; decimals < max_decimals; ++decimals) {
    const double scaled = value * std::pow(10.0, decimals);
    if (std::abs(scaled - std::round(scaled)) < 1e-6 * std::max(1.0, std::abs(scaled))) return decimals;
  }
  return max_decimals;
}

template <class T>
class Printer {
 public:
  explicit Printer(const Tensor& tensor)
      : shape_(tensor.shape()), values_(tensor.data<T>()), shorten_(tensor.size() > shorten_above) {
    choose_format();
  }

  std::string text() {
    std::string out;
    write(out, 0, 0);
    return out;
  }

 private:
  // Calls visit(offset) for each printed element.
  template <class Visit>
  void for_each_printed(std::size_t d, std::int64_t offset, Visit&& visit) {
    if (d == shape_.size()) return visit(offset);
    for (std::int64_t i = 0; i < shape_[d]; ++i) {
      if (skips(d, i)) i = shape_[d] - edge_items;
      for_each_printed(d + 1, offset * shape_[d] + i, visit);
    }
  }

  bool skips(std::size_t d, std::int64_t i) const {
    return shorten_ && shape_[d] > 2 * edge_items && i == edge_items;
  }

  void choose_format() {
    if constexpr (std::is_floating_point_v<T>) {
      double largest = 0;
      double smallest = INFINITY;
      for_each_printed(0, 0, [&](std::int64_t offset) {
        const double value = std::abs(static_cast<double>(values_[static_cast<std::size_t>(offset)]));
        if (!std::isfinite(value)) return;
        largest = std::max(largest, value);
        if (value > 0) smallest = std::min(smallest, value);
        format_.decimals = std::max(format_.decimals, decimals_of(value));
      });
      format_.scientific = largest >= 1e8 || smallest < 1e-4 ||
                           (largest > 0 && largest / smallest > 1e5 && format_.decimals > 0);
      if (format_.scientific) format_.decimals = max_decimals;
    }
    std::size_t width = 0;
    for_each_printed(0, 0, [&](std::int64_t offset) { width = std::max(width, element(offset).size()); });
    format_.width = width;
  }

  std::string element(std::int64_t offset) const {
    const std::string text = text_of(values_[static_cast<std::size_t>(offset)], format_);
    std::string padded(std::max(format_.width, text.size()) - text.size(), ' ');
    padded += text;
    return padded;
  }

  void write(std::string& out, std::size_t d, std::int64_t offset) {
    if (d == shape_.size()) {
      out += element(offset);
      return;
    }
    const bool innermost = d + 1 == shape_.size();
    std::string separator = ", ";
    if (!innermost) {
      separator.pop_back();
      separator.append(shape_.size() - d - 1, '\n');
      separator.append(std::string_view("tensor(").size() + d + 1, ' ');
    }
    out += '[';
    for (std::int64_t i = 0; i < shape_[d]; ++i) {
      if (i) out += separator;
      if (skips(d, i)) {
        out += "...";
        out += separator;
        i = shape_[d] - edge_items;
      }
      write(out, d + 1, offset * shape_[d] + i);
    }
    out += ']';
  }

  const Shape shape_;
  const std::span<const T> values_;
  const bool shorten_;
  Format format_;
};

}  // namespace

std::string to_string(const Tensor& tensor) {
  if (!tensor.defined()) return "tensor(undefined)";
  const std::string values =
      visit_dtype(tensor.dtype(), [&](auto zero) { return Printer<decltype(zero)>(tensor).text(); });
  return message("tensor({}, shape={}, dtype={})", values, tensor.shape(), tensor.dtype());
}

std::ostream& operator<<(std::ostream& stream, const Tensor& tensor) { return stream << to_string(tensor); }

}  // namespace retort
