// The experiment: one teacher, and for each seed a student alone and one distilled, judged on the test set.
#pragma once

#include <cstdint>
#include <vector>

#include "data.hpp"
#include "metrics.hpp"
#include "options.hpp"
#include "progress.hpp"

namespace distill {

struct SeedResult {
  std::int64_t seed = 0;
  Metrics alone = {};
  Metrics distilled = {};
};

struct Result {
  Metrics teacher = {};
  std::vector<SeedResult> seeds = {};
  double seconds = 0;  ///< all of it, reading the data included
};

/// The result (but for its seconds) depends on data and options alone, not on the number of threads.
Result run_experiment(const Data& data, const Options& options, Progress& progress);

}  // namespace distill
