#include "distill/report/charts.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace distill {
namespace {

using retort::message;
using retort::ReportSeries;

/// A metric plotted over the epochs.
struct Measure {
  const char* title;
  const char* unit;
  double Event::*value;
  double Metrics::*final;  // the teacher's result, drawn as a reference line; null for the loss
  double scale;
};
constexpr std::array<Measure, 3> measures = {
    Measure{"training loss", "loss", &Event::loss, nullptr, 1},
    Measure{"test accuracy", "accuracy, %", &Event::test_accuracy, &Metrics::accuracy, 100},
    Measure{"test neg. log-likelihood", "nats", &Event::test_nll, &Metrics::nll, 1},
};

/// Mean, minimum and maximum over the seeds. Omits epochs without a value.
ReportSeries over_seeds(const RunRecord& run, const Network& network, const Measure& measure) {
  std::map<double, std::vector<double>> by_epoch;
  for (const Event& event : run.events)
    if (event.ends_epoch && event.network == network.key && std::isfinite(event.*measure.value))
      by_epoch[event.epoch].push_back(measure.scale * event.*measure.value);
  ReportSeries series{.name = network.title, .color = network.color};
  for (const auto& [epoch, values] : by_epoch) {
    const auto [least, greatest] = std::ranges::minmax(values);
    series.x.push_back(epoch);
    series.y.push_back(retort::summarise(values).mean);
    series.low.push_back(least);
    series.high.push_back(greatest);
  }
  return series;
}

ReportSeries batch_losses_of_teacher(const RunRecord& run) {
  ReportSeries series{.name = "single batches", .color = "#80808070"};
  double steps_per_epoch = 1;
  for (const Event& event : run.events) {
    if (event.network != networks[0].key) continue;
    if (event.ends_epoch) {
      steps_per_epoch = event.step / event.epoch;
    } else {
      series.x.push_back(event.step);
      series.y.push_back(event.loss);
    }
  }
  for (double& x : series.x) x /= steps_per_epoch;
  return series;
}

Chart teacher_chart(const RunRecord& run, const Measure& measure) {
  Chart chart{message("Teacher: {}", measure.title), {.x = "epoch", .y = measure.unit}};
  if (!measure.final) chart.series.push_back(batch_losses_of_teacher(run));
  chart.series.push_back(over_seeds(run, networks[0], measure));
  return chart;
}

Chart students_chart(const RunRecord& run, const Measure& measure) {
  Chart chart{message("Students: {}", measure.title),
              {.x = "epoch", .y = measure.unit, .log_y = !measure.final}};
  double last = 0;
  for (const Network& network : std::span(networks).subspan(1)) {
    chart.series.push_back(over_seeds(run, network, measure));
    if (!chart.series.back().x.empty()) last = std::max(last, chart.series.back().x.back());
  }
  if (measure.final && run.teacher.defined() && last > 0) {
    const double value = measure.scale * run.result.teacher.*measure.final;
    const Network& teacher = networks[0];
    chart.series.push_back(
        {.name = teacher.title, .x = {0, last}, .y = {value, value}, .color = teacher.color, .dashed = true});
  }
  return chart;
}

}  // namespace

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

}  // namespace distill
