// The result as a text table and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "distill/run/experiment.hpp"

namespace distill {

/// The explanation of the table's cells: the images, the number of seeds and, for several of them, the
/// deviation and the interval.
std::string caption_of(const Result& result, const std::string& images);
/// A table of accuracy, negative log-likelihood and calibration error: mean ± standard deviation, and the
/// comparison of the two ways on the same seeds.
std::string table_of(const Result& result);
/// The cells of this table, row by row; the first row and the first column are titles.
std::vector<std::vector<std::string>> cells_of(const Result& result);

/// {"teacher", "alone", "distilled": {"accuracy", "nll", "ece": {"mean", "std"}}, "paired": {"accuracy",
/// "nll", "ece": {"mean", "low", "high", "wins"}}, "runs": [...], "seeds", "seconds"}. Accuracies and
/// calibration errors are fractions. For a single seed, "low" and "high" are null.
std::string json_of(const Result& result);
/// Reads the teacher, the runs and the seconds of such JSON.
/// Throws: nlohmann::json::exception if one is missing.
Result result_of(const nlohmann::ordered_json& json);

}  // namespace distill
