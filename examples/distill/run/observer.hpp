// Observers of a training, for progress display, logs, checkpoints and interruption.
#pragma once

#include <cstdint>
#include <optional>
#include <retort/framework/train/checkpoint.hpp>
#include <retort/framework/train/progress.hpp>
#include <string>

#include "distill/cli/options.hpp"
#include "distill/run/mlp.hpp"

namespace distill {

/// The settings of one network's training.
struct Training {
  std::string network = {};  ///< "teacher", "alone" or "distilled"
  Recipe recipe = {};
  std::int64_t batch_size = 1;
  std::uint64_t seed = 0;  ///< seed of the order of the batches
  std::int64_t shards = 0;
  const retort::Communicator* world = nullptr;  ///< required if shards > 0

  /// The displayed name, such as "teacher" or "student 3 alone".
  std::string title() const {
    return network == "teacher" ? network : "student " + std::to_string(seed) + ' ' + network;
  }
};

/// The position in a training.
struct Position {
  std::int64_t epoch = 1;  ///< current epoch
  std::int64_t step = 0;   ///< completed steps in all epochs
  double total = 0;        ///< sum of the losses of this epoch's images so far
};

/// The base class of observers, which does nothing. An exception from a call ends the training.
class Observer {
 public:
  Observer() = default;
  virtual ~Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  /// Called before the first of `steps` steps. May restore the parts of an interrupted run; returns their
  /// position.
  virtual Position begin(const Training& /*training*/, std::int64_t /*steps*/,
                         const retort::CheckpointParts& /*parts*/) {
    return {};
  }
  /// Called after each step with the loss of its batch.
  virtual void step(const Position& /*at*/, double /*loss*/) {}
  /// Called after each epoch with its mean loss. The model is in evaluation mode.
  virtual void epoch(const Position& /*at*/, double /*loss*/, const Mlp& /*model*/) {}
};

/// Shows progress on stderr.
class ProgressObserver : public Observer {
 public:
  explicit ProgressObserver(bool quiet) : quiet_(quiet) {}

  Position begin(const Training& training, std::int64_t steps, const retort::CheckpointParts& parts) override;
  void step(const Position& at, double loss) override;
  void epoch(const Position& at, double loss, const Mlp& model) override;
  /// Prints a line between two trainings.
  void say(const std::string& line);

 protected:
  void show(const Training& training, std::int64_t steps, const Position& at);

 private:
  bool quiet_;
  std::optional<retort::Progress> progress_ = {};
};

}  // namespace distill
