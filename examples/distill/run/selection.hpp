// Selection of the students' recipes without the test set.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "distill/run/training.hpp"

namespace distill {

/// All combinations of these are tried, for the student alone and for the distilled one.
struct Grid {
  std::vector<double> lr = {1e-3, 2e-3, 4e-3, 8e-3};
  std::vector<std::int64_t> epochs = {40, 120};
  std::vector<double> weight_decay = {0.01, 0.1, 0.5};
  std::vector<double> dropout = {0, 0.3};
  std::int64_t seeds = 3;        ///< students per way and combination
  std::int64_t held_out = 5000;  ///< training images used for evaluation
};

struct Candidate {
  Recipe recipe = {};
  Metrics alone = {}, distilled = {};  ///< means over the seeds, on the held-out images
};

struct Selection {
  std::vector<Candidate> candidates = {};
  Recipe alone = {}, distilled = {};  ///< the best: highest accuracy, or lowest nll if equal
  double teacher_accuracy = 0;        ///< the teacher's, on the held-out images
};

/// Holds out some training images and trains a teacher on the others. Trains each student on images drawn
/// from the others with its seed. Evaluates the networks on the held-out images and does not use the test
/// set.
/// Throws: ValueError if the training set is too small or has fewer than top_k classes.
Selection select(const Data& data, const Options& options, const Grid& grid);

/// A Markdown page of all candidates, with the flags for the best ones.
std::string page_of(const Selection& selection, const Options& options, const Grid& grid, double seconds);

}  // namespace distill
