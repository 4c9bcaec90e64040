// Where a training run stands, kept on disk so that it survives anything.
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

/// The parts of a run that a checkpoint keeps and restores; one that is not named is left alone. The default
/// generator, which dropout draws from, is always kept, and so is the one of a GeneratorGuard in force. The
/// parts must outlive the Checkpoint.
struct CheckpointParts {
  Module* module = nullptr;
  Optimizer* optimizer = nullptr;
  std::vector<LRScheduler*> schedulers = {};  ///< of that optimiser, in the order in which they step
  Generator* generator = nullptr;             ///< one of the run's own, in addition to the default one
  DataLoader* loader = nullptr;
  ExponentialMovingAverage* average = nullptr;
  EarlyStopping* early_stopping = nullptr;
  /// The processes of the run, where it has several: rank 0 alone reads and writes files.
  const Communicator* world = nullptr;
};

struct CheckpointOptions {
  std::int64_t keep = 3;  ///< how many of the newest stay; the best stays in addition
};

/// A folder of checkpoints, one safetensors file each, named `000012-step-3400.safetensors` (the first number
/// counts the saves) or `…-best.safetensors`; the links last.safetensors and best.safetensors point at them.
/// A run that was stopped anywhere and resumed gives the bits of an undisturbed one, on the same machine and
/// build: weights, optimiser, schedule, order of the batches and random numbers.
///
/// A file is written under another name, flushed and renamed, and older ones go only after that: whatever
/// happens, and also after a power failure, load() finds the newest checkpoint or the one before it. The
/// folder belongs to one run and one process at a time; others may read.
///
/// With a Communicator among the parts, all ranks call save() and load(), at the same step. Rank 0 writes its
/// state, or reads a file and sends its content to the others, so that only rank 0 needs the folder. An error
/// on rank 0 is thrown on every rank. A run may be resumed with another number of processes.
class Checkpoint {
 public:
  /// The content of a checkpoint apart from the state of its parts.
  struct Loaded {
    std::int64_t step = 0;
    std::string json = {};
    std::string path = {};  ///< of the file
  };

  /// Touches no file. ValueError for a `keep` below 1 or a scheduler that is null.
  Checkpoint(std::string folder, CheckpointParts parts, CheckpointOptions options = {});

  /// Writes a checkpoint, with `json` for whatever else the run must remember, and returns its path. `best`
  /// marks it as the best so far. The folder is created if necessary; files that a killed process left
  /// incomplete are removed.
  /// Throws: ValueError for a negative step, a text that is not JSON, or while the averages are in the
  /// module; IoError if writing fails: the earlier checkpoints are then still there, unless only removing old
  /// ones failed, which the next save tries again.
  std::string save(std::int64_t step, const std::string& json = "{}", bool best = false);

  /// Restores the newest checkpoint whose file is sound (a checksum tells), with a warning for each that is
  /// skipped. Nothing when there is none. IoError when none is sound, or when the parts do not fit what the
  /// file holds; then nothing has changed. Not to be called within a pass over the loader.
  std::optional<Loaded> load();
  /// The same for one file, such as best().
  Loaded load(const std::string& path);

  /// Path of the newest checkpoint, and of the newest that was saved as the best.
  std::optional<std::string> last() const;
  std::optional<std::string> best() const;

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
