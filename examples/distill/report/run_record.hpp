// The files in a run's folder, read back.
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

/// The curves of one network and seed from metrics.jsonl. A missing value is NaN.
struct Curve {
  struct Point {
    double epoch = 0;  ///< epochs done by then; a fraction for a step within one
    double loss = std::numeric_limits<double>::quiet_NaN();
    double test_accuracy = std::numeric_limits<double>::quiet_NaN();
    double test_nll = std::numeric_limits<double>::quiet_NaN();
  };
  double steps_per_epoch = 1;
  std::vector<Point> steps = {};   ///< the loss of single batches
  std::vector<Point> epochs = {};  ///< the mean loss of an epoch, and the test set after it
};

struct RunRecord {
  using Entries = std::vector<std::pair<std::string, std::string>>;
  Entries config = {};       ///< options and their values as text
  Entries environment = {};  ///< version, seed, processor and so on
  std::string data_folder = {};
  double temperature = 1;
  Result result = {};
  std::map<std::string, std::map<std::int64_t, Curve>> curves = {};  ///< by network, then by seed
  /// Logits of the test images [n_test, classes]; the teacher's are undefined when the run had only those it
  /// gave for the training images.
  retort::Tensor teacher = {}, alone = {}, distilled = {};
  std::vector<std::string> class_names = {};
};

/// Reads config.json, environment.json, metrics.jsonl, result.json and predictions.safetensors. Classes are
/// named by the lines of the file classes.txt next to the images; without it, Fashion-MNIST's have their
/// names, others their numbers. IoError that names the file that is missing, broken, or belongs to other
/// data.
RunRecord read_run(const std::string& folder, const Data& data);

}  // namespace distill
