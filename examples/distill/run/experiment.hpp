// The experiment: one teacher, and per seed one student alone and one distilled, evaluated on the test set.
#pragma once

#include <cstdint>
#include <vector>

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

/// Checks that the data has enough images, in addition to those held out, and enough classes, and that a
/// teacher given to `teach` fits. A resumed run already has its teacher.
/// Throws: ValueError if it has fewer, or the teacher's stored answers do not fit the options; IoError if the
/// teacher cannot be read or does not fit the data.
void check_fit(const Data& data, const Options& options, std::int64_t held_out = 0);

/// The first part of the experiment: trains or loads the teacher and saves it in the run's folder. Also saves
/// its logits if the options name a file for them.
Metrics run_teacher(const Data& data, const Options& options, Run& run);

}  // namespace distill
