// Everything that can be set: by a flag, by --set, or in a JSON file, whose settings both override.
#pragma once

#include <cstdint>
#include <optional>
#include <retort/framework/distributed/communicator.hpp>
#include <retort/losses/distillation_loss.hpp>
#include <string>

namespace distill {

/// The training of a network: AdamW with a learning rate that falls to 0 along a cosine.
struct Recipe {
  double lr = 0;
  std::int64_t epochs = 0;
  double weight_decay = 0;
  double dropout = 0;
};

/// The command of the program.
enum class Command : unsigned {
  distill = 1,  ///< all of it: the teacher, then the students
  train_teacher = 2,
  teach = 4,  ///< the students, from a teacher that is there
  evaluate = 8,
  report = 16,
};
/// As on the command line: "train-teacher".
std::string name(Command command);

/// The recipes of the students are what `distill --select` chose for Fashion-MNIST: see SELECTION.md.
struct Options {
  Command command = Command::distill;
  std::string data = "/usr/share/datasets/fashion-mnist";
  std::string out = "runs/fashion-mnist";
  std::int64_t seed = 0;
  std::int64_t seeds = 10;
  std::int64_t threads = 0;  ///< 0: as many as there are processors
  std::int64_t batch_size = 128;
  std::int64_t held_out = 0;  ///< training images that judge in place of the test images; 0: none

  std::int64_t teacher_width = 1200;
  Recipe teacher = {.lr = 1e-3, .epochs = 12, .weight_decay = 0.01, .dropout = 0.3};

  std::int64_t student_width = 128;
  std::int64_t student_images = 1800;
  Recipe alone = {.lr = 4e-3, .epochs = 120, .weight_decay = 0.1, .dropout = 0.3};
  Recipe distilled = {.lr = 8e-3, .epochs = 120, .weight_decay = 0.01, .dropout = 0.0};
  double temperature = 2;
  double alpha = 1;
  std::string divergence = "forward_kl";  ///< the name of a retort::Divergence
  double beta = 0.5;                      ///< of the divergences that compare with a mixture
  bool standardize = false;
  bool fused = false;
  std::int64_t top_k = 0;  ///< classes per image that are kept of the teacher's answers; 0: all

  std::string teacher_file = {};    ///< of `teach`: weights, or else
  std::string teacher_logits = {};  ///< the answers of a teacher that isn't here
  std::string save_logits = {};     ///< of `train-teacher`: a file for them; empty for none
  std::string model = {};           ///< of `evaluate`

  std::int64_t log_steps = 50;
  double checkpoint_seconds = 15;
  bool resume = false;
  bool select = false;
  bool quiet = false;

  std::int64_t shards = 0;                      ///< parts of a batch; 0: it is not divided
  const retort::Communicator* world = nullptr;  ///< the processes of the run; null for one
  /// True of the one process that writes files and prints.
  bool writes() const { return !world || world->rank() == 0; }
};

/// The options of the distilled students' loss.
retort::DistillationLossOptions loss_options(const Options& options);

/// ValueError that `what`, a flag or a file, needs the plain divergence unless the options have that.
void require_plain(const Options& options, const std::string& what);

/// Reads the command line, and the file that --config names (for `report`: the run folder's config.json).
/// Empty when --help was asked for, which is then printed. ValueError for what isn't known, of the wrong type
/// or out of range; it names the flag or the file and its key.
std::optional<Options> parse_options(int argc, const char* const* argv);

}  // namespace distill
