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

/// Thrown after Ctrl-C, once the checkpoint for resuming is written.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

/// Keeps DIR/config.json, environment.json, metrics.jsonl (no clock in it), timing.jsonl and checkpoints/. A
/// run that was stopped anywhere and is resumed ends with the bits of an undisturbed one.
///
/// Of several processes the first alone has the folder.
///
/// A run is a sequence of networks, each trained and judged. A checkpoint holds the figures of those that are
/// finished, and the whole state of the one in training.
class Run : public ProgressObserver {
 public:
  using Clock = std::chrono::steady_clock;

  /// Starts at the beginning, which removes the checkpoints of an earlier run, or, with options.resume, at
  /// the newest checkpoint in the folder. `start` is the time at which the program started.
  /// Throws: IoError if there is no checkpoint, if the folder cannot be written or if another run is writing
  /// to it; ValueError naming the setting in which the checkpoint's run differs.
  Run(const Options& options, const Data& data, Clock::time_point start = Clock::now());

  Position begin(const Training& training, std::int64_t steps, const retort::CheckpointParts& parts) override;
  void step(const Position& at, double loss) override;
  void epoch(const Position& at, double loss, const Mlp& model) override;

  /// The figures of a network, once it is finished.
  std::optional<Metrics> finished(const std::string& network, std::int64_t seed) const;
  void finish(const std::string& network, std::int64_t seed, const Metrics& metrics);

  /// Of a file in the run's folder.
  std::string path(const std::string& name) const;
  /// The file that the run ends with, on the process that writes.
  const OutputFile& last_file() const { return *last_file_; }
  /// The time it took so far, with what came before it was resumed.
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
    std::int64_t steps = 0;       ///< of all networks that are finished
    std::string network = {};     ///< in training; empty for none
    std::int64_t seed = 0;        ///< its
    Position at = {};             ///< its
    double epoch_seconds = 0;     ///< of its epoch so far
    double seconds = 0;           ///< of all of it
    std::int64_t metrics = 0;     ///< size of the file
    std::int64_t timing = 0;      ///< size of the file
    std::string checkpoint = {};  ///< its path
  };

  /// Ctrl-C or SIGTERM has arrived on a process.
  bool interrupted() const;
  State restored() const;
  /// Writes a checkpoint; the newest `keep` stay.
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
  Training training_ = {};  ///< the current one
  retort::CheckpointParts parts_ = {};
  double lr_ = 0;  ///< of the next step
  Clock::time_point epoch_start_ = Clock::now();
  Clock::time_point last_save_ = {};
  retort::InterruptGuard guard_ = {};
};

}  // namespace distill
