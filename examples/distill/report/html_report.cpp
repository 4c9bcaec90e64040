#include "distill/report/html_report.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <retort/framework/base/error.hpp>
#include <retort/framework/train/metrics.hpp>
#include <retort/framework/train/report.hpp>
#include <vector>

#include "distill/report/figures.hpp"
#include "distill/report/formatted.hpp"
#include "distill/report/run_record.hpp"
#include "distill/report/samples.hpp"
#include "distill/report/table.hpp"

namespace distill {
namespace {

using retort::message;
using retort::Report;
using retort::Tensor;

std::string escaped(std::string_view text) { return Report::escaped(text); }

/// The data for all sections of the page.
struct Page {
  const RunRecord& run;
  const Data& data;
  const Tensor& labels;

  std::string class_name(std::int64_t k) const {
    return escaped(run.class_names[static_cast<std::size_t>(k)]);
  }
  std::int64_t label(std::int64_t row) const {
    return labels.data<std::int64_t>()[static_cast<std::size_t>(row)];
  }
};

std::string legend() {
  std::string chips;
  for (const Network& network : networks())
    chips += message("<span><i style=\"background:{}\"></i>{}</span>", network.color, network.title);
  return "<p class=\"legend\">" + chips + "</p>\n";
}

/// The three accuracies at the top of the page.
std::string headline(const Page& page) {
  const std::vector<std::vector<std::string>> rows = cells_of(page.run.result);
  std::string tiles;
  for (std::size_t n = 0; n < networks().size(); ++n) {
    const std::string& accuracy = rows[n + 1][1];
    const std::size_t end = std::min(accuracy.find(" ±"), accuracy.size());
    tiles += message("<div style=\"border-color:{}\"><b>{}</b>{}</div>\n", networks()[n].color,
                     escaped(accuracy.substr(0, end)), networks()[n].title);
  }
  return message("<p class=\"tiles\">Test accuracy, %</p>\n<div class=\"tiles\">\n{}</div>\n", tiles);
}

void add_result(Report& report, const Page& page) {
  report.section("Result",
                 message("On the {} {} images: mean ± standard deviation over {}, and the difference "
                         "within a seed with its 95 % interval.",
                         page.data.test.size(), page.data.judges, seeds_of(page.run.result)));
  report.table(cells_of(page.run.result));
}

void add_confusions(Report& report, const Page& page) {
  report.section(
      "Confusions",
      "Each row is the true class, each column the answer, in % of the images of the true class: right "
      "answers are blue, mistakes orange; 0 is less than half a percent, an empty cell is exactly none. "
      "Students of the first seed.");
  for (const Network& network : networks_of(page.run))
    report.confusion(network.title, retort::metrics::confusion_matrix(page.run.*network.logits, page.labels),
                     page.run.class_names, message("confusion-{}", network.key));
}

/// The image of a row as an <img> element; empty if the images are not square.
std::string image(const Page& page, std::int64_t row) {
  const auto side = std::llround(std::sqrt(static_cast<double>(page.data.pixels)));
  if (side * side != page.data.pixels) return "";
  const auto pixels = page.data.test.inputs().data<float>().subspan(
      static_cast<std::size_t>(row * page.data.pixels), static_cast<std::size_t>(page.data.pixels));
  return message("<img alt=\"test image {}\" width=\"84\" height=\"84\" src=\"{}\">", row,
                 Report::png_address(pixels, side));
}

std::vector<double> row_of(const Tensor& probabilities, std::int64_t row) {
  const auto classes = static_cast<std::size_t>(probabilities.size(1));
  const auto values = probabilities.data<double>().subspan(static_cast<std::size_t>(row) * classes, classes);
  return {values.begin(), values.end()};
}

std::string percent(double share) { return formatted("%.0f %%", 100 * share); }

/// A row for each class, with one bar per distribution. The true class is emphasised.
std::string bars_of(const Page& page, const std::vector<std::vector<double>>& distributions,
                    const std::vector<std::string>& colors, std::int64_t label) {
  std::string bars = "<table class=\"bars\">\n";
  for (const std::size_t k : shown_classes(distributions, 12)) {
    const auto answer = static_cast<std::int64_t>(k);
    bars +=
        message("<tr{}><th>{}</th><td>", answer == label ? " class=\"truth\"" : "", page.class_name(answer));
    for (std::size_t n = 0; n < distributions.size(); ++n)
      bars += message("<i style=\"width:{}%;background:{}\" title=\"{}\"></i>",
                      formatted("%.1f", 100 * distributions[n][k]), colors[n], percent(distributions[n][k]));
    bars += "</td></tr>\n";
  }
  return bars + "</table>";
}

std::string sample_card(const Page& page, std::int64_t row, const std::vector<Tensor>& sharp,
                        const std::vector<Tensor>& soft) {
  const std::int64_t label = page.label(row);
  std::string answers;
  std::vector<std::vector<double>> distributions;
  std::vector<std::string> colors;
  for (std::size_t n = 0; n < networks().size(); ++n) {
    const std::vector<double> probabilities = row_of(sharp[n], row);
    const auto most = std::ranges::max_element(probabilities);
    const auto answer = static_cast<std::int64_t>(most - probabilities.begin());
    answers += message("<li><i style=\"background:{}\"></i>{}, {}{}</li>", networks()[n].color,
                       page.class_name(answer), percent(*most),
                       answer == label ? " <b class=\"good\">✓</b>" : " <b class=\"bad\">✗</b>");
    distributions.push_back(row_of(soft[n], row));
    colors.emplace_back(networks()[n].color);
  }
  return message("<figure class=\"sample\">\n<div>{}<div><b>{}</b><ul>{}</ul></div></div>\n{}</figure>\n",
                 image(page, row), page.class_name(label), answers,
                 bars_of(page, distributions, colors, label));
}

void add_samples(Report& report, const Page& page) {
  std::vector<Tensor> sharp, soft;
  for (const Network& network : networks()) {
    sharp.push_back(softened(page.run.*network.logits, 1));
    soft.push_back(softened(page.run.*network.logits, page.run.temperature));
  }
  std::string cards;
  for (const std::int64_t row : telling_rows(page.run, page.labels, 12))
    cards += sample_card(page, row, sharp, soft);
  if (cards.empty())
    cards = "<p class=\"note\">There is no such image: the student alone gets all of them right.</p>";
  report.section(
      "Right by the teacher, wrong by the student alone",
      message("For each class, one image that the teacher gets right and to whose class the student "
              "alone gives the lowest probability. Shown are the true class, the answer and the "
              "confidence of each network, and the soft labels at temperature {} as bars from 0 to "
              "100 %. Students of the first seed.",
              formatted("%g", page.run.temperature)));
  report.html(legend() + "<div class=\"grid narrow\">\n" + cards + "</div>\n");
}

void add_softening(Report& report, const Page& page) {
  const std::vector<double> temperatures = shown_temperatures(page.run);
  std::string chips, figures;
  std::vector<std::string> colors;
  std::vector<Tensor> soft;
  for (const double temperature : temperatures) {
    colors.push_back(temperature_color(colors.size(), temperatures.size()));
    chips += message("<span><i style=\"background:{}\"></i>T = {}</span>", colors.back(),
                     formatted("%g", temperature));
    soft.push_back(softened(page.run.teacher, temperature));
  }
  const Tensor sharp = softened(page.run.teacher, 1);
  for (const std::int64_t row : rows_by_confidence(page.run, page.labels, {0.99, 0.8, 0.5})) {
    std::vector<std::vector<double>> distributions;
    for (const Tensor& probabilities : soft) distributions.push_back(row_of(probabilities, row));
    const std::int64_t label = page.label(row);
    figures += message(
        "<figure class=\"sample\" id=\"soft-{}\">\n<div>{}<div><b>{}</b><br>at T = 1 the "
        "teacher gives it {}</div></div>\n{}</figure>\n",
        row, image(page, row), page.class_name(label),
        percent(row_of(sharp, row)[static_cast<std::size_t>(label)]),
        bars_of(page, distributions, colors, label));
  }
  report.section(
      "The teacher's soft targets",
      message("The teacher's answers at several temperatures T to three images that it gets "
              "right. At T = 1, their classes have probabilities close to 99, 80 and 50 %. This run "
              "distilled at T = {}.",
              formatted("%g", page.run.temperature)));
  report.html("<p class=\"legend\">" + chips + "</p>\n<div class=\"grid\">\n" + figures + "</div>\n");
}

void add_settings(Report& report, const Page& page) {
  report.section("How it was made", message("The options and the machine of this run. It took {} s.",
                                            formatted("%.0f", page.run.result.seconds)));
  report.settings("Machine and build", page.run.environment);
  report.settings("Options", page.run.config);
}

void add_learning(Report& report, const Page& page) {
  const bool teacher = page.run.curves.contains("teacher");
  report.section(
      "Learning",
      message(
          "{}Students: mean over the seeds, with a band from the lowest to the highest value.{} The students "
          "minimise different losses, so the heights of their losses cannot be compared.",
          teacher ? "Teacher: mean loss of each epoch; grey: single batches. " : "",
          page.run.teacher.defined() ? " Dashed: the teacher's final value." : ""));
  const std::vector<Chart> charts = learning_charts(page.run);
  for (const Chart& chart : charts) report.curves(chart.title, chart.axes, chart.series);
  if (charts.empty()) report.html("<p class=\"note\">The run has not measured this.</p>\n");
}

void add_differences(Report& report, const Page& page) {
  report.section(
      "Distilled against alone, seed by seed",
      "Each seed's difference between the student distilled and the one alone, which start from the "
      "same weights and see the same images; dashed the mean, shaded its 95 % interval.");
  const auto add = [&](const char* title, const char* unit, double Metrics::*value, double scale) {
    std::vector<double> differences;
    for (const SeedResult& seed : page.run.result.seeds)
      differences.push_back(scale * (seed.distilled.*value - seed.alone.*value));
    report.differences(title, unit, differences);
  };
  add("Accuracy: more is better", "percentage points", &Metrics::accuracy, 100);
  add("Negative log-likelihood: less is better", "nats", &Metrics::nll, 1);
  add("Calibration error: less is better", "percentage points", &Metrics::ece, 100);
}

void add_reliability(Report& report, const Page& page) {
  report.section(
      "Calibration",
      "How many of the answers given with some confidence are right (bars): on the dashed diagonal "
      "confidence is exactly right, below it too high; the line with dots is the share of all "
      "answers in each bar. Students of the first seed.");
  for (const Network& network : networks_of(page.run))
    report.calibration(network.title, page.run.*network.logits, page.labels);
}

}  // namespace

void write_html_report(const std::string& run_folder, const Data& data) {
  const RunRecord run = read_run(run_folder, data);
  const Page page{run, data, data.test.targets()};
  Report report("Distillation on " + std::filesystem::path(run.data_folder).filename().string());
  report.html(headline(page));
  add_result(report, page);
  add_learning(report, page);
  add_differences(report, page);
  add_reliability(report, page);
  add_confusions(report, page);
  if (run.teacher.defined()) {
    add_samples(report, page);
    add_softening(report, page);
  }
  add_settings(report, page);
  report.write((std::filesystem::path(run_folder) / "report.html").string());
}

}  // namespace distill
