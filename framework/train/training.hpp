// Training runs in a folder, which can be stopped at any time and resumed.
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

namespace [[RETORT_EXPORT]] retort {

struct Batch;

/// Thrown by Training::learn() and step() after Ctrl-C or SIGTERM, on all processes, once the checkpoint is
/// written. A program should then exit with status 130, as shells expect.
struct Interrupted : Error {
  using Error::Error;
};

/// The folder of one run: its settings, and for each of its trainings a log, checkpoints and the final
/// weights. Only one RunFolder can use it at a time, and a process can have only one RunFolder at a time.
/// During the object's lifetime, Ctrl-C and SIGTERM make the next step throw Interrupted.
///
/// With a Communicator, all ranks construct the RunFolder and its trainings, in the same order. Only rank 0
/// reads and writes files and shows progress, so that only rank 0 needs the folder. An error there is thrown
/// on every rank. A run may be resumed with a different number of processes.
class RunFolder {
 public:
  /// Creates the folder if necessary. `settings` contains everything that determines the results, including
  /// the number of shards; it is stored in settings.json. `world`, if given, must outlive the RunFolder.
  /// Throws: ValueError if the folder contains a run with other settings, or a setting lacks a name or is
  /// given twice; IoError if it cannot be used, another process is using it, or it has trainings but no
  /// settings.json; Error if the process already has a RunFolder or InterruptGuard.
  RunFolder(std::string path, const JsonFields& settings, const Communicator* world = nullptr);
  /// As the constructor, for a program that stores and compares the settings itself: no settings.json.
  static RunFolder without_settings(std::string path, const Communicator* world = nullptr);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }     ///< The folder.
  std::string file(std::string_view name) const;        ///< The path of a file in the folder.
  const Communicator* world() const { return world_; }  ///< The processes; null for one.
  /// True on the process that writes the run's files: rank 0. A program should write its own files there.
  bool writes() const;

  /// A column of a training's log: the values of one key, and their epochs.
  struct Column {
    std::vector<double> epochs = {}, values = {};
  };
  /// Reads a key, such as "loss", from the log of a training. Returns an empty column if the log or the key
  /// is missing, or if this rank cannot see the folder.
  /// Throws: IoError if a line is not JSON.
  Column column(std::string_view training, std::string_view key) const;

 private:
  RunFolder(const JsonFields* settings, std::string path, const Communicator* world);
  void open(const JsonFields* settings);

  std::string path_;
  const Communicator* world_;
  int lock_ = -1;  // on the process that writes
  InterruptGuard guard_;
};

struct TrainingOptions {
  std::int64_t epochs = 1;
  std::int64_t log_every = 50;   ///< steps between lines of the log
  double checkpoint_every = 15;  ///< seconds between checkpoints; 0 saves one after each step
  double clip_grad_norm = 0;     ///< limit of the norm of all the optimiser's gradients in learn(); 0: none
  /// Parts of a batch in learn(batch, f), which the processes share, as in DataParallel. Results depend on
  /// their number, but not on the number of processes. 0: each process computes whole batches.
  std::int64_t shards = 0;
  /// Called at the end of each epoch; its fields are added to the log. It must not draw random numbers.
  std::function<JsonFields()> evaluate = {};
  bool quiet = false;  ///< show no progress
};

/// One training of a run, which handles everything except the steps:
///
///     rt::Training training(run, "teacher", {.module = &model, .optimizer = &optimizer, .loader = &loader},
///                           {.epochs = 10});
///     while (!training.done())
///       for (const rt::Batch& batch : loader)
///         training.learn(rt::cross_entropy(model(batch.input), batch.target));
///
/// With several processes, whose Communicator the RunFolder has, learn(batch, f) and `.shards` divide the
/// work and give the same bits for any number of processes:
///
///     training.learn(batch, [&](const rt::Batch& part) {
///       return rt::cross_entropy(model(part.input), part.target);  // the mean over the part's rows
///     });
///
/// A stopped training resumes from its last checkpoint and ends with the same bits as an uninterrupted one.
/// If the training has ended, the constructor loads the weights, and done() is true. The files are
/// NAME.jsonl, the folder NAME.checkpoints during training, and then NAME.safetensors and NAME.json, which
/// holds steps and seconds. If the parts include averages, the final weights are the averages. The module is
/// in training mode until the end and in evaluation mode afterwards. Results are reproducible if
/// manual_seed() is called before the model is created.
class Training {
 public:
  /// Throws: ValueError if the parts have no module or loader, the name is not a file name, is "settings" or
  /// that of an unfinished Training, an option is out of range or changes a finished training, the loader
  /// prepares other shards, or there are shards but no Communicator in the RunFolder; IoError if files are
  /// missing, broken or do not fit the parts; with shards, as DataParallel. Nothing then changes.
  Training(const RunFolder& run, std::string name, CheckpointParts parts, TrainingOptions options = {});
  ~Training();
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

  bool done() const;  ///< True once all epochs are done.
  /// Performs the step of a batch: gradients of the loss, clipped by the options; a step of the optimiser and
  /// of each schedule; an update of the average; then step(). If a run needs a different step, such as a
  /// schedule that steps once per epoch, perform it yourself and call step().
  /// Throws: ValueError if the parts have no optimiser, the options have shards, or `loss` is undefined, is
  /// int64, requires no gradient or has several elements; the errors of backward() and step().
  void learn(const Tensor& loss);
  /// Equivalent to learn(f(batch)). With shards, gradients come from DataParallel::backward(batch, f), which
  /// calls f with each part of the batch of this process and expects the mean loss of its rows.
  /// Throws: the errors of learn(), except for shards, and of DataParallel::backward().
  void learn(const Batch& batch, const std::function<Tensor(const Batch&)>& f);
  /// Call it after each step of the optimiser and the schedules, within the pass over the loader. Logs the
  /// mean loss and the rate of the step, and saves a checkpoint from time to time.
  /// Throws: ValueError if training is done, outside of a pass, if the loss is not finite or, on every rank,
  /// if ranks differ in it; Interrupted after Ctrl-C or SIGTERM on any rank; IoError if writing fails.
  void step(double loss);
  std::int64_t steps() const;  ///< Number of steps taken so far, including those of earlier processes.
  double seconds() const;      ///< Seconds of training so far, in all processes.

 private:
  struct State;
  State* state_;  // owned; <memory> would add a third to the lines that a user's file parses
};

}  // namespace retort
