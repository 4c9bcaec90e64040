// The options of the program. Flags and --set override the settings in a JSON file.
#pragma once

#include <cstdint>
#include <optional>
#include <retort/framework/distributed/communicator.hpp>
#include <retort/losses/distillation_loss.hpp>
#include <string>

namespace distill {

/// Settings of a training with AdamW. The learning rate decays to 0 along a cosine.
struct Recipe {
  double lr = 0;
  std::int64_t epochs = 0;
  double weight_decay = 0;
  double dropout = 0;
};

/// The commands of the program, one bit each.
enum class Command : unsigned {
  distill = 1,  ///< trains the teacher, then the students
  train_teacher = 2,
  teach = 4,  ///< trains students from an existing teacher
  evaluate = 8,
  report = 16,
};
/// The name on the command line, such as "train-teacher".
std::string name(Command command);

/// The options of a run. `distill --select` chose the default recipes of the students on Fashion-MNIST; see
/// SELECTION.md.
struct Options {
  Command command = Command::distill;
  std::string data = "/usr/share/datasets/fashion-mnist";
  std::string out = "runs/fashion-mnist";
  std::int64_t seed = 0;
  std::int64_t seeds = 10;
  std::int64_t threads = 0;  ///< 0: one per processor
  std::int64_t batch_size = 128;
  std::int64_t held_out = 0;  ///< training images that replace the test images; 0: none

  std::int64_t teacher_width = 1200;
  Recipe teacher = {.lr = 1e-3, .epochs = 12, .weight_decay = 0.01, .dropout = 0.3};

  std::int64_t student_width = 128;
  std::int64_t student_images = 1800;
  Recipe alone = {.lr = 4e-3, .epochs = 120, .weight_decay = 0.1, .dropout = 0.3};
  Recipe distilled = {.lr = 8e-3, .epochs = 120, .weight_decay = 0.01, .dropout = 0.0};
  double temperature = 2;
  double alpha = 1;
  std::string divergence = "forward_kl";  ///< name of a retort::Divergence
  double beta = 0.5;                      ///< mixture weight, for the divergences that use one
  bool standardize = false;
  bool fused = false;
  std::int64_t top_k = 0;  ///< number of teacher classes kept per image; 0: all

  std::string teacher_file = {};    ///< for `teach`: file of the teacher's weights
  std::string teacher_logits = {};  ///< for `teach`, instead of weights: file of the answers
  std::string save_logits = {};     ///< for `train-teacher`: file for the logits; empty: none
  std::string model = {};           ///< for `evaluate`: file of the weights

  std::int64_t log_steps = 50;
  double checkpoint_seconds = 15;
  bool resume = false;
  bool select = false;
  bool quiet = false;

  std::int64_t shards = 0;                      ///< number of parts of a batch; 0: not divided
  const retort::Communicator* world = nullptr;  ///< processes of the run; null: one
  /// True for the process that writes files and prints.
  bool writes() const { return !world || world->rank() == 0; }
  /// True for a process that shows no progress.
  bool silent() const { return quiet || !writes(); }
  /// Prints a line about the progress on stderr, unless this process is silent.
  void say(const std::string& line) const;
};

/// The options of the distilled students' loss.
retort::DistillationLossOptions loss_options(const Options& options);

/// Checks that the divergence is forward_kl without standardization. `what`, a flag or a file, requires it.
/// Throws: ValueError naming `what` if it is not.
void require_plain(const Options& options, const std::string& what);

/// Reads the command line and the file given with --config (for `report`: the run folder's config.json).
/// Prints the help and returns nothing for --help.
/// Throws: ValueError naming the flag, or the file and its key, for an unknown setting, a wrong type or a
/// value out of range; IoError if the file cannot be read.
std::optional<Options> parse_options(int argc, const char* const* argv);

}  // namespace distill
