// Observers of a training: progress display, logs, checkpoints, interruption.
#pragma once

#include <cstdint>
#include <optional>
#include <retort/framework/train/checkpoint.hpp>
#include <retort/framework/train/progress.hpp>
#include <string>

#include "distill/cli/options.hpp"
#include "distill/run/mlp.hpp"

namespace distill {

/// One network's training.
struct Training {
  std::string network = {};  ///< "teacher", "alone" or "distilled"
  Recipe recipe = {};
  std::int64_t batch_size = 1;
  std::uint64_t seed = 0;  ///< of the batches
  std::int64_t shards = 0;
  const retort::Communicator* world = nullptr;  ///< needed for shards

  /// For people: "teacher", "student 3 alone".
  std::string title() const {
    return network == "teacher" ? network : "student " + std::to_string(seed) + ' ' + network;
  }
};

/// The position of a training.
struct Position {
  std::int64_t epoch = 1;  ///< that runs
  std::int64_t step = 0;   ///< steps done, in all epochs
  double total = 0;        ///< of the losses of this epoch's images so far
};

/// Does nothing by itself. What a call throws ends the training.
class Observer {
 public:
  Observer() = default;
  virtual ~Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  /// Before the first step of `steps`. May set the parts back to where a run was stopped; returns where that
  /// is.
  virtual Position begin(const Training& /*training*/, std::int64_t /*steps*/,
                         const retort::CheckpointParts& /*parts*/) {
    return {};
  }
  /// After each step, with its batch's loss.
  virtual void step(const Position& /*at*/, double /*loss*/) {}
  /// After each epoch, with the mean of its losses; the model is in evaluation mode.
  virtual void epoch(const Position& /*at*/, double /*loss*/, const Mlp& /*model*/) {}
};

/// Shows the progress on stderr.
class ProgressObserver : public Observer {
 public:
  explicit ProgressObserver(bool quiet) : quiet_(quiet) {}

  Position begin(const Training& training, std::int64_t steps, const retort::CheckpointParts& parts) override;
  void step(const Position& at, double loss) override;
  void epoch(const Position& at, double loss, const Mlp& model) override;
  /// A line between two trainings.
  void say(const std::string& line);

 protected:
  void show(const Training& training, std::int64_t steps, const Position& at);

 private:
  bool quiet_;
  std::optional<retort::Progress> progress_ = {};
};

}  // namespace distill
