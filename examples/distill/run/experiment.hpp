// The experiment: one teacher, and per seed one student alone and one distilled, evaluated on the test set.
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
  Metrics teacher = {};  ///< unknown if only its answers to the training images are known
  std::vector<SeedResult> seeds = {};
  std::string judges = "test";  ///< kind of the images used for evaluation
  double seconds = 0;           ///< total time, including reading the data
};

/// Trains the teacher and the students. The result, except for its seconds, depends only on data and options,
/// not on the number of threads or on interruptions. Saves the networks of the first seed and their
/// predictions in the run's folder.
Result run_experiment(const Data& data, const Options& options, Run& run);

/// Checks the teacher given to `teach`.
/// Throws: IoError if it cannot be read or does not fit the data; ValueError if its stored answers do not
/// fit the options.
void check_teacher(const Data& data, const Options& options);

/// The first part of the experiment: trains or loads the teacher and saves it in the run's folder. Also saves
/// its logits if the options name a file for them.
Metrics run_teacher(const Data& data, const Options& options, Run& run);

}  // namespace distill
