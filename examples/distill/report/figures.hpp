// The figures of a report that gnuplot draws.
#pragma once

#include <cstdint>
#include <retort/framework/core/tensor.hpp>
#include <span>
#include <string>
#include <vector>

#include "distill/report/gnuplot.hpp"
#include "distill/report/run_record.hpp"

namespace distill {

/// One of the three networks that a report compares, and its colour, which is legible on light and on dark
/// ground.
struct Network {
  const char* key;    ///< in files
  const char* title;  ///< for people
  const char* color;
  retort::Tensor RunRecord::*logits;
};
std::span<const Network> networks();
/// Those whose predictions the run holds.
std::span<const Network> networks_of(const RunRecord& run);

/// Loss, accuracy and log-likelihood over the epochs: plots of the teacher, and of the students, whose lines
/// are means over the seeds and whose bands go from the least to the greatest. What the run did not measure
/// has no plot.
std::vector<Plot> learning_plots(const RunRecord& run);

/// Distilled minus alone for each seed, with the mean and its 95 % interval: a plot for each of the figures
/// measured.
std::vector<Plot> difference_plots(const RunRecord& run);

/// Accuracy by confidence, a plot for each network.
std::vector<Plot> reliability_plots(const RunRecord& run, const retort::Tensor& labels);

/// The temperatures that soft targets are shown at: 1, 2, 4, 8, and the run's own.
std::vector<double> shown_temperatures(const RunRecord& run);
/// From light to dark on one and from dark to light on the other ground: the colour of temperature k of n.
std::string temperature_color(std::size_t k, std::size_t n);

/// The soft targets that a row of the teacher's logits gives at these temperatures, as bars for the given
/// classes.
Plot softening_plot(const std::string& name, const std::vector<double>& temperatures,
                    const std::vector<std::vector<double>>& probabilities,
                    const std::vector<std::string>& class_names);

}  // namespace distill
