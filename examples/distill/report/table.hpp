// The result as people and as programs read it.
#pragma once

#include <string>
#include <vector>

#include "distill/run/experiment.hpp"

namespace distill {

/// A table: accuracy, negative log-likelihood and calibration error as mean ± standard deviation, and how the
/// two ways compare on the same seeds.
std::string table_of(const Result& result);
/// The cells of that table, row by row; the first row and the first column are titles.
std::vector<std::vector<std::string>> cells_of(const Result& result);

/// {"teacher", "alone", "distilled": {"accuracy", "nll", "ece": {"mean", "std"}}, "paired": {"accuracy",
/// "nll", "ece": {"mean", "low", "high", "wins"}}, "runs": [...], "seeds", "seconds"}. Accuracies and
/// calibration errors are fractions; the ends of an interval that there is not, of one seed, are null.
std::string json_of(const Result& result);

}  // namespace distill
