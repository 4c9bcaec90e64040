#include "retort/framework/train/report.hpp"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/core/require.hpp"
#include "retort/framework/io/atomic_file.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/train/report_impl.hpp"
#include "retort/framework/train/statistics.hpp"

namespace retort {
namespace {

using detail::printed;

void append_big_endian(std::string& bytes, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xFFU);
}

/// Appends length, type, data, and the checksum of type and data.
void append_chunk(std::string& png, const std::string& type, const std::string& data) {
  const std::string summed = type + data;
  append_big_endian(png, static_cast<std::uint32_t>(data.size()));
  png += summed;
  append_big_endian(png, static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(summed.data()),
                                                          static_cast<uInt>(summed.size()))));
}

std::string compressed(const std::string& bytes) {
  std::string result(compressBound(static_cast<uLong>(bytes.size())), '\0');
  auto size = static_cast<uLongf>(result.size());
  if (compress(reinterpret_cast<Bytef*>(result.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()),
               static_cast<uLong>(bytes.size())) != Z_OK)
    throw IoError("Report: an image cannot be compressed");
  result.resize(size);
  return result;
}

std::string base64(const std::string& bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = i; k < i + 3; ++k)
      group = group << 8U | (k < bytes.size() ? static_cast<unsigned char>(bytes[k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k)
      text += i + k <= bytes.size() ? digits[group >> (18 - 6 * k) & 63U] : '=';
  }
  return text;
}

