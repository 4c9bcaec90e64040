// A folder of trainings that can be stopped at any moment and resumed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/tensor.hpp"
#include "retort/framework/train/checkpoint.hpp"
#include "retort/framework/train/interrupt.hpp"
#include "retort/framework/train/json_lines.hpp"

namespace retort {

/// Thrown by Training::step() after Ctrl-C, once the checkpoint is written. A program should then exit with
/// status 130, as shells expect.
class Interrupted : public Error {
 public:
  using Error::Error;
};

/// The folder of one run: its settings, and for each of its trainings a log, checkpoints and the final
/// weights. It belongs to one process at a time, which turns Ctrl-C into Interrupted for as long as the
/// object lives.
class RunFolder {
 public:
  /// Makes the folder if necessary. `settings` is everything that decides the results; it is kept in
  /// settings.json.
  /// Throws: ValueError if the folder holds a run with other settings, IoError if it cannot be used or
  /// another process holds it.
  RunFolder(std::string path, const JsonFields& settings);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  /// The folder.
  const std::string& path() const { return path_; }
  /// The path of a file in the folder.
  std::string file(std::string_view name) const;

  /// A column of a training's log: the values of one key, and the epochs that they belong to.
  struct Column {
    std::vector<double> epochs = {};
    std::vector<double> values = {};
  };
  /// Reads a key, such as "loss", from the log of a training. Empty when there is no log or no value.
  /// Throws: IoError for a line that is not JSON.
  Column column(std::string_view training, std::string_view key) const;

 private:
  std::string path_;
  int lock_ = -1;
  InterruptGuard guard_;
};

struct TrainingOptions {
  std::int64_t epochs = 1;
  std::int64_t log_every = 50;   ///< steps from one line of the log to the next
  double checkpoint_every = 15;  ///< seconds from one checkpoint to the next; 0 saves one after each step
  double clip_grad_norm = 0;     ///< learn() limits the norm of all gradients together to it; 0: no limit
  /// Called at the end of each epoch; its fields are added to the log. It must draw no random numbers.
  std::function<JsonFields()> evaluate = {};
  bool quiet = false;  ///< shows no progress
};

/// One training of a run, which takes care of all but the steps:
///
///     rt::Training training(run, "teacher", {.module = &model, .optimizer = &optimizer, .loader = &loader},
///                           {.epochs = 10});
///     while (!training.done())
///       for (const rt::Batch& batch : loader)
///         training.learn(rt::cross_entropy(model(batch.input), batch.target));
///
/// A training that was stopped resumes from its last checkpoint and ends with the same bits as one that was
/// not; of one that has ended, the constructor loads the weights, and done() is true at once. The files are
/// NAME.jsonl, the folder NAME.checkpoints as long as the training lasts, then NAME.safetensors. Where an
/// average of the weights is among the parts, the final weights are the averages. The module is in training
/// mode until the end and in evaluation mode afterwards. Draws are reproducible if manual_seed() is called
/// before the model is made.
class Training {
 public:
  /// Throws: ValueError if the parts have no module or no loader, the name is not a file name, or an option
  /// is out of range; IoError if the run's files cannot be read or written.
  Training(const RunFolder& run, std::string name, CheckpointParts parts, TrainingOptions options = {});
  ~Training();
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

  /// True once all epochs are done.
  bool done() const;
  /// Takes the step of a batch: gradients of the loss alone, limited as the options say; a step of the
  /// optimiser and of each schedule, and an update of the average; then step(). Where a run needs anything
  /// else, such as a schedule that steps once per epoch, do these yourself and call step().
  /// Throws: ValueError if the parts have no optimiser or training is done; and what backward() and step()
  /// throw.
  void learn(const Tensor& loss);
  /// To be called after each step of the optimiser and the schedules, within the pass over the loader: logs
  /// the loss, and saves a checkpoint from time to time.
  /// Throws: ValueError if the loss is not finite, Interrupted after Ctrl-C, IoError.
  void step(double loss);
  /// The number of steps taken so far, those of earlier processes included.
  std::int64_t steps() const;
  /// The seconds that the training took so far, in all processes.
  double seconds() const;

 private:
  struct State;
  State* state_;  // owned; <memory> would add a third to what a user's file parses
};

}  // namespace retort
