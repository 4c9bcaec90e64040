// The experiment: one teacher, and for each seed a student alone and one distilled, judged on the test set.
#pragma once

#include <cstdint>
#include <vector>

#include "distill/cli/options.hpp"
#include "distill/run/data.hpp"
#include "distill/run/metrics.hpp"
#include "distill/run/run.hpp"

namespace distill {

struct SeedResult {
  std::int64_t seed = 0;
  Metrics alone = {};
  Metrics distilled = {};
};

struct Result {
  Metrics teacher = {};  ///< NaN when only its answers to the training images are there
  std::vector<SeedResult> seeds = {};
  std::string judges = "test";  ///< kind of the images that the networks were judged on
  double seconds = 0;           ///< all of it, reading the data included
};

/// The result (but for its seconds) depends on data and options alone, not on the number of threads, nor on
/// where the run was stopped. Leaves the networks of the first seed and their predictions in the run's
/// folder.
Result run_experiment(const Data& data, const Options& options, Run& run);

/// IoError when the teacher that `teach` was given cannot be read or does not fit the data.
void check_teacher(const Data& data, const Options& options);

/// The part of it that ends with the teacher, kept in the run's folder and, should the options say so, its
/// logits too.
Metrics run_teacher(const Data& data, const Options& options, Run& run);

}  // namespace distill
