#include "distill/report/figures.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <retort/framework/base/error.hpp>

#include "distill/report/formatted.hpp"
#include "distill/run/statistics.hpp"

namespace distill {
namespace {

using retort::message;

// The page replaces black (linetype -1) by its text colour.
constexpr const char* axes =
    "set border 3 lc rgb '#808080'\n"
    "set tics nomirror scale 0.5\n"
    "set grid ytics lt 1 lc rgb '#C0808080'\n"
    "set style fill transparent solid 0.25 noborder\n"
    "set key off\n"
    "set lmargin 10\nset rmargin 1.5\nset tmargin 0.8\n";

std::string number(double value) { return std::isfinite(value) ? formatted("%.9g", value) : "NaN"; }

std::string color(const char* rgb) { return message("lc rgb '{}'", rgb); }

/// A data block, which plots in the script read by name.
class Table {
 public:
  explicit Table(const std::string& name) : text_("$" + name + " << END\n") {}
  void add(std::initializer_list<double> row) {
    for (const double value : row) text_ += number(value) + ' ';
    text_ += '\n';
    ++rows_;
  }
  std::size_t rows() const { return rows_; }
  std::string text() const { return text_ + "END\n"; }

 private:
  std::string text_;
  std::size_t rows_ = 0;
};

/// A metric plotted over the epochs.
struct Measure {
  const char* key;
  const char* title;
  const char* unit;
  double Curve::Point::*value;
  double Metrics::*final;  // the teacher's result, drawn as a reference line; null for the loss
  double scale;
};
constexpr std::array<Measure, 3> measures = {
    Measure{"loss", "training loss", "loss", &Curve::Point::loss, nullptr, 1},
    Measure{"accuracy", "test accuracy", "accuracy, %", &Curve::Point::test_accuracy, &Metrics::accuracy,
            100},
    Measure{"nll", "test neg. log-likelihood", "nats", &Curve::Point::test_nll, &Metrics::nll, 1},
};

/// Epoch, mean, minimum and maximum over the seeds. Omits epochs without a value.
Table over_seeds(const std::string& name, const RunRecord& run, const std::string& network,
                 const Measure& measure) {
  std::map<double, std::vector<double>> by_epoch;
  if (const auto found = run.curves.find(network); found != run.curves.end())
    for (const auto& [seed, curve] : found->second)
      for (const Curve::Point& point : curve.epochs)
        if (std::isfinite(point.*measure.value))
          by_epoch[point.epoch].push_back(measure.scale * point.*measure.value);
  Table table(name);
  for (const auto& [epoch, values] : by_epoch) {
    const auto [least, greatest] = std::ranges::minmax(values);
    table.add({epoch, summarise(values).mean, least, greatest});
  }
  return table;
}

Table batch_losses(const std::string& name, const RunRecord& run) {
  Table table(name);
  if (const auto found = run.curves.find("teacher"); found != run.curves.end())
    for (const auto& [seed, curve] : found->second)
      for (const Curve::Point& point : curve.steps) table.add({point.epoch, point.loss});
  return table;
}

std::string joined(const std::vector<std::string>& curves) {
  std::string text;
  for (const std::string& curve : curves) text += (text.empty() ? "plot " : ", ") + curve;
  return text + '\n';
}

std::string axis_titles(const std::string& x, const std::string& y) {
  return message("set xlabel {} offset 0,0.4\nset ylabel {} offset 1,0\n", distill::quoted(x),
                 distill::quoted(y));
}

std::optional<Plot> teacher_plot(const RunRecord& run, const Measure& measure) {
  const Network& teacher = networks()[0];
  const Table table = over_seeds("teacher", run, teacher.key, measure),
              batches = batch_losses("batches", run);
  std::vector<std::string> curves;
  const bool loss = measure.final == nullptr;
  if (loss && batches.rows() > 0) curves.push_back(message("$batches with lines lw 1 lc rgb '#90808080'"));
  if (table.rows() > 0)
    curves.push_back(
        message("$teacher using 1:2 with linespoints lw 2 pt 7 ps 0.4 {}", color(teacher.color)));
  if (curves.empty()) return std::nullopt;
  return Plot{
      .name = message("teacher-{}", measure.key),
      .title = message("Teacher: {}", measure.title),
      .script = message("{}{}set xrange [0:*]\n{}{}{}{}", axes, axis_titles("epoch", measure.unit),
                        loss ? "set yrange [0:*]\n" : "", table.text(), batches.text(), joined(curves))};
}

std::optional<Plot> students_plot(const RunRecord& run, const Measure& measure) {
  std::string script = message("{}{}set xrange [0:*]\n{}", axes, axis_titles("epoch", measure.unit),
                               measure.final ? "" : "set logscale y\n");
  std::vector<std::string> bands, lines;
  for (const Network& network : networks().subspan(1)) {
    const Table table = over_seeds(network.key, run, network.key, measure);
    if (table.rows() == 0) continue;
    script += table.text();
    bands.push_back(message("${} using 1:3:4 with filledcurves {}", network.key, color(network.color)));
    // Points make a curve of a single value visible.
    const char* const style = table.rows() > 20 ? "lines" : "linespoints pt 7 ps 0.4";
    lines.push_back(message("${} using 1:2 with {} lw 2 {}", network.key, style, color(network.color)));
  }
  if (lines.empty()) return std::nullopt;
  if (measure.final && run.teacher.defined())
    lines.push_back(message("{} with lines lw 1.5 dt '-' {}",
                            number(measure.scale * run.result.teacher.*measure.final),
                            color(networks()[0].color)));
  bands.insert(bands.end(), lines.begin(), lines.end());
  return Plot{.name = message("students-{}", measure.key),
              .title = message("Students: {}", measure.title),
              .script = script + joined(bands)};
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

std::vector<Plot> learning_plots(const RunRecord& run) {
  std::vector<Plot> plots;
  for (const auto plot_of : {teacher_plot, students_plot})
    for (const Measure& measure : measures)
      if (const std::optional<Plot> plot = plot_of(run, measure)) plots.push_back(*plot);
  return plots;
}

std::vector<Plot> difference_plots(const RunRecord& run) {
  struct Difference {
    const char* key;
    const char* title;
    const char* unit;
    double Metrics::*value;
    double scale;
  };
  constexpr std::array<Difference, 3> differences = {
      Difference{"accuracy", "Accuracy: more is better", "percentage points", &Metrics::accuracy, 100},
      Difference{"nll", "Negative log-likelihood: less is better", "nats", &Metrics::nll, 1},
      Difference{"ece", "Calibration error: less is better", "percentage points", &Metrics::ece, 100},
  };
  const std::vector<SeedResult>& seeds = run.result.seeds;
  std::vector<Plot> plots;
  if (seeds.empty()) return plots;
  for (const Difference& difference : differences) {
    Table table("seeds");
    std::vector<double> alone, distilled;
    for (const SeedResult& seed : seeds) {
      alone.push_back(difference.scale * seed.alone.*difference.value);
      distilled.push_back(difference.scale * seed.distilled.*difference.value);
      table.add({static_cast<double>(seed.seed), distilled.back() - alone.back()});
    }
    std::string script = message("{}{}{}", axes, axis_titles("seed", difference.unit), table.text());
    const Paired paired = compare(alone, distilled, true);
    const std::string low = number(static_cast<double>(seeds.front().seed) - 0.7),
                      high = number(static_cast<double>(seeds.back().seed) + 0.7);
    script += message("set xrange [{}:{}]\nset xtics {}\nset xzeroaxis lt 1 lc rgb '#808080'\n", low, high,
                      seeds.size() <= 12 ? "1" : "autofreq");
    if (paired.interval)
      script += message(
          "set object rectangle from first {},{} to first {},{} fs solid 0.25 noborder behind "
          "fc rgb '{}'\n",
          low, number(paired.interval->low), high, number(paired.interval->high), networks()[2].color);
    // An invisible line at 0 keeps 0 in the plotted range.
    const std::string blue = color(networks()[2].color);
    script += message(
        "plot {} with lines lw 1.5 dt '-' {}, 0 with lines lc rgb '#FF808080', $seeds with "
        "impulses lw 2 {}, $seeds with points pt 7 ps 0.7 {}\n",
        number(paired.mean), blue, blue, blue);
    plots.push_back(
        {.name = message("difference-{}", difference.key), .title = difference.title, .script = script});
  }
  return plots;
}

std::vector<Plot> reliability_plots(const RunRecord& run, const retort::Tensor& labels) {
  std::vector<Plot> plots;
  for (const Network& network : networks_of(run)) {
    const std::vector<retort::metrics::ReliabilityBin> bins =
        retort::metrics::reliability(run.*network.logits, labels);
    const auto width = 100.0 / static_cast<double>(bins.size());
    Table table("bins");
    double error = 0;
    const auto all = static_cast<double>(labels.size());
    for (std::size_t k = 0; k < bins.size(); ++k) {
      const auto count = static_cast<double>(bins[k].count);
      error += std::abs(bins[k].right - bins[k].confidence) / all;
      if (count > 0)
        table.add({(static_cast<double>(k) + 0.5) * width, 100 * bins[k].right / count, 100 * count / all});
    }
    plots.push_back(
        {.name = message("reliability-{}", network.key),
         .title = message("{}: calibration error {}\u00A0%", network.title, formatted("%.2f", 100 * error)),
         .script =
             message("{}{}set xrange [0:100]\nset yrange [0:100]\nset xtics 20\nset ytics 20\n{}plot "
                     "$bins using 1:2:({}) with boxes fs solid 0.55 {}, x with lines lt -1 lw 1 dt '-', "
                     "$bins using 1:3 with linespoints lt -1 lw 1 pt 7 ps 0.3\n",
                     axes, axis_titles("confidence, %", "answers right, %"), table.text(),
                     number(0.92 * width), color(network.color))});
  }
  return plots;
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

Plot softening_plot(const std::string& name, const std::vector<double>& temperatures,
                    const std::vector<std::vector<double>>& probabilities,
                    const std::vector<std::string>& class_names) {
  std::string script = message(
      "{}set ylabel 'probability, %' offset 1,0\nset yrange [0:100]\nset style data "
      "histogram\nset style histogram clustered gap 1\nset style fill solid noborder\nset "
      "boxwidth 0.9\nset xtics rotate by 45 right (",
      axes);
  for (std::size_t k = 0; k < class_names.size(); ++k)
    script += (k ? ", " : "") + distill::quoted(class_names[k]) + ' ' + std::to_string(k);
  script += ")\n$soft << END\n";
  for (std::size_t k = 0; k < class_names.size(); ++k) {
    for (const auto& at_temperature : probabilities) script += number(100 * at_temperature[k]) + ' ';
    script += '\n';
  }
  script += "END\n";
  std::vector<std::string> bars;
  for (std::size_t t = 0; t < temperatures.size(); ++t)
    bars.push_back(message("$soft using {} lc rgb '{}'", t + 1, temperature_color(t, temperatures.size())));
  return {.name = name, .title = "Soft targets at several temperatures", .script = script + joined(bars)};
}

}  // namespace distill
