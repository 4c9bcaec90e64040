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

/// The image of a row as an <img> element; empty if the images are not square.
std::string image(const Page& page, std::int64_t row) {
  const auto side = std::llround(std::sqrt(static_cast<double>(page.data.pixels)));
  if (side * side != page.data.pixels) return "";
  const auto pixels = page.data.test.inputs().data<float>().subspan(
      static_cast<std::size_t>(row * page.data.pixels), static_cast<std::size_t>(page.data.pixels));
  return message("<img alt=\"test image {}\" width=\"84\" height=\"84\" src=\"{}\">", row,
                 Report::png_address(pixels, side));
}

std::string percent(double share) { return fixed(100 * share, 0) + " %"; }

/// Soft answers to all test images, and their name and colour in the page.
struct Answers {
  std::string name = {};
  std::string color = {};
  Tensor probabilities = {};  ///< float64 [N, C]

  std::vector<double> operator[](std::int64_t row) const {
    return retort::select(probabilities, 0, row).values<double>();
  }
};

std::string legend_of(const std::vector<Answers>& answers) {
  std::string chips;
  for (const Answers& some : answers)
    chips += message("<span><i style=\"background:{}\"></i>{}</span>", some.color, some.name);
  return "<p class=\"legend\">" + chips + "</p>\n";
}

/// The answers to an image as bars: a row for each class, with one bar per answer. The true class is
/// emphasised.
std::string bars_of(const Page& page, std::int64_t row, const std::vector<Answers>& answers) {
  std::vector<std::vector<double>> distributions;
  for (const Answers& some : answers) distributions.push_back(some[row]);
  std::string bars = "<table class=\"bars\">\n";
  for (const std::size_t k : shown_classes(distributions, 12)) {
    const auto answer = static_cast<std::int64_t>(k);
    bars += message("<tr{}><th>{}</th><td>", answer == page.label(row) ? " class=\"truth\"" : "",
                    page.class_name(answer));
    for (std::size_t n = 0; n < answers.size(); ++n)
      bars += message("<i style=\"width:{}%;background:{}\" title=\"{}\"></i>",
                      fixed(100 * distributions[n][k], 1), answers[n].color, percent(distributions[n][k]));
    bars += "</td></tr>\n";
  }
  return bars + "</table>";
}

/// A figure of an image: its class, a text in HTML, and the answers to it.
std::string sample_card(const Page& page, std::int64_t row, const std::string& id, const std::string& text,
                        const std::vector<Answers>& answers) {
  return message("<figure class=\"sample\"{}>\n<div>{}<div><b>{}</b>{}</div></div>\n{}</figure>\n", id,
                 image(page, row), page.class_name(page.label(row)), text, bars_of(page, row, answers));
}

void add_samples(Report& report, const Page& page) {
  std::vector<Answers> sharp, soft;
  for (const Network& network : networks()) {
    sharp.push_back({network.title, network.color, softened(page.run.*network.logits, 1)});
    soft.push_back({network.title, network.color, softened(page.run.*network.logits, page.run.temperature)});
  }
  std::string cards;
  for (const std::int64_t row : telling_rows(page.run, page.labels, 12)) {
    std::string answers;
    for (const Answers& network : sharp) {
      const std::vector<double> probabilities = network[row];
      const auto most = std::ranges::max_element(probabilities);
      const std::int64_t answer = most - probabilities.begin();
      answers += message("<li><i style=\"background:{}\"></i>{}, {}{}</li>", network.color,
                         page.class_name(answer), percent(*most),
                         answer == page.label(row) ? " <b class=\"good\">✓</b>" : " <b class=\"bad\">✗</b>");
    }
    cards += sample_card(page, row, "", "<ul>" + answers + "</ul>", soft);
  }
  if (cards.empty())
    cards = "<p class=\"note\">There is no such image: the student alone gets all of them right.</p>";
  report.section(
      "Right by the teacher, wrong by the student alone",
      message("For each class, one image that the teacher gets right and to whose class the student "
              "alone gives the lowest probability. Shown are the true class, the answer and the "
              "confidence of each network, and the soft labels at temperature {} as bars from 0 to "
              "100 %. Students of the first seed.",
              page.run.temperature));
  report.html(legend_of(soft) + "<div class=\"grid narrow\">\n" + cards + "</div>\n");
}

/// The teacher's answers at 1, 2, 4, 8 and the run's temperature, in colours from purple through dull red to
/// ochre, which are visible on white and near-black.
std::vector<Answers> softening(const RunRecord& run) {
  std::vector<Answers> answers;
  const std::set<double> temperatures = {1, 2, 4, 8, run.temperature};
  for (const double temperature : temperatures) {
    const double share = static_cast<double>(answers.size()) / static_cast<double>(temperatures.size() - 1);
    answers.push_back({message("T = {}", temperature),
                       message("rgb({}, {}, {})", std::lround(150 + 64 * share),
                               std::lround(60 + 100 * share), std::lround(150 - 90 * share)),
                       softened(run.teacher, temperature)});
  }
  return answers;
}

void add_softening(Report& report, const Page& page) {
  const std::vector<Answers> soft = softening(page.run);
  const Answers sharp = {.probabilities = softened(page.run.teacher, 1)};
  std::string figures;
  for (const std::int64_t row : rows_by_confidence(page.run, page.labels, {0.99, 0.8, 0.5}))
    figures += sample_card(
        page, row, message(" id=\"soft-{}\"", row),
        "<br>at T = 1 the teacher gives it " + percent(sharp[row][static_cast<std::size_t>(page.label(row))]),
        soft);
  report.section(
      "The teacher's soft targets",
      message("The teacher's answers at several temperatures T to three images that it gets "
              "right. At T = 1, their classes have probabilities close to 99, 80 and 50 %. This run "
              "distilled at T = {}.",
              page.run.temperature));
  report.html(legend_of(soft) + "<div class=\"grid\">\n" + figures + "</div>\n");
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
