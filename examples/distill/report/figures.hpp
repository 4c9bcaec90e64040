// The plots of a report, drawn by gnuplot.
#pragma once

#include <cstdint>
#include <retort/framework/core/tensor.hpp>
#include <span>
#include <string>
#include <vector>

#include "distill/report/gnuplot.hpp"
#include "distill/report/run_record.hpp"

namespace distill {

/// One of the three networks in a report. Its colour is legible on light and dark backgrounds.
struct Network {
  const char* key;    ///< name in files
  const char* title;  ///< displayed name
  const char* color;
  retort::Tensor RunRecord::*logits;
};
std::span<const Network> networks();
/// The networks whose predictions are in the run.
std::span<const Network> networks_of(const RunRecord& run);

/// Loss, accuracy and log-likelihood over the epochs: separate plots of the teacher and of the students. The
/// lines of the students are means over the seeds; the bands extend from minimum to maximum. Metrics that
/// the run did not measure are omitted.
std::vector<Plot> learning_plots(const RunRecord& run);

/// Distilled minus alone for each seed, with the mean and its 95 % interval: one plot per measured metric.
std::vector<Plot> difference_plots(const RunRecord& run);

/// Accuracy by confidence: one plot per network.
std::vector<Plot> reliability_plots(const RunRecord& run, const retort::Tensor& labels);

/// The temperatures of the soft targets in the report: 1, 2, 4, 8, and the run's own.
std::vector<double> shown_temperatures(const RunRecord& run);
/// The colour of temperature k of n, from purple (k = 0) to ochre.
std::string temperature_color(std::size_t k, std::size_t n);

/// The teacher's soft targets for one image at these temperatures, as bars for the given classes.
Plot softening_plot(const std::string& name, const std::vector<double>& temperatures,
                    const std::vector<std::vector<double>>& probabilities,
                    const std::vector<std::string>& class_names);

}  // namespace distill
