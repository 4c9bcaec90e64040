#include "distill/report/html_report.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <vector>

#include "distill/report/charts.hpp"
#include "distill/report/run_record.hpp"
#include "distill/report/samples.hpp"
#include "distill/report/table.hpp"

namespace distill {
namespace {

using retort::fixed;
using retort::message;
using retort::Report;
using retort::ReportSample;
using retort::Tensor;

/// The data for all sections of the page.
struct Page {
  const RunRecord& run;
  const Data& data;
  const Tensor& labels;
};

/// The three accuracies at the top of the page.
std::string headline(const Page& page) {
  const std::vector<std::vector<std::string>> rows = cells_of(page.run.result);
  std::string tiles;
  for (std::size_t n = 0; n < networks().size(); ++n) {
    const std::string& accuracy = rows[n + 1][1];
    const std::size_t end = std::min(accuracy.find(" ±"), accuracy.size());
    tiles += message("<div style=\"border-color:{}\"><b>{}</b>{}</div>\n", networks()[n].color,
                     Report::escaped(accuracy.substr(0, end)), networks()[n].title);
  }
  return message("<p class=\"tiles\">Test accuracy, %</p>\n<div class=\"tiles\">\n{}</div>\n", tiles);
}

void add_result(Report& report, const Page& page) {
  report.section(
      "Result",
      caption_of(page.run.result, message("{} {} images", page.data.test.size(), page.data.judges)) + '.');
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

/// A card for a test image, without answers.
ReportSample sample_of(const Page& page, std::int64_t row) {
  const std::int64_t label = page.labels.data<std::int64_t>()[static_cast<std::size_t>(row)];
  ReportSample sample{.caption = page.run.class_names[static_cast<std::size_t>(label)], .label = label};
  const auto side = std::llround(std::sqrt(static_cast<double>(page.data.pixels)));
  if (side * side == page.data.pixels)
    sample.image = retort::reshape(retort::select(page.data.test.inputs(), 0, row), {side, side});
  return sample;
}

/// The probabilities of the classes of one image.
std::vector<double> answer_of(const Tensor& logits, std::int64_t row, double temperature) {
  return softened(retort::slice(logits, 0, row, row + 1), temperature).values<double>();
}

std::string percent(double share) { return fixed(100 * share, 0) + " %"; }

void add_samples(Report& report, const Page& page) {
  std::vector<ReportSample> samples;
  for (const std::int64_t row : telling_rows(page.run, page.labels, 12)) {
    ReportSample& sample = samples.emplace_back(sample_of(page, row));
    for (const Network& network : networks()) {
      const Tensor& logits = page.run.*network.logits;
      const std::vector<double> sharp = answer_of(logits, row, 1);
      const auto most = std::ranges::max_element(sharp);
      const std::int64_t answer = most - sharp.begin();
      sample.answers.push_back({network.title, answer_of(logits, row, page.run.temperature),
                                message("{}, {} {}", page.run.class_names[static_cast<std::size_t>(answer)],
                                        percent(*most), answer == sample.label ? "✓" : "✗"),
                                network.color});
    }
  }
  report.section(
      "Right by the teacher, wrong by the student alone",
      message("For each class, one image that the teacher gets right and to whose class the student "
              "alone gives the lowest probability. Shown are the true class, the answer and the "
              "confidence of each network, and the soft labels at temperature {} as bars from 0 to "
              "100 %. Students of the first seed.",
              page.run.temperature));
  report.samples(samples, page.run.class_names);
  if (samples.empty())
    report.html("<p class=\"note\">There is no such image: the student alone gets all of them right.</p>\n");
}

/// Shows the teacher's answers at 1, 2, 4, 8 and the run's temperature, in colours from purple through dull
/// red to ochre, which are visible on white and near-black.
void add_softening(Report& report, const Page& page) {
  const std::set<double> temperatures = {1, 2, 4, 8, page.run.temperature};
  std::vector<ReportSample> samples;
  for (const std::int64_t row : rows_by_confidence(page.run, page.labels, {0.99, 0.8, 0.5})) {
    ReportSample& sample = samples.emplace_back(sample_of(page, row));
    sample.id = message("soft-{}", row);
    for (const double temperature : temperatures) {
      const double share =
          static_cast<double>(sample.answers.size()) / static_cast<double>(temperatures.size() - 1);
      sample.answers.push_back(
          {.name = message("T = {}", temperature),
           .probabilities = answer_of(page.run.teacher, row, temperature),
           .color = message("rgb({}, {}, {})", std::lround(150 + 64 * share), std::lround(60 + 100 * share),
                            std::lround(150 - 90 * share))});
    }
    const std::vector<double> sharp = answer_of(page.run.teacher, row, 1);
    sample.notes = {
        message("at T = 1 the teacher gives it {}", percent(sharp[static_cast<std::size_t>(sample.label)]))};
  }
  report.section(
      "The teacher's soft targets",
      message("The teacher's answers at several temperatures T to three images that it gets "
              "right. At T = 1, their classes have probabilities close to 99, 80 and 50 %. This run "
              "distilled at T = {}.",
              page.run.temperature));
  report.samples(samples, page.run.class_names);
}

void add_settings(Report& report, const Page& page) {
  report.section("How it was made", message("The options and the machine of this run. It took {} s.",
                                            fixed(page.run.result.seconds, 0)));
  report.settings("Machine and build", page.run.environment);
  report.settings("Options", page.run.config);
}

void add_learning(Report& report, const Page& page) {
  const bool teacher = std::ranges::count(page.run.events, "teacher", &Event::network) > 0;
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
