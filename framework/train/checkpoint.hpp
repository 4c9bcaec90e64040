// Checkpoints of training runs, safe against interruption.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "retort/framework/core/state_dict.hpp"

namespace [[RETORT_EXPORT]] retort {

class Communicator;
class DataLoader;
class EarlyStopping;
class ExponentialMovingAverage;
class Generator;
class LRScheduler;
class Module;
class Optimizer;

/// The parts of a run that a checkpoint saves and restores; those not given are ignored. The default
/// generator, which dropout uses, is always included, as is that of an active GeneratorGuard. The parts must
/// outlive the Checkpoint.
struct CheckpointParts {
  Module* module = nullptr;
  Optimizer* optimizer = nullptr;
  std::vector<LRScheduler*> schedulers = {};  ///< schedules of that optimiser, in the order of their steps
  Generator* generator = nullptr;             ///< a generator of the run, in addition to the default one
  DataLoader* loader = nullptr;
  ExponentialMovingAverage* average = nullptr;
  EarlyStopping* early_stopping = nullptr;
  /// The processes of the run, if there are several: only rank 0 reads and writes files.
  const Communicator* world = nullptr;
};

struct CheckpointOptions {
  std::int64_t keep = 3;  ///< number of newest checkpoints to keep; the best is kept in addition
};

/// A folder of checkpoints, one safetensors file each, named `000012-step-3400.safetensors` (the first number
/// counts the saves) or `…-best.safetensors`; the links last.safetensors and best.safetensors point to them.
/// A run that is stopped anywhere and resumed ends with the same bits as an uninterrupted one, on the same
/// machine and build: weights, optimiser, schedule, order of the batches and random numbers.
///
/// A file is written under a temporary name, flushed and renamed, and older ones are removed only afterwards:
/// even after a power failure, load() finds the newest checkpoint or the previous one. The folder belongs to
/// one run and one process at a time; others may read.
///
/// With a Communicator among the parts, all ranks call save() and load(), at the same step. Rank 0 writes its
/// state, or reads a file and sends its content to the others, so that only rank 0 needs the folder. An error
/// on rank 0 is thrown on every rank. A run may be resumed with a different number of processes.
class Checkpoint {
 public:
  /// The content of a checkpoint except for the state of its parts.
  struct Loaded {
    std::int64_t step = 0;
    std::string json = {};
    std::string path = {};  ///< of the file
  };

  /// Does not access any file.
  /// Throws: ValueError if `keep` is less than 1, a scheduler is given without its optimiser, twice or along
  /// with a SequentialLR of it, the optimiser has no parameter of the module, or the average is of another
  /// module.
  Checkpoint(std::string folder, CheckpointParts parts, CheckpointOptions options = {});

  /// Writes a checkpoint, with `json` for any further data of the run, and returns its path. `best` marks it
  /// as the best so far. Creates the folder if necessary, and removes incomplete files left by killed
  /// processes.
  /// Throws: ValueError if the step is negative, the text is not JSON, or averages are applied to the module;
  /// IoError if writing fails. The earlier checkpoints then still exist, unless only removing old ones
  /// failed, which the next save retries.
  std::string save(std::int64_t step, const std::string& json = "{}", bool best = false);

  /// Restores the newest valid checkpoint, verified by a checksum, and warns about each one skipped. Returns
  /// nothing if there are none. Do not call it during a pass over the loader.
  /// Throws: IoError if none is valid, or the parts do not match the file; nothing is then changed.
  std::optional<Loaded> load();
  /// As load(), for one file, such as best().
  Loaded load(const std::string& path);

  std::optional<std::string> last() const;  ///< The path of the newest checkpoint.
  std::optional<std::string> best() const;  ///< The path of the newest checkpoint that was saved as best.

 private:
  std::string write(std::int64_t step, const std::string& json, bool best);
  StateDict states() const;
  void load_states(const StateDict& state);
  void restore(const StateDict& state, const std::string& path);

  std::string folder_;
  CheckpointParts parts_;
  CheckpointOptions options_;
};

}  // namespace retort