void replace_all(std::string& text, std::string_view from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

std::string paragraph(std::string_view text) { return "<p>" + Report::escaped(text) + "</p>\n"; }

std::string id_of(std::string_view id) { return id.empty() ? "" : " id=\"" + Report::escaped(id) + '"'; }

/// The colour of a series or an answer, the k-th of several, as an attribute for its marks.
std::string color_of(const auto& item, std::size_t k) {
  return message("background:{}", Report::escaped(detail::series_color(item.color, k)));
}

/// The names and colours of series or answers; empty for fewer than two.
template <class Item>
std::string legend_of(const std::vector<Item>& items) {
  if (items.size() < 2) return {};
  std::string chips;
  for (std::size_t k = 0; k < items.size(); ++k)
    chips +=
        message("<span><i style=\"{}\"></i>{}</span>", color_of(items[k], k), Report::escaped(items[k].name));
  return "<p class=\"legend\">" + chips + "</p>\n";
}

/// The classes that are drawn, in order: the most probable ones if there are many.
std::vector<std::size_t> shown_classes(const std::vector<ReportAnswer>& answers) {
  constexpr std::size_t most = 12;
  std::vector<std::size_t> classes(answers.front().probabilities.size());
  std::iota(classes.begin(), classes.end(), std::size_t{0});
  if (classes.size() <= most) return classes;
  std::ranges::stable_sort(classes, std::ranges::greater(), [&](std::size_t k) {
    double greatest = 0;
    for (const ReportAnswer& answer : answers) greatest = std::max(greatest, answer.probabilities[k]);
    return greatest;
  });
  classes.resize(most);
  std::ranges::sort(classes);
  return classes;
}

/// Throws unless the label is -1 or a class, where their number is known. `place` names the sample.
void check_label(const std::string& place, const ReportSample& sample,
                 const std::vector<std::string>& names) {
  std::size_t classes = names.size();
  if (names.empty() && !sample.answers.empty()) classes = sample.answers[0].probabilities.size();
  if (sample.label < -1 || (classes > 0 && sample.label >= static_cast<std::int64_t>(classes)))
    throw IndexError(message("Report::samples: {} has label {}; it must be in [0, {}), or -1 for none", place,
                             sample.label, classes > 0 ? message("{}", classes) : "the number of classes"));
}

/// Throws unless the image is (H, W) with values in [0, 1], up to rounding.
void check_image(const std::string& place, const Tensor& image) {
  if (image.dim() != 2 || image.size() == 0)
    throw ShapeError(message("Report::samples: the image of {} has shape {}; it must be (H, W), not empty",
                             place, image.shape()));
  for (const double value : image.values<double>())
    if (!(value >= -1e-6 && value <= 1 + 1e-6))
      throw ValueError(
          message("Report::samples: the image of {} has the value {}; it must be in [0, 1]: undo a "
                  "normalisation, or call clamp(image, 0, 1)",
                  place, value));
}

/// Throws unless all values are finite and at least 0.
void check_counts(const char* operation, const char* what, const Tensor& values, const char* range) {
  const std::vector<double> numbers = values.values<double>();
  for (std::size_t i = 0; i < numbers.size(); ++i)
    if (!(numbers[i] >= 0 && std::isfinite(numbers[i])))
      throw ValueError(message("{}: the {} at position {} is {}; it must be {}", operation, what,
                               detail::position_text(static_cast<std::int64_t>(i), values.shape()),
                               numbers[i], range));
}

/// A row per class, with one bar per answer.
std::string bars_of(const std::string& place, const ReportSample& sample,
                    const std::vector<std::string>& names) {
  if (sample.answers.empty()) return {};
  const std::size_t classes = names.empty() ? sample.answers[0].probabilities.size() : names.size();
  for (const ReportAnswer& answer : sample.answers) {
    if (answer.probabilities.size() != classes)
      throw ValueError(message("Report::samples: {}: the answer '{}' has probabilities of {}, not {}", place,
                               answer.name, detail::counted(answer.probabilities.size(), "class"), classes));
    for (const double p : answer.probabilities)
      if (!(p >= 0 && p <= 1 + 1e-6))  // a softmax may round up
        throw ValueError(
            message("Report::samples: {}: the answer '{}' has the probability {}; it must be from 0 to 1",
                    place, answer.name, p));
  }
  std::string bars = "<table class=\"bars\">\n";
  for (const std::size_t k : shown_classes(sample.answers)) {
    bars += message("<tr{}><th>{}</th><td>", std::cmp_equal(k, sample.label) ? " class=\"truth\"" : "",
                    names.empty() ? std::to_string(k) : Report::escaped(names[k]));
    for (std::size_t n = 0; n < sample.answers.size(); ++n) {
      const double percent = 100 * sample.answers[n].probabilities[k];
      bars += message("<i style=\"width:{}%;{}\" title=\"{} %\"></i>", fixed(percent, 1),
                      color_of(sample.answers[n], n), fixed(percent, 0));
    }
    bars += "</td></tr>\n";
  }
  return bars + "</table>";
}

/// The caption of a chart, with the number of values that a logarithmic axis cannot show.
struct LogCaption {
  const ReportAxes& axes;
  std::int64_t missing = 0;

  void count_x(std::span<const double> values) { count(axes.log_x, values); }
  void count_y(std::span<const double> values) { count(axes.log_y, values); }
  void count(bool log, std::span<const double> values) {
    if (log) missing += std::ranges::count_if(values, [](double value) { return value <= 0; });
  }
  std::string of(std::string_view title) const {
    if (missing == 0) return std::string(title);
    return message("{} (without {} ≤ 0, which a logarithmic axis cannot show)", title,
                   detail::counted(missing, "value"));
  }
};

std::string confusion_row(const std::vector<std::string>& names, std::size_t label,
                          std::span<const std::int64_t> counts) {
  std::int64_t total = 0;
  for (const std::int64_t count : counts) total += count;
  std::string row = message("<tr><th>{}</th>", names[label]);
  for (std::size_t answer = 0; answer < counts.size(); ++answer) {
    const std::int64_t count = counts[answer];
    if (count == 0) {
      row += "<td></td>";
      continue;
    }
    const double share = static_cast<double>(count) / static_cast<double>(total);
    // An error rate of 0.2 has full strength; otherwise only the diagonal would be visible.
    const double strength = label == answer ? 0.55 * share : std::min(0.85, 0.08 + 4 * share);
    row += message("<td class=\"{}\" style=\"--share:{}\" title=\"{} taken for {}: {} of {}\">{}</td>",
                   label == answer ? "right" : "wrong", printed("%.2f", strength), names[label],
                   names[answer], count, total, printed("%.0f", 100 * share));
  }
  return row + "</tr>\n";
}

}  // namespace

