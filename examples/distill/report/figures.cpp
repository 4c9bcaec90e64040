#include "distill/report/figures.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <retort/framework/base/error.hpp>

#include "distill/report/formatted.hpp"
#include "distill/run/statistics.hpp"

namespace distill {
namespace {

using retort::message;
using retort::ReportSeries;

/// A metric plotted over the epochs.
struct Measure {
  const char* title;
  const char* unit;
  double Curve::Point::*value;
  double Metrics::*final;  // the teacher's result, drawn as a reference line; null for the loss
  double scale;
};
constexpr std::array<Measure, 3> measures = {
    Measure{"training loss", "loss", &Curve::Point::loss, nullptr, 1},
    Measure{"test accuracy", "accuracy, %", &Curve::Point::test_accuracy, &Metrics::accuracy, 100},
    Measure{"test neg. log-likelihood", "nats", &Curve::Point::test_nll, &Metrics::nll, 1},
};

/// Mean, minimum and maximum over the seeds. Omits epochs without a value.
ReportSeries over_seeds(const RunRecord& run, const Network& network, const Measure& measure) {
  std::map<double, std::vector<double>> by_epoch;
  if (const auto found = run.curves.find(network.key); found != run.curves.end())
    for (const auto& [seed, curve] : found->second)
      for (const Curve::Point& point : curve.epochs)
        if (std::isfinite(point.*measure.value))
          by_epoch[point.epoch].push_back(measure.scale * point.*measure.value);
  ReportSeries series{.name = network.title, .color = network.color};
  for (const auto& [epoch, values] : by_epoch) {
    const auto [least, greatest] = std::ranges::minmax(values);
    series.x.push_back(epoch);
    series.y.push_back(summarise(values).mean);
    series.low.push_back(least);
    series.high.push_back(greatest);
  }
  return series;
}

ReportSeries batch_losses(const RunRecord& run) {
  ReportSeries series{.name = "single batches", .color = "#80808070"};
  if (const auto found = run.curves.find("teacher"); found != run.curves.end())
    for (const auto& [seed, curve] : found->second)
      for (const Curve::Point& point : curve.steps) {
        series.x.push_back(point.epoch);
        series.y.push_back(point.loss);
      }
  return series;
}

Chart teacher_chart(const RunRecord& run, const Measure& measure) {
  Chart chart{message("Teacher: {}", measure.title), {.x = "epoch", .y = measure.unit}};
  if (!measure.final) chart.series.push_back(batch_losses(run));
  chart.series.push_back(over_seeds(run, networks()[0], measure));
  return chart;
}

Chart students_chart(const RunRecord& run, const Measure& measure) {
  Chart chart{message("Students: {}", measure.title),
              {.x = "epoch", .y = measure.unit, .log_y = !measure.final}};
  double last = 0;
  for (const Network& network : networks().subspan(1)) {
    chart.series.push_back(over_seeds(run, network, measure));
    if (!chart.series.back().x.empty()) last = std::max(last, chart.series.back().x.back());
  }
  if (measure.final && run.teacher.defined() && last > 0) {
    const double value = measure.scale * run.result.teacher.*measure.final;
    chart.series.push_back({.name = networks()[0].title,
                            .x = {0, last},
                            .y = {value, value},
                            .color = networks()[0].color,
                            .dashed = true});
  }
  return chart;
}

}  // namespace

std::span<const Network> networks() {
  static constexpr std::array<Network, 3> all = {
      Network{"teacher", "Teacher", "#7d8590", &RunRecord::teacher},
      Network{"alone", "Student alone", "#d0712c", &RunRecord::alone},
      Network{"distilled", "Student distilled", "#3a85c8", &RunRecord::distilled},
  };
  return all;
}

std::span<const Network> networks_of(const RunRecord& run) {
  return run.teacher.defined() ? networks() : networks().subspan(1);
}

std::vector<Chart> learning_charts(const RunRecord& run) {
  std::vector<Chart> charts;
  for (const auto chart_of : {teacher_chart, students_chart})
    for (const Measure& measure : measures) {
      Chart chart = chart_of(run, measure);
      std::erase_if(chart.series, [](const ReportSeries& series) { return series.x.empty(); });
      if (!chart.series.empty()) charts.push_back(std::move(chart));
    }
  return charts;
}

std::vector<double> shown_temperatures(const RunRecord& run) {
  std::vector<double> temperatures = {1, 2, 4, 8, run.temperature};
  std::ranges::sort(temperatures);
  temperatures.erase(std::ranges::unique(temperatures).begin(), temperatures.end());
  return temperatures;
}

std::string temperature_color(std::size_t k, std::size_t n) {
  // From purple through dull red to ochre; all are visible on white and near-black.
  const double share = n > 1 ? static_cast<double>(k) / static_cast<double>(n - 1) : 0;
  const auto between = [&](double from, double to) {
    return static_cast<int>(std::lround(from + share * (to - from)));
  };
  return formatted("#%02x%02x%02x", between(150, 214), between(60, 160), between(150, 60));
}

}  // namespace distill
