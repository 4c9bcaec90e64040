// A run and its folder: logs, checkpoints, and resuming.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <retort/retort.hpp>
#include <string>
#include <vector>

#include "distill/cli/options.hpp"
#include "distill/run/training.hpp"

namespace distill {

/// Creates the folder of the file if necessary, and checks that the file can be written.
/// Throws: IoError naming the flag and the file if it cannot be written.
void prove_writable(const std::string& flag, const std::string& path);

/// The position in a training.
struct Position {
  std::int64_t epoch = 1;  ///< current epoch
  std::int64_t step = 0;   ///< completed steps in all epochs
  double total = 0;        ///< sum of the losses of this epoch's images so far
};

/// A run with its folder: config.json, environment.json, metrics.jsonl (without times), timing.jsonl and
/// checkpoints/. A run that is stopped at any point and resumed gives the same bits as an uninterrupted one.
///
/// With several processes, only the first writes to the folder.
///
/// A run is a sequence of networks, each trained and evaluated. A checkpoint contains the metrics of the
/// finished networks and the whole state of the current one.
class Run {
 public:
  using Clock = std::chrono::steady_clock;

  /// Starts a new run and removes the checkpoints of an earlier one. With options.resume, resumes from the
  /// newest checkpoint in the folder. `start` is the start time of the program.
  /// Throws: IoError if there is no checkpoint to resume from, if the folder cannot be written or if another
  /// run is writing to it; ValueError naming the setting that differs from the checkpoint's.
  Run(const Options& options, const Data& data, Clock::time_point start = Clock::now());
  virtual ~Run() = default;
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// Called before the first step of a training. Restores the parts if the training was interrupted, and
  /// returns its position.
  Position begin(const Training& training, const retort::CheckpointParts& parts);
  /// Called after each step with the loss of its batch.
  /// Throws: Interrupted after Ctrl-C or SIGTERM, once the checkpoint for resuming is written.
  virtual void step(const Position& at, double loss);
  /// Called after each epoch with its mean loss. The model is in evaluation mode.
  void epoch(const Position& at, double loss, const Mlp& model);

  /// The metrics of a network; empty if it is not finished.
  std::optional<Metrics> finished(const std::string& network, std::int64_t seed) const;
  void finish(const std::string& network, std::int64_t seed, const Metrics& metrics);

  /// The path of a file in the run's folder.
  std::string path(const std::string& name) const { return folder_.file(name); }
  /// The path of the file that is written last.
  std::string last_file() const;
  /// The duration of the run so far, including the time before it was resumed.
  double seconds() const;

 private:
  /// The JSON part of a checkpoint, under these names; includes the position in the current training.
  struct State : Position {
    std::string command = {};
    nlohmann::ordered_json config = {};
    std::string data = {};                             ///< checksums of the images
    std::vector<nlohmann::json> finished = {};         ///< metrics with "network" and "seed"
    std::int64_t steps = 0;                            ///< steps of all finished networks
    std::string network = {};                          ///< current network; empty if there is none
    std::int64_t seed = 0;                             ///< seed of the current network
    double epoch_seconds = 0;                          ///< seconds of the current epoch so far
    double seconds = 0;                                ///< seconds of the run so far
    std::int64_t metrics_bytes = 0, timing_bytes = 0;  ///< sizes of the logs

    NLOHMANN_DEFINE_TYPE_INTRUSIVE(State, command, config, data, finished, steps, network, seed, epoch, step,
                                   total, epoch_seconds, seconds, metrics_bytes, timing_bytes)
  };

  /// Replaces the state by that of the newest checkpoint.
  void restore();
  /// Writes a checkpoint and keeps only the newest `keep`.
  void save(std::int64_t keep = retort::CheckpointOptions().keep);
  /// Saves a checkpoint if it is due or any process was interrupted.
  /// Throws: Interrupted in the latter case.
  void save_or_stop(bool due);

  Options options_;
  retort::RunFolder folder_;
  const Data& data_;
  Clock::time_point start_;
  State state_ = {};
  std::string restored_ = {};  ///< path of the checkpoint that was read; empty without one
  std::optional<retort::JsonLines> metrics_ = {}, timing_ = {};  ///< only for the process that writes
  Training training_ = {};                                       ///< current training
  retort::CheckpointParts parts_ = {};
  double lr_ = 0;  ///< learning rate of the next step
  Clock::time_point epoch_start_ = Clock::now(), last_save_ = {};
};

}  // namespace distill