Report::Report(std::string title, std::string_view introduction) : title_(std::move(title)) {
  if (!introduction.empty()) text(introduction);
}

void Report::close_grid() {
  if (grid_ != 0) body_ += "</div>\n";
  grid_ = 0;
}

void Report::open_grid(bool narrow) {
  const int wanted = narrow ? 2 : 1;
  if (grid_ == wanted) return;
  close_grid();
  body_ += narrow ? "<div class=\"grid narrow\">\n" : "<div class=\"grid\">\n";
  grid_ = wanted;
}

Report& Report::section(std::string_view title, std::string_view introduction) {
  close_grid();
  if (section_) body_ += "</section>\n";
  section_ = true;
  body_ += message("<section>\n<h2>{}</h2>\n", escaped(title));
  if (!introduction.empty()) body_ += paragraph(introduction);
  return *this;
}

Report& Report::text(std::string_view words) { return html(paragraph(words)); }

Report& Report::html(std::string_view code) {
  close_grid();
  body_ += code;
  return *this;
}

Report& Report::figure(std::string_view caption, std::string_view code, std::string_view id) {
  open_grid(false);
  body_ +=
      message("<figure{}>\n<figcaption>{}</figcaption>\n{}</figure>\n", id_of(id), escaped(caption), code);
  return *this;
}

Report& Report::table(const std::vector<std::vector<std::string>>& rows) {
  std::string table = "<div class=\"scroll\"><table class=\"result\">\n";
  for (std::size_t r = 0; r < rows.size(); ++r) {
    table += "<tr>";
    for (std::size_t i = 0; i < rows[r].size(); ++i) {
      // Deviation and interval are not broken across lines.
      const std::string& text = rows[r][i];
      const std::size_t end =
          i == 0 ? text.size() : std::min({text.find(" ["), text.find(" ±"), text.size()});
      std::string cell = escaped(text.substr(0, end));
      if (end < text.size()) cell += " <small>" + escaped(text.substr(end + 1)) + "</small>";
      const char* const kind = i == 0 || r == 0 ? "th" : "td";
      table += message("<{}>{}</{}>", kind, cell, kind);
    }
    table += "</tr>\n";
  }
  return html(table + "</table></div>\n");
}

Report& Report::settings(std::string_view title,
                         const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string rows;
  for (const auto& [key, value] : entries)
    rows += message("<tr><th>{}</th><td>{}</td></tr>\n", escaped(key), escaped(value));
  return figure(title, "<table class=\"settings\">\n" + rows + "</table>");
}

Report& Report::curves(std::string_view title, const ReportAxes& axes,
                       const std::vector<ReportSeries>& series) {
  for (const ReportSeries& one : series) {
    const bool banded = !one.low.empty() || !one.high.empty();
    const std::size_t n = one.x.size(), band = banded ? n : 0;
    if (one.y.size() != n || one.low.size() != band || one.high.size() != band)
      throw ValueError(message(
          "Report::curves: the series '{}' of the chart '{}' has {} values of x, {} of y, {} of low and {} "
          "of high; the numbers must be equal, or 0 for low and high",
          one.name, title, one.x.size(), one.y.size(), one.low.size(), one.high.size()));
  }
  LogCaption caption{axes};
  for (const ReportSeries& one : series) {
    caption.count_x(one.x);
    for (const auto* values : {&one.y, &one.low, &one.high}) caption.count_y(*values);
  }
  return figure(caption.of(title), legend_of(series) + detail::curves_svg(title, axes, series));
}

