#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "distill/report/html_report.hpp"

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

}  // namespace

std::vector<Chart> learning_charts(const RunRecord& run) {
  std::vector<Chart> charts;
  const Network& teacher = networks.front();
  for (const bool students : {false, true})
    for (const Measure& measure : measures) {
      Chart chart{message("{}: {}", students ? "Students" : "Teacher", measure.title),
                  {.x = "epoch", .y = measure.unit, .log_y = students && !measure.final}};
      if (!students && !measure.final) chart.series.push_back(batch_losses_of_teacher(run));
      for (const Network& network : networks)
        if ((&network != &teacher) == students) chart.series.push_back(over_seeds(run, network, measure));
      std::erase_if(chart.series, [](const ReportSeries& series) { return series.x.empty(); });
      if (chart.series.empty()) continue;
      if (students && measure.final && run.teacher.defined()) {
        const double value = measure.scale * run.result.teacher.*measure.final;
        const auto last = std::ranges::max(chart.series, {}, [](const auto& one) { return one.x.back(); });
        chart.series.push_back({.name = teacher.title,
                                .x = {0, last.x.back()},
                                .y = {value, value},
                                .color = teacher.color,
                                .dashed = true});
      }
      charts.push_back(std::move(chart));
    }
  return charts;
}

}  // namespace distill
