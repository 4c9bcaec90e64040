#include "distill/report/html_report.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <span>
#include <vector>

#include "distill/report/table.hpp"

namespace distill {
namespace {

using retort::fixed;
using retort::message;
using retort::Report;
using retort::ReportSample;
using retort::Tensor;
using Rows = std::vector<std::int64_t>;

/// The networks whose predictions are in the run.
std::span<const Network> networks_of(const RunRecord& run) {
  return std::span(networks).subspan(run.teacher.defined() ? 0 : 1);
}

/// The three accuracies at the top of the page.
std::string headline(const RunRecord& run) {
  const std::vector<std::vector<std::string>> rows = cells_of(run.result);
  std::string tiles;
  for (std::size_t n = 0; n < networks.size(); ++n) {
    const std::string& accuracy = rows[n + 1][1];
    const std::size_t end = std::min(accuracy.find(" ±"), accuracy.size());
    tiles += message("<div style=\"border-color:{}\"><b>{}</b>{}</div>\n", networks[n].color,
                     Report::escaped(accuracy.substr(0, end)), networks[n].title);
  }
  return message("<p class=\"tiles\">Test accuracy, %</p>\n<div class=\"tiles\">\n{}</div>\n", tiles);
}

void add_result(Report& report, const RunRecord& run, const Data& data) {
  report.section("Result",
                 caption_of(run.result, message("{} {} images", data.test.size(), data.judges)) + '.');
  report.table(cells_of(run.result));
}

void add_confusions(Report& report, const RunRecord& run, const Data& data) {
  report.section(
      "Confusions",
      "Each row is the true class, each column the answer, in % of the images of the true class: right "
      "answers are blue, mistakes orange; 0 is less than half a percent, an empty cell is exactly none. "
      "Students of the first seed.");
  for (const Network& network : networks_of(run))
    report.confusion(network.title,
                     retort::metrics::confusion_matrix(run.*network.logits, data.test.targets()),
                     run.class_names, message("confusion-{}", network.key));
}

/// A card for a test image, without answers.
ReportSample sample_of(const RunRecord& run, const Data& data, std::int64_t row) {
  const std::int64_t label = data.test.targets().data<std::int64_t>()[row];
  ReportSample sample{.caption = run.class_names[label], .label = label};
  const auto side = std::llround(std::sqrt(static_cast<double>(data.pixels)));
  if (side * side == data.pixels)
    sample.image = retort::reshape(retort::select(data.test.inputs(), 0, row), {side, side});
  return sample;
}

/// softmax(logits / temperature) of each row, float64 [N, C].
Tensor softened(const Tensor& logits, double temperature) {
  return retort::no_grad([&] { return retort::softmax(logits.to(retort::DType::float64) / temperature, 1); });
}

/// The probability of the label in each row.
std::vector<double> certainty(const Tensor& logits, const Tensor& labels) {
  return retort::gather(softened(logits, 1), 1, retort::unsqueeze(labels, 1)).values<double>();
}

/// 1 in each row in which the network is right, otherwise 0.
Tensor right(const Tensor& logits, const Tensor& labels) {
  return retort::equal(retort::argmax(logits, 1), labels);
}

/// The rows with a 1.
Rows rows_of(const Tensor& chosen) {
  Rows rows;
  for (std::int64_t row = 0; row < chosen.size(); ++row)
    if (chosen.data<std::int64_t>()[row] == 1) rows.push_back(row);
  return rows;
}

/// The probabilities of the classes of one image.
std::vector<double> answer_of(const Tensor& logits, std::int64_t row, double temperature) {
  return softened(retort::slice(logits, 0, row, row + 1), temperature).values<double>();
}

void add_samples(Report& report, const RunRecord& run, const Data& data) {
  std::vector<ReportSample> samples;
  for (const std::int64_t row : telling_rows(run, data.test.targets(), 12)) {
    ReportSample& sample = samples.emplace_back(sample_of(run, data, row));
    for (const Network& network : networks) {
      const Tensor& logits = run.*network.logits;
      const std::vector<double> sharp = answer_of(logits, row, 1);
      const auto most = std::ranges::max_element(sharp);
      const std::int64_t answer = most - sharp.begin();
      const char* const verdict = answer == sample.label ? "✓" : "✗";
      sample.answers.push_back({network.title, answer_of(logits, row, run.temperature),
                                message("{}, {} {}", run.class_names[answer], percent(*most, 0), verdict),
                                network.color});
    }
  }
  report.section(
      "Right by the teacher, wrong by the student alone",
      message("For each class, one image that the teacher gets right and to whose class the student "
              "alone gives the lowest probability. Shown are the true class, the answer and the "
              "confidence of each network, and the soft labels at temperature {} as bars from 0 to "
              "100 %. Students of the first seed.",
              run.temperature));
  report.samples(samples, run.class_names);
  if (samples.empty())
    report.html("<p class=\"note\">The student alone is right wherever the teacher is.</p>\n");
}

/// Shows the teacher's answers at 1, 2, 4, 8 and the run's temperature, in colours from purple through dull
/// red to ochre, which are visible on white and near-black.
void add_softening(Report& report, const RunRecord& run, const Data& data) {
  const std::set<double> temperatures = {1, 2, 4, 8, run.temperature};
  std::vector<ReportSample> samples;
  for (const std::int64_t row : rows_by_confidence(run, data.test.targets(), {0.99, 0.8, 0.5})) {
    ReportSample& sample = samples.emplace_back(sample_of(run, data, row));
    sample.id = message("soft-{}", row);
    for (const double temperature : temperatures) {
      const double share =
          static_cast<double>(sample.answers.size()) / static_cast<double>(temperatures.size() - 1);
      sample.answers.push_back(
          {.name = message("T = {}", temperature),
           .probabilities = answer_of(run.teacher, row, temperature),
           .color = message("rgb({}, {}, {})", std::lround(150 + 64 * share), std::lround(60 + 100 * share),
                            std::lround(150 - 90 * share))});
    }
    const std::vector<double> sharp = answer_of(run.teacher, row, 1);
    sample.notes = {message("at T = 1 the teacher gives it {}", percent(sharp[sample.label], 0))};
  }
  report.section(
      "The teacher's soft targets",
      message("The teacher's answers at several temperatures T to three images that it gets "
              "right. At T = 1, their classes have probabilities close to 99, 80 and 50 %. This run "
              "distilled at T = {}.",
              run.temperature));
  report.samples(samples, run.class_names);
}

void add_settings(Report& report, const RunRecord& run) {
  report.section("How it was made", message("The options and the machine of this run. It took {} s.",
                                            fixed(run.result.seconds, 0)));
  report.settings("Machine and build", run.environment);
  report.settings("Options", run.config);
}

void add_learning(Report& report, const RunRecord& run) {
  const bool teacher = std::ranges::count(run.events, "teacher", &Event::network) > 0;
  report.section(
      "Learning",
      message(
          "{}Students: mean over the seeds, with a band from the lowest to the highest value.{} The students "
          "minimise different losses, so the heights of their losses cannot be compared.",
          teacher ? "Teacher: mean loss of each epoch; grey: single batches. " : "",
          run.teacher.defined() ? " Dashed: the teacher's final value." : ""));
  const std::vector<Chart> charts = learning_charts(run);
  for (const Chart& chart : charts) report.curves(chart.title, chart.axes, chart.series);
  if (charts.empty()) report.html("<p class=\"note\">The run has not measured this.</p>\n");
}

void add_differences(Report& report, const RunRecord& run) {
  report.section(
      "Distilled against alone, seed by seed",
      "Each seed's difference between the student distilled and the one alone, which start from the "
      "same weights and see the same images; dashed the mean, shaded its 95 % interval.");
  const auto add = [&](const char* title, const char* unit, double Metrics::*value, double scale) {
    std::vector<double> differences;
    for (const SeedResult& seed : run.result.seeds)
      differences.push_back(scale * (seed.distilled.*value - seed.alone.*value));
    report.differences(title, unit, differences);
  };
  add("Accuracy: more is better", "percentage points", &Metrics::accuracy, 100);
  add("Negative log-likelihood: less is better", "nats", &Metrics::nll, 1);
  add("Calibration error: less is better", "percentage points", &Metrics::ece, 100);
}

void add_reliability(Report& report, const RunRecord& run, const Data& data) {
  report.section(
      "Calibration",
      "How many of the answers given with some confidence are right (bars): on the dashed diagonal "
      "confidence is exactly right, below it too high; the line with dots is the share of all "
      "answers in each bar. Students of the first seed.");
  for (const Network& network : networks_of(run))
    report.calibration(network.title, run.*network.logits, data.test.targets());
}

}  // namespace

Rows telling_rows(const RunRecord& run, const Tensor& labels, std::size_t count) {
  const std::vector<double> probability = certainty(run.alone, labels);
  const auto class_of = [&](std::int64_t row) { return labels.data<std::int64_t>()[row]; };
  Rows rows = rows_of(retort::greater(right(run.teacher, labels), right(run.alone, labels)));
  std::ranges::stable_sort(rows, {}, [&](std::int64_t row) { return probability[row]; });
  std::set<std::int64_t> classes;  // the first row of each remains
  std::erase_if(rows, [&](std::int64_t row) { return !classes.insert(class_of(row)).second; });
  rows.resize(std::min(rows.size(), count));
  std::ranges::sort(rows, {}, class_of);
  return rows;
}

Rows rows_by_confidence(const RunRecord& run, const Tensor& labels, const std::vector<double>& confidences) {
  const std::vector<double> probability = certainty(run.teacher, labels);
  Rows left = rows_of(right(run.teacher, labels)), rows;
  for (const double confidence : confidences) {
    if (left.empty()) break;
    const auto nearest = std::ranges::min_element(
        left, {}, [&](std::int64_t row) { return std::abs(probability[row] - confidence); });
    rows.push_back(*nearest);
    left.erase(nearest);
  }
  return rows;
}

void write_html_report(const std::string& run_folder, const Data& data) {
  const RunRecord run = read_run(run_folder, data);
  Report report("Distillation on " + std::filesystem::path(run.data_folder).filename().string());
  report.html(headline(run));
  add_result(report, run, data);
  add_learning(report, run);
  add_differences(report, run);
  add_reliability(report, run, data);
  add_confusions(report, run, data);
  if (run.teacher.defined()) {
    add_samples(report, run, data);
    add_softening(report, run, data);
  }
  add_settings(report, run);
  report.write((std::filesystem::path(run_folder) / "report.html").string());
}

}  // namespace distill