Report& Report::scatter(std::string_view title, const ReportAxes& axes,
                        const std::vector<ReportPoint>& points) {
  LogCaption caption{axes};
  for (const ReportPoint& point : points) {
    caption.count_x({&point.x, 1});
    caption.count_y({&point.y, 1});
  }
  return figure(caption.of(title), detail::scatter_svg(title, axes, points));
}

Report& Report::differences(std::string_view title, std::string_view unit, std::span<const double> values) {
  return figure(title, detail::differences_svg(title, unit, values));
}

Report& Report::calibration(std::string_view title, const Tensor& logits, const Tensor& labels) {
  const auto [bins, error] = detail::calibration_of("Report::calibration", logits, labels);
  const auto all = static_cast<double>(labels.size());
  const std::string caption = message("{}: calibration error {}\u00A0%", title, printed("%.2f", 100 * error));
  const std::string legend = message(
      "<p class=\"legend\"><span><i style=\"background:{}\"></i>answers right</span>"
      "<span><i style=\"background:currentColor\"></i>share of the answers</span></p>\n",
      detail::series_color({}, 0));
  return figure(caption, legend + detail::calibration_svg(caption, bins, all));
}

Report& Report::confusion(std::string_view title, const Tensor& counts, const std::vector<std::string>& names,
                          std::string_view id) {
  const char* const operation = "Report::confusion";
  detail::require_defined(operation, "the counts", counts);
  if (counts.dtype() != DType::int64)
    throw TypeError(
        message("{}: the counts are {}; they must be int64, as those of metrics::confusion_matrix", operation,
                counts.dtype()));
  if (counts.dim() != 2 || counts.size(0) != counts.size(1))
    throw ShapeError(message("{}: the counts have shape {}; it must be (C, C)", operation, counts.shape()));
  check_counts(operation, "count", counts, "at least 0");
  const auto classes = static_cast<std::size_t>(counts.size(0));
  if (names.size() != classes)
    throw ValueError(message("{}: there are {}, but {}", operation, detail::counted(classes, "class"),
                             detail::counted(names.size(), "name")));
  if (classes > 20) {  // too many for numbers
    const Tensor shares =
        counts.to(DType::float64) / clamp(sum(counts, {1}, true), 1.0, {}).to(DType::float64);
    return figure(
        title, "<div class=\"scroll\">" + detail::heat_map_svg(title, shares, names, names) + "</div>\n", id);
  }
  std::vector<std::string> safe;
  for (const std::string& name : names) safe.push_back(escaped(name));
  std::string table = "<div class=\"scroll\"><table class=\"confusion\"><tr><td></td>";
  for (const std::string& name : safe) table += message("<th><span>{}</span></th>", name);
  table += "</tr>\n";
  const auto all = counts.data<std::int64_t>();
  for (std::size_t label = 0; label < classes; ++label)
    table += confusion_row(safe, label, all.subspan(label * classes, classes));
  return figure(title, table + "</table>\n</div>", id);
}

Report& Report::samples(const std::vector<ReportSample>& samples, const std::vector<std::string>& classes) {
  std::string cards;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const ReportSample& sample = samples[i];
    const std::string place =
        message("sample {}{}", i, sample.caption.empty() ? "" : message(" ('{}')", sample.caption));
    std::string picture, notes;
    check_label(place, sample, classes);
    if (sample.image.defined()) {
      check_image(place, sample.image);
      const Tensor pixels = sample.image.to(DType::float32);
      picture = message("<img alt=\"{}\" width=\"84\" height=\"84\" src=\"{}\">", escaped(sample.caption),
                        png_address(pixels.data<float>(), pixels.size(1)));
    }
    for (const std::string& note : sample.notes) notes += "<li>" + escaped(note) + "</li>";
    for (std::size_t k = 0; k < sample.answers.size(); ++k)
      if (const ReportAnswer& answer = sample.answers[k]; !answer.note.empty())
        notes += message("<li><i style=\"{}\"></i>{}</li>", color_of(answer, k), escaped(answer.note));
    cards += message("<figure class=\"sample\"{}>\n<div>{}<div><b>{}</b><ul>{}</ul></div></div>\n",
                     id_of(sample.id), picture, escaped(sample.caption), notes);
    if (!sample.text.empty()) cards += "<p class=\"quote\">" + escaped(sample.text) + "</p>\n";
    cards += bars_of(place, sample, classes) + "</figure>\n";
  }
  if (!samples.empty() && samples.front().answers.size() > 1) html(legend_of(samples.front().answers));
  open_grid(true);
  body_ += cards;
  return *this;
}

