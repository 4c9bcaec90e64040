// Results as a page to look at.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/framework/core/tensor.hpp"

namespace retort {

/// A line of a chart. A value that is NaN interrupts it.
struct ReportSeries {
  std::string name = {};
  std::vector<double> x = {};
  std::vector<double> y = {};
  std::vector<double> low = {};  ///< with `high` a band around the line; may be left out
  std::vector<double> high = {};
  std::string color = {};  ///< in CSS; absent: one of the report's own
  bool dashed = false;
};

/// A point of a scatter chart with its label.
struct ReportPoint {
  std::string name = {};
  double x = 0;
  double y = 0;
  std::string color = {};
};

/// The axes of a chart.
struct ReportAxes {
  std::string x = {};  ///< title of the horizontal axis
  std::string y = {};
  bool log_x = false;
  bool log_y = false;
};

/// An example with what networks make of it.
struct ReportSample {
  Tensor image = {};  ///< (H, W) grey in [0, 1]; undefined for a text
  std::string text = {};
  std::string caption = {};             ///< such as the true class
  std::vector<std::string> notes = {};  ///< such as the answers, one line each
};

/// A page of sections that needs no other file: no script, charts as inline SVG, images as inline PNG. It
/// follows the reader's light or dark setting and fits phones and wide screens.
///
///     rt::Report report("Distillation on Fashion-MNIST");
///     report.section("Result", "Accuracy on the test set.");
///     report.table({{"", "accuracy, %"}, {"teacher", "91.2"}, {"student", "88.0"}});
///     report.curves("Training loss", {.x = "epoch", .y = "loss"},
///                   {{.name = "teacher", .x = epochs, .y = losses}});
///     report.write("report.html");
///
/// All text is escaped, except that of html(). Charts and images that follow each other share a grid.
class Report {
 public:
  explicit Report(std::string title, std::string_view introduction = {});

  /// Begins a section with a heading and, where given, a paragraph.
  Report& section(std::string_view title, std::string_view introduction = {});
  Report& text(std::string_view paragraph);
  /// Rows of cells; the first row and the first column are titles.
  /// In a cell, what follows " [" or " ±" is set small.
  Report& table(const std::vector<std::vector<std::string>>& rows);
  /// Names and values, such as options and facts about the machine.
  Report& settings(std::string_view title, const std::vector<std::pair<std::string, std::string>>& entries);
  Report& curves(std::string_view title, const ReportAxes& axes, const std::vector<ReportSeries>& series);
  /// For instance accuracy against size or latency.
  Report& scatter(std::string_view title, const ReportAxes& axes, const std::vector<ReportPoint>& points);
  /// One dot per seed, their mean dashed and its 95 % interval shaded.
  Report& differences(std::string_view title, std::string_view unit, std::span<const double> values);
  /// Accuracy by confidence, and how many answers have it, from logits (N, C) and labels (N).
  Report& calibration(std::string_view title, const Tensor& logits, const Tensor& labels);
  /// Counts int64 (C, C) of metrics::confusion_matrix in % of each row; for more than 20 classes as shades
  /// without numbers. `id` is the figure's name within the page.
  /// Throws: ShapeError unless the counts are square, ValueError unless there is a name per class.
  Report& confusion(std::string_view title, const Tensor& counts, const std::vector<std::string>& names,
                    std::string_view id = {});
  Report& samples(const std::vector<ReportSample>& samples);
  /// A matrix (R, C), such as attention weights, each value as a shade from 0 to the largest. Names may be
  /// left out.
  /// Throws: ShapeError for another shape, ValueError for another number of names.
  Report& heat_map(std::string_view title, const Tensor& values,
                   const std::vector<std::string>& row_names = {},
                   const std::vector<std::string>& column_names = {});
  /// HTML of your own, which is taken as it is; escaped() and png_address() help to make it.
  Report& html(std::string_view code);
  /// The same as a figure with a caption, in the grid.
  Report& figure(std::string_view caption, std::string_view code, std::string_view id = {});

  /// The whole page.
  [[nodiscard]] std::string page() const;
  /// Writes the page, as a whole or not at all. Throws: IoError.
  void write(const std::string& path) const;

  /// The text with &, <, >, " and ' escaped for text and attributes.
  [[nodiscard]] static std::string escaped(std::string_view text);
  /// A grey image of values in [0, 1], row by row, as a data: address of a PNG file.
  [[nodiscard]] static std::string png_address(std::span<const float> pixels, std::int64_t width);

 private:
  void close_grid();
  void open_grid(bool narrow);

  std::string title_;
  std::string body_ = {};
  int grid_ = 0;          // 0: none is open, 1: charts, 2: narrow cards
  bool section_ = false;  // one is open
};

/// The rows of Report::table() as text with aligned columns, for the terminal.
[[nodiscard]] std::string text_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace retort
