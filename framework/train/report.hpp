// Reports of results as HTML pages.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A line of a chart. NaN values interrupt it.
struct ReportSeries {
  std::string name = {};
  std::vector<double> x = {};
  std::vector<double> y = {};
  std::vector<double> low = {};  ///< with `high`, a band around the line; may be omitted
  std::vector<double> high = {};
  std::string color = {};  ///< a CSS colour; if absent, one of the report's colours
  bool dashed = false;
};

/// A labelled point of a scatter chart.
struct ReportPoint {
  std::string name = {};
  double x = 0;
  double y = 0;
  std::string color = {};
};

/// The axes of a chart. Values <= 0 are omitted from a logarithmic axis; the caption gives their number.
struct ReportAxes {
  std::string x = {};  ///< title of the horizontal axis
  std::string y = {};
  bool log_x = false;
  bool log_y = false;
};

/// A model's probabilities of the classes, drawn as bars.
struct ReportAnswer {
  std::string name = {};
  std::vector<double> probabilities = {};  ///< in [0, 1], one per class
  std::string note = {};                   ///< a line next to the colour, such as the predicted class
  std::string color = {};                  ///< as in a ReportSeries
};

/// An example with model outputs.
struct ReportSample {
  Tensor image = {};  ///< (H, W) grey in [0, 1]; undefined for a text
  std::string text = {};
  std::string caption = {};                ///< such as the true class
  std::vector<std::string> notes = {};     ///< such as model outputs, one line each
  std::vector<ReportAnswer> answers = {};  ///< compared class by class
  std::int64_t label = -1;                 ///< the class whose bars are emphasised; -1: none
  std::string id = {};                     ///< the figure's id in the page
};

/// A self-contained page of sections: no scripts, charts as inline SVG, images as inline PNG. It follows the
/// reader's light or dark setting and fits phones and wide screens.
///
///     rt::Report report("Distillation on Fashion-MNIST");
///     report.section("Result", "Accuracy on the test set.");
///     report.table({{"", "accuracy, %"}, {"teacher", "91.2"}, {"student", "88.0"}});
///     report.curves("Training loss", {.x = "epoch", .y = "loss"},
///                   {{.name = "teacher", .x = epochs, .y = losses}});
///     report.write("report.html");
///
/// All text is escaped, except that of html(). Consecutive charts and images share a grid.
class Report {
 public:
  explicit Report(std::string title, std::string_view introduction = {});

  /// Begins a section with a heading and, if given, a paragraph.
  Report& section(std::string_view title, std::string_view introduction = {});
  Report& text(std::string_view paragraph);  ///< Adds a paragraph.
  /// Adds rows of cells; the first row and the first column are headings. In a cell, text after " [" or " ±"
  /// is set in small type.
  Report& table(const std::vector<std::vector<std::string>>& rows);
  /// Adds names and values, such as options and facts about the machine.
  Report& settings(std::string_view title, const std::vector<std::pair<std::string, std::string>>& entries);
  /// Adds a chart with one line per series. Throws: ValueError if a series' lists differ in length.
  Report& curves(std::string_view title, const ReportAxes& axes, const std::vector<ReportSeries>& series);
  /// Adds a scatter chart, such as accuracy against size or latency.
  Report& scatter(std::string_view title, const ReportAxes& axes, const std::vector<ReportPoint>& points);
  /// Adds one dot per seed, with a dashed mean and a shaded 95 % interval.
  Report& differences(std::string_view title, std::string_view unit, std::span<const double> values);
  /// Adds accuracy by confidence and the share of answers at each confidence, from logits (N, C) and labels
  /// (N).
  Report& calibration(std::string_view title, const Tensor& logits, const Tensor& labels);
  /// Adds the int64 counts (C, C) of metrics::confusion_matrix in % of each row; for more than 20 classes as
  /// shades without numbers. `id` is the figure's id in the page.
  /// Throws: TypeError unless int64; ShapeError unless square; ValueError for counts < 0 or unless C names.
  Report& confusion(std::string_view title, const Tensor& counts, const std::vector<std::string>& names,
                    std::string_view id = {});
  /// Adds examples with their images and, for answers, bars and a legend. `classes` names the classes, which
  /// are otherwise numbered. Of more than 12 classes, only those most probable in any answer have bars.
  /// Throws: ShapeError unless an image is (H, W); ValueError if it has values outside [0, 1], or if numbers
  /// of classes differ; IndexError for a label outside the classes.
  Report& samples(const std::vector<ReportSample>& samples, const std::vector<std::string>& classes = {});
  /// Adds a matrix (R, C), such as attention weights, as shades from 0 to the largest. Names may be omitted.
  /// Throws: ShapeError unless (R, C); ValueError for a wrong number of names or values < 0 or not finite.
  Report& heat_map(std::string_view title, const Tensor& values,
                   const std::vector<std::string>& row_names = {},
                   const std::vector<std::string>& column_names = {});
  /// Adds HTML verbatim; escaped() and png_address() help to create it.
  Report& html(std::string_view code);
  /// Adds HTML verbatim as a figure with a caption, in the grid.
  Report& figure(std::string_view caption, std::string_view code, std::string_view id = {});

  [[nodiscard]] std::string page() const;  ///< Returns the whole page.
  /// Writes the page, completely or not at all.
  /// Throws: IoError on failure.
  void write(const std::string& path) const;

  /// Escapes &, <, >, " and ' for use in text and attributes.
  [[nodiscard]] static std::string escaped(std::string_view text);
  /// Encodes a row-major grey image as a data: URL of a PNG file. Values are clamped to [0, 1]; NaN is black.
  [[nodiscard]] static std::string png_address(std::span<const float> pixels, std::int64_t width);

 private:
  void close_grid();
  void open_grid(bool narrow);

  std::string title_;
  std::string body_ = {};
  int grid_ = 0;          // 0: none is open, 1: charts, 2: narrow cards
  bool section_ = false;  // one is open
};

/// Formats rows as by Report::table() as text with aligned columns, for the terminal.
[[nodiscard]] std::string text_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace retort
