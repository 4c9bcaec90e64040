// Reads the files in a run's folder.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <retort/framework/core/tensor.hpp>
#include <string>
#include <utility>
#include <vector>

#include "distill/run/data.hpp"
#include "distill/run/experiment.hpp"

namespace distill {

/// The curves of one network and seed from metrics.jsonl. Missing values are NaN.
struct Curve {
  struct Point {
    double epoch = 0;  ///< completed epochs; fractional within an epoch
    double loss = std::numeric_limits<double>::quiet_NaN();
    double test_accuracy = std::numeric_limits<double>::quiet_NaN();
    double test_nll = std::numeric_limits<double>::quiet_NaN();
  };
  double steps_per_epoch = 1;
  std::vector<Point> steps = {};   ///< loss of single batches
  std::vector<Point> epochs = {};  ///< mean loss of each epoch, and test metrics after it
};

struct RunRecord {
  using Entries = std::vector<std::pair<std::string, std::string>>;
  Entries config = {};       ///< options and their values as text
  Entries environment = {};  ///< version, seed, processor, threads and compiler
  std::string data_folder = {};
  double temperature = 1;
  Result result = {};
  std::map<std::string, std::map<std::int64_t, Curve>> curves = {};  ///< by network, then by seed
  /// Logits of the test images [n_test, classes]. The teacher's are undefined if the run had only its answers
  /// to the training images.
  retort::Tensor teacher = {}, alone = {}, distilled = {};
  std::vector<std::string> class_names = {};
};

/// Reads config.json, environment.json, metrics.jsonl, result.json and predictions.safetensors. The lines of
/// classes.txt next to the images are the class names. Without this file, the names are built in for
/// Fashion-MNIST and are numbers for other data.
/// Throws: IoError naming the file that is missing, broken, or belongs to other data.
RunRecord read_run(const std::string& folder, const Data& data);

}  // namespace distill
