// The choice of the students' recipes, without the test set.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "distill/cli/options.hpp"
#include "distill/run/data.hpp"
#include "distill/run/observer.hpp"

namespace distill {

/// Every combination of these is tried, for the student alone and for the distilled one.
struct Grid {
  std::vector<double> lr = {1e-3, 2e-3, 4e-3, 8e-3};
  std::vector<std::int64_t> epochs = {40, 120};
  std::vector<double> weight_decay = {0.01, 0.1, 0.5};
  std::vector<double> dropout = {0, 0.3};
  std::int64_t seeds = 3;        ///< students of each way for each combination
  std::int64_t held_out = 5000;  ///< training images that judge
};

struct Candidate {
  Recipe recipe = {};
  /// Means over the seeds, on the images held out.
  double alone_accuracy = 0, alone_nll = 0;
  double distilled_accuracy = 0, distilled_nll = 0;
};

struct Selection {
  std::vector<Candidate> candidates = {};
  std::size_t alone = 0,
              distilled = 0;    ///< the best of the candidates: highest accuracy, at a tie lowest nll
  double teacher_accuracy = 0;  ///< of this selection's teacher on the images held out
};

/// Holds images of the training set back, trains a teacher on the others, and students on some of those,
/// drawn by the seed; judges them on the images held out, which neither saw. The test set is not read.
/// ValueError when the training set is too small.
Selection select(const Data& data, const Options& options, const Grid& grid, ProgressObserver& progress);

/// A Markdown page of all candidates and the flags that set the best.
std::string page_of(const Selection& selection, const Options& options, const Grid& grid, double seconds);

}  // namespace distill
