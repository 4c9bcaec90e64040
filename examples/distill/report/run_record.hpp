// Reads the files in a run's folder.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "distill/run/experiment.hpp"

namespace distill {

/// A line of metrics.jsonl. Missing values are NaN.
struct Event {
  bool ends_epoch = false;  ///< the mean loss of an epoch, and test metrics after it; else of one batch
  std::string network = {};
  double epoch = 0;  ///< number of the epoch
  double step = 0;   ///< completed steps in all epochs
  double loss = 0;
  double test_accuracy = 0;
  double test_nll = 0;
};

struct RunRecord {
  using Entries = std::vector<std::pair<std::string, std::string>>;
  Entries config = {};       ///< options and their values as text
  Entries environment = {};  ///< version, seed, processor, threads and compiler
  std::string data_folder = {};
  double temperature = 1;
  Result result = {};
  std::vector<Event> events = {};
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
