#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "retort/framework/base/error.hpp"
#include "retort/framework/train/report_impl.hpp"
#include "retort/framework/train/statistics.hpp"

namespace retort::detail {

std::string printed(const char* format, double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string series_color(const std::string& chosen, std::size_t k) {
  constexpr std::array<const char*, 6> colors = {"#3a85c8", "#d0712c", "#3f9b56",
                                                 "#a45cc4", "#c9484e", "#8a8430"};
  return chosen.empty() ? colors[k % colors.size()] : chosen;
}

namespace {

constexpr double width = 420, height = 280, left = 58, right = 24, top = 10, bottom = 44;

std::string at(double value) { return printed("%.1f", value); }
std::string escaped(std::string_view text) { return Report::escaped(text); }

/// One axis of a chart: maps data to pixels and places ticks.
class Scale {
 public:
  Scale(double low, double high, bool log, double from, double to) : log_(log), from_(from), to_(to) {
    if (!(low <= high)) low = 1, high = 10;  // no finite values
    if (log_) {
      low_ = std::log10(low);
      high_ = std::log10(high);
    } else {
      low_ = low;
      high_ = high;
    }
    if (high_ - low_ < 1e-12 * std::max(1.0, std::abs(high_))) low_ -= 0.5, high_ += 0.5;
    const double margin = 0.04 * (high_ - low_);
    low_ -= margin;
    high_ += margin;
  }
  bool shows(double value) const { return std::isfinite(value) && (!log_ || value > 0); }
  double operator()(double value) const {
    return from_ + ((log_ ? std::log10(value) : value) - low_) / (high_ - low_) * (to_ - from_);
  }
  std::vector<double> ticks() const {
    std::vector<double> result;
    if (log_) {
      // 1, 2, 5 within a few powers of ten; only powers over more.
      const bool dense = high_ - low_ < 2.2;
      for (double power = std::floor(low_); power <= high_; ++power)
        for (const double digit : {1.0, 2.0, 5.0}) {
          const double value = digit * std::pow(10, power), place = std::log10(value);
          if ((dense || digit == 1) && place >= low_ && place <= high_) result.push_back(value);
        }
      return result;
    }
    const double rough = (high_ - low_) / 5, power = std::pow(10, std::floor(std::log10(rough)));
    const double step = power * (rough / power < 1.5   ? 1
                                 : rough / power < 3.5 ? 2
                                 : rough / power < 7.5 ? 5
                                                       : 10);
    for (double k = std::ceil(low_ / step); k * step <= high_; ++k)
      result.push_back(k * step == 0 ? 0 : k * step);
    return result;
  }

 private:
  bool log_;
  double from_, to_, low_ = 0, high_ = 1;
};

/// The minimum and maximum of finite values; of positive ones on a logarithmic axis.
struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  bool log = false;
  void add(double value) {
    if (!std::isfinite(value) || (log && value <= 0)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

std::string label(double x, double y, std::string_view anchor, std::string_view text, const char* more = "") {
  return message("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\"{}>{}</text>\n", at(x), at(y), anchor, more,
                 escaped(text));
}

/// Grid, ticks and titles; the chart's marks follow.
std::string frame(std::string_view title, const ReportAxes& axes, const Scale& x, const Scale& y,
                  std::vector<double> x_ticks = {}) {
  std::string svg = message("<svg role=\"img\" aria-label=\"{}\" class=\"chart\" viewBox=\"0 0 {} {}\">\n",
                            escaped(title), width, height);
  for (const double tick : y.ticks()) {
    svg += message("<line class=\"rule\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>", left, width - right,
                   at(y(tick)), at(y(tick)));
    svg += label(left - 6, y(tick) + 4, "end", printed("%.6g", tick));
  }
  if (x_ticks.empty()) x_ticks = x.ticks();
  for (const double tick : x_ticks) {
    svg += message("<line class=\"rule\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>", at(x(tick)), at(x(tick)),
                   height - bottom, height - bottom + 4);
    svg += label(x(tick), height - bottom + 18, "middle", printed("%.6g", tick));
  }
  svg += message("<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>", left, width - right,
                 height - bottom, height - bottom);
  svg += label((left + width - right) / 2, height - 6, "middle", axes.x);
  const double middle = (top + height - bottom) / 2;
  return svg +
         label(13, middle, "middle", axes.y, message(" transform=\"rotate(-90 13 {})\"", at(middle)).c_str());
}

/// One command of an SVG path.
std::string point(bool first, double x, double y) {
  return message("{}{} {}", first ? "M" : "L", at(x), at(y));
}

std::string line(const std::vector<std::pair<double, double>>& points, const std::string& color,
                 bool dashed) {
  if (points.empty()) return {};
  std::string path;
  for (const auto& [x, y] : points) path += point(path.empty(), x, y);
  std::string svg = message("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>\n", path,
                            color, dashed ? " stroke-dasharray=\"5 4\"" : "");
  if (points.size() <= 20 && !dashed)
    for (const auto& [x, y] : points)
      svg += message("<circle cx=\"{}\" cy=\"{}\" r=\"2.5\" fill=\"{}\"/>", at(x), at(y), color);
  return svg;
}

Scale across(const Range& range) { return {range.low, range.high, range.log, left, width - right}; }
Scale upwards(const Range& range) { return {range.low, range.high, range.log, height - bottom, top}; }

}  // namespace

std::string curves_svg(std::string_view title, const ReportAxes& axes,
                       const std::vector<ReportSeries>& series) {
  Range range_x{.log = axes.log_x}, range_y{.log = axes.log_y};
  for (const ReportSeries& one : series) {
    for (const double x : one.x) range_x.add(x);
    for (const auto* values : {&one.y, &one.low, &one.high})
      for (const double y : *values) range_y.add(y);
  }
  const Scale x = across(range_x), y = upwards(range_y);
  std::string svg = frame(title, axes, x, y);
  for (std::size_t k = 0; k < series.size(); ++k) {
    const ReportSeries& one = series[k];
    const std::string color = series_color(one.color, k);
    const std::size_t n = std::min(one.x.size(), one.y.size());
    if (one.low.size() >= n && one.high.size() >= n && n > 1) {
      std::string band, back;
      for (std::size_t i = 0; i < n; ++i) {
        if (!x.shows(one.x[i]) || !y.shows(one.low[i]) || !y.shows(one.high[i])) continue;
        band += point(band.empty(), x(one.x[i]), y(one.low[i]));
        back = point(false, x(one.x[i]), y(one.high[i])) + back;
      }
      svg += message("<path d=\"{}{}Z\" fill=\"{}\" fill-opacity=\"0.22\"/>\n", band, back, color);
    }
    std::vector<std::pair<double, double>> points;
    for (std::size_t i = 0; i < n; ++i) {
      if (x.shows(one.x[i]) && y.shows(one.y[i])) {
        points.emplace_back(x(one.x[i]), y(one.y[i]));
      } else {
        svg += line(points, color, one.dashed);
        points.clear();
      }
    }
    svg += line(points, color, one.dashed);
  }
  return svg + "</svg>\n";
}

std::string scatter_svg(std::string_view title, const ReportAxes& axes,
                        const std::vector<ReportPoint>& points) {
  Range range_x{.log = axes.log_x}, range_y{.log = axes.log_y};
  for (const ReportPoint& point : points) {
    range_x.add(point.x);
    range_y.add(point.y);
  }
  const Scale x = across(range_x), y = upwards(range_y);
  std::string svg = frame(title, axes, x, y), texts;
  struct Box {
    double x, y, w, h;
    bool meets(const Box& o) const { return x < o.x + o.w && o.x < x + w && y < o.y + o.h && o.y < y + h; }
  };
  std::vector<Box> taken;
  for (const ReportPoint& point : points)
    if (x.shows(point.x) && y.shows(point.y)) taken.push_back({x(point.x) - 6, y(point.y) - 6, 12, 12});
  for (std::size_t k = 0; k < points.size(); ++k) {
    const ReportPoint& point = points[k];
    if (!x.shows(point.x) || !y.shows(point.y)) continue;
    const double px = x(point.x), py = y(point.y), w = 6.8 * static_cast<double>(point.name.size());
    svg += message("<circle cx=\"{}\" cy=\"{}\" r=\"5\" fill=\"{}\"/>\n", at(px), at(py),
                   series_color(point.color, k));
    // The first of these places that is free and inside the picture is used.
    std::vector<Box> places;
    for (const double down : {4.0, -9.0, 18.0, -24.0, 33.0, -39.0, 48.0})
      for (const double from : {px + 9, px - 9 - w, px - w / 2})
        places.push_back({from, py + down - 11, w, 14});
    const auto free = std::ranges::find_if(places, [&](const Box& box) {
      return box.x >= left && box.x + box.w <= width && box.y >= 0 && box.y + box.h <= height - bottom &&
             std::ranges::none_of(taken, [&](const Box& other) { return box.meets(other); });
    });
    const Box box = free == places.end() ? places.front() : *free;
    taken.push_back(box);
    texts += label(box.x, box.y + 11, "start", point.name);
  }
  return svg + texts + "</svg>\n";
}

std::string differences_svg(std::string_view title, std::string_view unit, std::span<const double> values) {
  const SampleSummary summary = summarise(values);
  Range range_y;
  range_y.add(0);
  for (const double value : values) range_y.add(value);
  range_y.add(summary.mean - summary.half_width);
  range_y.add(summary.mean + summary.half_width);
  const auto n = static_cast<double>(values.size());
  const Scale x = across({.low = 0.5, .high = n + 0.5}), y = upwards(range_y);
  std::vector<double> ticks;
  for (std::size_t k = 0; k < values.size(); k += 1 + values.size() / 12)
    ticks.push_back(static_cast<double>(k + 1));
  std::string svg = frame(title, {.x = "seed", .y = std::string(unit)}, x, y, ticks);
  const std::string color = series_color({}, 0);
  const double half = summary.half_width;
  if (std::isfinite(half))
    svg += message("<rect x=\"{}\" width=\"{}\" y=\"{}\" height=\"{}\" fill=\"{}\" fill-opacity=\"0.2\"/>\n",
                   left, width - right - left, at(y(summary.mean + half)),
                   at(y(summary.mean - half) - y(summary.mean + half)), color);
  svg += message("<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>", left, width - right,
                 at(y(0)), at(y(0)));
  if (y.shows(summary.mean))
    svg += line({{left, y(summary.mean)}, {width - right, y(summary.mean)}}, color, true);
  for (std::size_t k = 0; k < values.size(); ++k)
    if (y.shows(values[k]))
      svg += message("<circle cx=\"{}\" cy=\"{}\" r=\"4\" fill=\"{}\"/>\n", at(x(static_cast<double>(k + 1))),
                     at(y(values[k])), color);
  return svg + "</svg>\n";
}

std::string calibration_svg(std::string_view title, const std::vector<metrics::ReliabilityBin>& bins,
                            double all) {
  const Scale x(3.7, 96.3, false, left, width - right), y(3.7, 96.3, false, height - bottom, top);
  std::string svg = frame(title, {.x = "confidence, %", .y = "answers right, %"}, x, y);
  const double step = 100 / static_cast<double>(bins.size());
  std::vector<std::pair<double, double>> shares;
  for (std::size_t k = 0; k < bins.size(); ++k) {
    const auto count = static_cast<double>(bins[k].count);
    if (count == 0) continue;
    const double from = static_cast<double>(k) * step, share = 100 * bins[k].right / count;
    svg += message("<rect x=\"{}\" width=\"{}\" y=\"{}\" height=\"{}\" fill=\"{}\" fill-opacity=\"0.55\"/>\n",
                   at(x(from + 0.04 * step)), at(x(from + 0.96 * step) - x(from + 0.04 * step)), at(y(share)),
                   at(std::max(0.0, y(0) - y(share))), series_color({}, 0));
    shares.emplace_back(x(from + step / 2), y(100 * count / all));
  }
  svg += message("<line class=\"axis\" stroke-dasharray=\"5 4\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n",
                 at(x(0)), at(y(0)), at(x(100)), at(y(100)));
  return svg + line(shares, "currentColor", false) + "</svg>\n";
}

std::string heat_map_svg(std::string_view title, const Tensor& values,
                         const std::vector<std::string>& row_names,
                         const std::vector<std::string>& column_names) {
  const std::int64_t rows = values.size(0), columns = values.size(1);
  const auto longest = [](const std::vector<std::string>& names) {
    std::size_t most = 0;
    for (const std::string& name : names) most = std::max(most, name.size());
    return 7.5 * static_cast<double>(most);
  };
  const double x0 = row_names.empty() ? 4 : 10 + longest(row_names),
               y0 = column_names.empty() ? 4 : 10 + longest(column_names);
  // Names of 12 pixels keep clear of each other; a drawing that gets wider than a chart scrolls.
  const bool named = !row_names.empty() || !column_names.empty();
  const double cell = std::max(named ? 12.5 : 2.0,
                               (width - x0 - 4) / static_cast<double>(std::max<std::int64_t>(columns, 1)));
  const double total_width = x0 + cell * static_cast<double>(columns) + 4,
               total_height = y0 + cell * static_cast<double>(rows) + 4;
  std::string svg =
      message("<svg role=\"img\" aria-label=\"{}\" class=\"chart\" viewBox=\"0 0 {} {}\"{}>\n",
              escaped(title), at(total_width), at(total_height),
              total_width > 1.5 * width ? message(" style=\"width:{}px\"", at(total_width)) : std::string());
  const std::vector<double> numbers = values.to(DType::float64).values<double>();
  double most = 0;
  for (const double number : numbers)
    if (std::isfinite(number)) most = std::max(most, number);
  const std::string color = series_color({}, 0);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) {
      const double number = numbers[static_cast<std::size_t>(r * columns + c)];
      const double share = most > 0 && number > 0 ? number / most : 0;
      if (share < 0.01) continue;
      svg += message("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\" fill-opacity=\"{}\"/>\n",
                     at(x0 + cell * static_cast<double>(c)), at(y0 + cell * static_cast<double>(r)), at(cell),
                     at(cell), color, printed("%.2f", share));
    }
  svg += message("<rect class=\"frame\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n", at(x0), at(y0),
                 at(cell * static_cast<double>(columns)), at(cell * static_cast<double>(rows)));
  for (std::size_t r = 0; r < row_names.size(); ++r)
    svg += label(x0 - 5, y0 + cell * (static_cast<double>(r) + 0.5) + 4, "end", row_names[r]);
  for (std::size_t c = 0; c < column_names.size(); ++c) {
    const double x = x0 + cell * (static_cast<double>(c) + 0.5) + 4;
    svg += label(x, y0 - 5, "start", column_names[c],
                 message(" transform=\"rotate(-90 {} {})\"", at(x), at(y0 - 5)).c_str());
  }
  return svg + "</svg>\n";
}

}  // namespace retort::detail