Report& Report::heat_map(std::string_view title, const Tensor& values,
                         const std::vector<std::string>& row_names,
                         const std::vector<std::string>& column_names) {
  const char* const operation = "Report::heat_map";
  detail::require_defined(operation, "the matrix", values);
  if (values.dim() != 2)
    throw ShapeError(message("{}: the matrix has shape {}; it must be (R, C)", operation, values.shape()));
  check_counts(operation, "value", values, "finite and at least 0");
  struct Side {
    const char* what;
    const std::vector<std::string>& names;
    std::int64_t count;
  };
  for (const Side& side :
       {Side{"rows", row_names, values.size(0)}, {"columns", column_names, values.size(1)}})
    if (!side.names.empty() && std::ssize(side.names) != side.count)
      throw ValueError(message("{}: the number of names of the heat map's {} is {}, but it has shape {}",
                               operation, side.what, side.names.size(), values.shape()));
  return figure(title, "<div class=\"scroll\">" +
                           detail::heat_map_svg(title, values, row_names, column_names) + "</div>\n");
}

std::string Report::page() const {
  std::string page = detail::report_page;
  replace_all(page, "{title}", escaped(title_));
  replace_all(page, "{sections}", body_ + (grid_ != 0 ? "</div>\n" : "") + (section_ ? "</section>\n" : ""));
  return page;
}

void Report::write(const std::string& path) const { AtomicFile::write_whole("Report", path, page()); }

std::string Report::escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      case '\'': result += "&#39;"; break;
      default: result += c;
    }
  }
  return result;
}

std::string Report::png_address(std::span<const float> pixels, std::int64_t width) {
  if (width < 1 || pixels.size() % static_cast<std::size_t>(width) != 0)
    throw ValueError(message("Report::png_address: {} cannot form rows of width {}",
                             detail::counted(pixels.size(), "pixel"), width));
  std::string rows;
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    if (i % static_cast<std::size_t>(width) == 0) rows += '\0';  // each row starts with its filter: none
    rows += static_cast<char>(std::lround(255 * std::fmin(std::fmax(pixels[i], 0.0F), 1.0F)));
  }
  std::string header;
  append_big_endian(header, static_cast<std::uint32_t>(width));
  append_big_endian(header, static_cast<std::uint32_t>(pixels.size() / static_cast<std::size_t>(width)));
  header += std::string("\x08\0\0\0\0", 5);  // 8 bits, grey; default compression, filter and interlace
  std::string png = "\x89PNG\r\n\x1A\n";
  append_chunk(png, "IHDR", header);
  append_chunk(png, "IDAT", compressed(rows));
  append_chunk(png, "IEND", "");
  return "data:image/png;base64," + base64(png);
}

std::string text_table(const std::vector<std::vector<std::string>>& rows) {
  const auto width_of = [](const std::string& text) {  // UTF-8 continuation bytes are not counted
    return static_cast<std::size_t>(
        std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
  };
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
      line += row[i] + std::string(widths[i] - width_of(row[i]) + 2, ' ');
    text += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  }
  return text;
}

}  // namespace retort
