// A run and its folder: logs, checkpoints, and resuming.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <retort/framework/train/checkpoint.hpp>
#include <retort/framework/train/interrupt.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "distill/cli/options.hpp"
#include "distill/run/data.hpp"
#include "distill/run/metrics.hpp"
#include "distill/run/observer.hpp"
#include "distill/run/output_file.hpp"
#include "retort/framework/train/json_lines.hpp"

namespace distill {

/// Thrown after Ctrl-C or SIGTERM, once the checkpoint for resuming is written.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

/// A run with its folder: config.json, environment.json, metrics.jsonl (without times), timing.jsonl and
/// checkpoints/. A run that is stopped at any point and resumed gives the same bits as an uninterrupted one.
///
/// With several processes, only the first writes to the folder.
///
/// A run is a sequence of networks, each trained and evaluated. A checkpoint contains the metrics of the
/// finished networks and the whole state of the current one.
class Run : public ProgressObserver {
 public:
  using Clock = std::chrono::steady_clock;

  /// Starts a new run and removes the checkpoints of an earlier one. With options.resume, resumes from the
  /// newest checkpoint in the folder. `start` is the start time of the program.
  /// Throws: IoError if there is no checkpoint to resume from, if the folder cannot be written or if another
  /// run is writing to it; ValueError naming the setting that differs from the checkpoint's.
  Run(const Options& options, const Data& data, Clock::time_point start = Clock::now());

  Position begin(const Training& training, std::int64_t steps, const retort::CheckpointParts& parts) override;
  void step(const Position& at, double loss) override;
  void epoch(const Position& at, double loss, const Mlp& model) override;

  /// The metrics of a network; empty if it is not finished.
  std::optional<Metrics> finished(const std::string& network, std::int64_t seed) const;
  void finish(const std::string& network, std::int64_t seed, const Metrics& metrics);

  /// The path of a file in the run's folder.
  std::string path(const std::string& name) const;
  /// The file written at the end of the run; only for the process that writes.
  const OutputFile& last_file() const { return *last_file_; }
  /// The duration of the run so far, including the time before it was resumed.
  double seconds() const;

 private:
  struct Figures {
    std::string network = {};
    std::int64_t seed = 0;
    Metrics metrics = {};
  };
  /// The JSON part of a checkpoint.
  struct State {
    std::vector<Figures> finished = {};
    std::int64_t steps = 0;       ///< steps of all finished networks
    std::string network = {};     ///< current network; empty if there is none
    std::int64_t seed = 0;        ///< seed of the current network
    Position at = {};             ///< position in its training
    double epoch_seconds = 0;     ///< seconds of the current epoch so far
    double seconds = 0;           ///< seconds of the run so far
    std::int64_t metrics = 0;     ///< size of metrics.jsonl in bytes
    std::int64_t timing = 0;      ///< size of timing.jsonl in bytes
    std::string checkpoint = {};  ///< path of the loaded checkpoint
  };

  /// True if Ctrl-C or SIGTERM has arrived on any process.
  bool interrupted() const;
  State restored() const;
  /// Writes a checkpoint and keeps only the newest `keep`.
  void save(std::int64_t keep = retort::CheckpointOptions().keep);

  Options options_;
  std::optional<FolderLock> lock_ = {};
  const Data& data_;
  std::string data_checksum_;
  Clock::time_point start_;
  State state_ = {};
  std::optional<OutputFile> last_file_ = {};
  std::optional<retort::JsonLines> metrics_ = {};
  std::optional<retort::JsonLines> timing_ = {};
  Training training_ = {};  ///< current training
  retort::CheckpointParts parts_ = {};
  double lr_ = 0;  ///< learning rate of the next step
  Clock::time_point epoch_start_ = Clock::now();
  Clock::time_point last_save_ = {};
  retort::InterruptGuard guard_ = {};
};

}  // namespace distill
