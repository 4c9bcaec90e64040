#include "retort/framework/train/training.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/data/data_loader.hpp"
#include "retort/framework/distributed/agreement_impl.hpp"
#include "retort/framework/distributed/communicator.hpp"
#include "retort/framework/distributed/data_parallel.hpp"
#include "retort/framework/distributed/transport_impl.hpp"
#include "retort/framework/io/atomic_file.hpp"
#include "retort/framework/io/input_impl.hpp"
#include "retort/framework/io/serialize.hpp"
#include "retort/framework/nn/module.hpp"
#include "retort/framework/train/checkpoint_impl.hpp"
#include "retort/framework/train/moving_average.hpp"
#include "retort/framework/train/progress.hpp"
#include "retort/framework/train/training_impl.hpp"
#include "retort/optim/clip_grad.hpp"
#include "retort/optim/lr_scheduler.hpp"
#include "retort/optim/optimizer.hpp"

namespace retort {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Reserves the name of an unfinished training in a folder: two of them would write the same files.
class NameInUse {
 public:
  NameInUse(const RunFolder& folder, const std::string& name) : key_(&folder, name) {
    const std::lock_guard lock(mutex);
    if (!names.insert(key_).second)
      throw ValueError(
          message("Training '{}': an unfinished Training of this name exists for this RunFolder; destroy it "
                  "first, or give another name",
                  name));
  }
  ~NameInUse() {
    const std::lock_guard lock(mutex);
    names.erase(key_);
  }
  NameInUse(const NameInUse&) = delete;
  NameInUse& operator=(const NameInUse&) = delete;

 private:
  using Key = std::pair<const RunFolder*, std::string>;
  static inline std::mutex mutex;
  static inline std::set<Key> names;
  Key key_;
};

}  // namespace

struct Training::State {
  using Clock = std::chrono::steady_clock;

  State(const RunFolder& run, std::string training, CheckpointParts all, TrainingOptions chosen)
      : name(std::move(training)), parts(std::move(all)), options(std::move(chosen)), folder(run) {
    if (!parts.module || !parts.loader)
      throw ValueError(message("Training '{}': the parts have no {}; give a module and a loader", name,
                               parts.module ? "loader" : "module"));
    detail::check_parts(message("Training '{}'", name), parts);
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
      throw ValueError(
          message("Training: the name '{}' cannot be part of a file name; give a plain name", name));
    if (name == "settings")
      throw ValueError("Training: the name 'settings' is that of the folder's settings; give another name");
    const std::string operation = message("Training '{}'", name);
    const auto require_at_least = [&](const char* option, double value, double least) {
      detail::require_option(value >= least, operation.c_str(), option, value,
                             least > 0 ? "at least 1" : "at least 0");
    };
    require_at_least("epochs", static_cast<double>(options.epochs), 1);
    require_at_least("log_every", static_cast<double>(options.log_every), 1);
    require_at_least("checkpoint_every", options.checkpoint_every, 0);
    require_at_least("clip_grad_norm", options.clip_grad_norm, 0);
    require_at_least("shards", static_cast<double>(options.shards), 0);
    if (parts.world && parts.world != folder.world())
      throw ValueError(
          message("Training '{}': the parts have another Communicator than the RunFolder; give it to the "
                  "RunFolder alone",
                  name));
    if (options.shards > 0 && !folder.world())
      throw ValueError(message(
          "Training '{}': {} shards; give the RunFolder the Communicator of the processes that share them",
          name, options.shards));
    if (const std::int64_t parted = parts.loader->options().shards.count;
        parted > 0 && parted != options.shards)
      throw ValueError(
          message("Training '{}': the loader prepares {} per batch, but the options give {}; set "
                  "TrainingOptions::shards to the number given to own_shards(), and call learn(batch, f)",
                  name, detail::counted(parted, "shard"), options.shards));
    if (parts.loader->size() < 1)
      throw ValueError(
          message("Training '{}': the loader has no batches; give it rows, or a smaller batch size "
                  "where it drops the last one",
                  name));
    total = options.epochs * parts.loader->size();
    parts.world = folder.world();
    transport = detail::transport_of(parts.world);
    if (options.shards > 0)
      parallel.emplace(*parts.module, *parts.world, DataParallelOptions{options.shards});
    description = detail::describe(parts, options);
    bool exists = folder.writes() && fs::exists(weights());
    if (transport) transport->broadcast(&exists, sizeof exists, 0);
    if (exists)
      finished();
    else
      resume();
  }

  /// The content of NAME.json.
  Json stored() const {
    std::string text;
    detail::on_first_rank(transport, [&] {
      const std::optional<std::string> content = detail::text_of(path(".json"));
      if (!content || !Json::parse(*content, nullptr, false).is_object())
        throw IoError(
            message("Training '{}': {}: {}, so that this training cannot be compared with the one that "
                    "began; restore the file, or give another folder or name",
                    name, path(".json"), content ? "is not a JSON object" : "is missing"),
            path(".json"));
      text = *content;
    });
    if (transport) text = detail::broadcast_text(*transport, text, 0);
    return Json::parse(text);
  }
  void store(const Json& json) const {
    detail::on_first_rank(transport,
                          [&] { AtomicFile::write_whole("RunFolder", path(".json"), json.dump(2) + '\n'); });
  }

  /// Throws if a value of NAME.json differs from that of this training. A seed that was drawn may differ.
  void require_same(const Json& there, const std::string& key) const {
    if (key == "seed" && !parts.loader->options().seed) return;
    if (const std::string text = detail::difference(there, description, key); !text.empty())
      throw IoError(
          message("Training '{}': {}: is of a training with {}; give the same, or another folder or name",
                  name, path(".json"), text),
          path(".json"));
  }

  /// Compares NAME.json with this training, which resumes. Throws where a difference would be ignored, and
  /// warns where it changes how the training continues. Schedules compare their own options.
  void compare(const Json& there, std::int64_t newest) const {
    for (const char* const key :
         {"rows", "batch_size", "order", "seed", "optimizer", "optimizer options", "schedule", "average"})
      require_same(there, key);
    for (const char* const key : {"clip_grad_norm", "shards"})
      if (const std::string text = detail::difference(there, description, key); !text.empty()) {
        const std::string warning =
            message("Training '{}': began with {}; it continues with the latter", name, text);
        detail::warn_once(warning, warning);
      }
    const std::string log_path = path(".jsonl");
    detail::on_first_rank(transport, [&] {
      if (!fs::exists(log_path))
        throw IoError(
            message("Training '{}': resumes after {}, but its log {} is missing; restore it, or give another "
                    "folder or name",
                    name, detail::counted(newest, "step"), log_path),
            log_path);
    });
  }

  void resume() {
    in_use.emplace(folder, name);
    checkpoint.emplace(path(".checkpoints"), parts);
    std::int64_t newest = -1;
    detail::on_first_rank(transport, [&] {
      const auto files = detail::checkpoints_in(path(".checkpoints"));
      if (!files.empty()) newest = files.front().step;
    });
    if (transport) transport->broadcast(&newest, sizeof newest, 0);
    if (newest >= 0) compare(stored(), newest);
    if (newest > total)
      throw ValueError(message(
          "Training '{}': the folder holds an unfinished training after {}, but the options end at step {}; "
          "give as many epochs as before, or another folder or name",
          name, detail::counted(newest, "step"), total));
    std::int64_t log_size = 0;
    if (const auto loaded = checkpoint->load()) {
      const Json json = Json::parse(loaded->json);
      step = loaded->step;
      sum = json.at("sum").get<double>();
      count = json.at("count").get<std::int64_t>();
      seconds_before = json.at("seconds").get<double>();
      log_size = json.at("log").get<std::int64_t>();
    }
    detail::on_first_rank(transport, [&] {
      try {
        log.emplace(path(".jsonl"), log_size);
      } catch (const IoError& error) {
        throw IoError(message("Training '{}': {}", name, error.what()), error.path(), error.error_code());
      }
    });
    description["seed"] = parts.loader->position().seed;
    store(description);
    parts.module->train();
    if (step >= total) {
      end();
      return;
    }
    if (parts.optimizer) rate = parts.optimizer->lr();
    progress.emplace(name, ProgressOptions{.epochs = options.epochs,
                                           .steps = parts.loader->size(),
                                           .done = step,
                                           .quiet = options.quiet || !folder.writes()});
  }

  std::string path(const char* ending) const { return folder.file(name + ending); }
  std::string weights() const { return path(".safetensors"); }
  double seconds() const {
    const std::chrono::duration<double> here = Clock::now() - start;
    return seconds_before + (over ? 0 : here.count());
  }

  void write_line(JsonFields fields) {
    for (const auto& [key, value] : fields)
      if (key == "step" || key == "epoch")
        throw ValueError(message(
            "Training '{}': evaluate() returned the field \"{}\", which the log has already", name, key));
    fields.insert(
        fields.begin(),
        {{"step", step}, {"epoch", static_cast<double>(step) / static_cast<double>(parts.loader->size())}});
    detail::on_first_rank(transport, [&] { log->write(fields); });
  }

  void require_more() const {
    if (over)
      throw ValueError(
          message("Training '{}': all epochs are done; check done() before each pass over the loader, and "
                  "leave no pass early",
                  name));
  }

  void require_pass() const {
    if (parts.loader->position().batch == 0)
      throw ValueError(
          message("Training '{}': the loader of its parts is not in a pass; call learn() or "
                  "step() within `for (const Batch& batch : loader)`",
                  name));
  }

  [[noreturn]] void fail_loss(const std::string& got, const char* remedy) const {
    throw ValueError(message("Training '{}': the loss given to learn(), or returned by its function, {}; {}",
                             name, got, remedy));
  }

  /// The loss, which must have one element and a gradient.
  const Tensor& checked(const Tensor& loss) const {
    if (!loss.defined() || loss.size() != 1)
      fail_loss(loss.defined() ? message("has shape {}", loss.shape()) : "is undefined",
                "it must have one element, such as the mean over the rows of the batch");
    if (!is_floating_point(loss.dtype()))
      fail_loss(message("is {}", loss.dtype()), "it must be float32 or float64");
    if (!loss.requires_grad())
      fail_loss("does not depend on a tensor that requires a gradient",
                "compute it from the outputs of the module, outside of no_grad()");
    return loss;
  }

  /// The optimiser's parameters: first those of the module in its order, which determines the bits of the
  /// norm, then all others.
  Tensors clipped() const {
    std::unordered_set<const Array*> missing;
    for (const Tensor& parameter : parts.optimizer->parameters())
      missing.insert(&detail::Access::array(parameter));
    Tensors all;
    for (const Tensors& some : {parts.module->parameters(), parts.optimizer->parameters()})
      for (const Tensor& parameter : some)
        if (missing.erase(&detail::Access::array(parameter)) > 0) all.push_back(parameter);
    return all;
  }

  /// The step of a batch, whose loss `backward` returns after adding the gradients.
  template <class Backward>
  void learn(Backward backward) {
    require_more();
    if (!parts.optimizer)
      throw ValueError(message("Training '{}': learn() needs an optimiser; give the parts one", name));
    require_pass();
    parts.optimizer->zero_grad();
    rate = parts.optimizer->lr();
    const double loss = backward();
    if (std::isfinite(loss)) {
      if (options.clip_grad_norm > 0) clip_grad_norm(clipped(), options.clip_grad_norm);
      parts.optimizer->step();
      for (LRScheduler* const schedule : parts.schedulers) schedule->step();
      if (parts.average) parts.average->update();
    }
    take(loss);  // throws if the loss is not finite, with the weights as they were
  }

  /// The report of a rank after a step.
  struct Vote {
    double loss;
    std::int32_t stop;  // it was interrupted
    std::int32_t due;   // it is time for a checkpoint
  };

  /// All ranks decide as rank 0 when a checkpoint is due, and stop if any of them was interrupted.
  Vote agree(Vote own) const {
    if (!transport) return own;
    std::vector<Vote> votes(static_cast<std::size_t>(transport->size()));
    transport->all_gather(&own, votes.data(), sizeof own);
    for (std::size_t rank = 1; rank < votes.size(); ++rank) {
      if (votes[rank].loss != votes[0].loss)
        throw ValueError(
            message("Training '{}': after {} steps, rank {} has the loss {}, but rank 0 has {}; every rank "
                    "needs the same data, seeds and model",
                    name, step, rank, votes[rank].loss, votes[0].loss));
      votes[0].stop |= votes[rank].stop;
    }
    return votes[0];
  }

  void take(double loss) {
    if (!std::isfinite(loss))
      throw ValueError(
          message("Training '{}': the loss is {} {}", name, loss,
                  step == 0 ? "before the first update; look for NaN or infinity in the data and in the "
                              "initial weights, or for logits that overflow"
                            : message("after {}; try a lower learning rate", detail::counted(step, "step"))));
    require_pass();
    ++step;
    sum += loss;
    ++count;
    progress->step(loss);
    if (step % options.log_every == 0 || step == total) {
      JsonFields fields = {{"loss", sum / static_cast<double>(count)}};
      if (parts.optimizer) fields.emplace_back("lr", rate);
      write_line(std::move(fields));
      sum = 0;
      count = 0;
    }
    if (step % parts.loader->size() == 0) {
      progress->epoch(loss);
      if (options.evaluate) write_line(options.evaluate());
    }
    if (parts.optimizer) rate = parts.optimizer->lr();
    const double since = std::chrono::duration<double>(Clock::now() - saved).count();
    const Vote vote = agree({loss, interrupted(), since >= options.checkpoint_every});
    if (vote.stop || vote.due || step == total) save();
    if (step == total) {
      end();
    } else if (vote.stop) {
      progress->say("stopped; start the program again to continue");
      throw Interrupted(message("Training '{}': stopped after {}; start again to continue", name,
                                detail::counted(step, "step")));
    }
  }

  void save() {
    std::int64_t log_size = 0;
    detail::on_first_rank(transport, [&] { log_size = log->flush(); });
    checkpoint->save(
        step, Json({{"log", log_size}, {"sum", sum}, {"count", count}, {"seconds", seconds()}}).dump());
    saved = Clock::now();
  }

  /// Everything has been saved in a checkpoint; the following may be repeated after a kill.
  void end() {
    progress.reset();
    Json json = {{"steps", step}, {"seconds", seconds()}};
    json.update(description);
    store(json);
    detail::on_first_rank(transport, [&] {
      if (parts.average) {
        const auto averaged = parts.average->apply();
        retort::save(*parts.module, weights());
      } else {
        retort::save(*parts.module, weights());
      }
    });
    finished();
  }

  void finished() {
    const Json json = stored();
    for (const auto& [key, unused] : description.items()) require_same(json, key);
    if (const std::int64_t steps = json.value("steps", total); steps != total)
      throw ValueError(
          message("Training '{}': the folder holds a finished training of {} steps, but the options give {}; "
                  "give another folder or name",
                  name, steps, total));
    detail::on_first_rank(transport, [&] {
      load(*parts.module, weights());
      std::error_code ignored;
      fs::remove_all(path(".checkpoints"), ignored);
    });
    if (transport)
      for (const Tensors& tensors : {parts.module->parameters(), parts.module->buffers()})
        for (const Tensor& tensor : tensors) parts.world->broadcast(tensor);
    parts.module->eval();
    step = total;
    seconds_before = json.value("seconds", 0.0);
    over = true;
    in_use.reset();
  }

  std::string name;
  CheckpointParts parts;
  TrainingOptions options;
  const RunFolder& folder;
  detail::Transport* transport = nullptr;  // null for one process
  Json description;                        // of the parts and options, as the training began
  std::optional<DataParallel> parallel = {};
  std::optional<NameInUse> in_use = {};
  std::optional<Checkpoint> checkpoint = {};
  std::optional<JsonLines> log = {};  // on the process that writes
  std::optional<Progress> progress = {};
  std::int64_t step = 0, total = 0;
  double sum = 0;          // of the losses since the last line of the log
  std::int64_t count = 0;  // number of those losses
  double rate = 0;         // of the current step, which a schedule may replace before take()
  double seconds_before = 0;
  bool over = false;
  Clock::time_point start = Clock::now(), saved = Clock::now();
};

Training::Training(const RunFolder& run, std::string name, CheckpointParts parts, TrainingOptions options)
    : state_(new State(run, std::move(name), std::move(parts), std::move(options))) {}

Training::~Training() { delete state_; }

bool Training::done() const { return state_->over; }

void Training::learn(const Tensor& loss) {
  if (state_->parallel)
    throw ValueError(message(
        "Training '{}': the loss of a whole batch cannot be divided into {} shards; call learn(batch, f)",
        state_->name, state_->options.shards));
  state_->learn([&] {
    const auto value = state_->checked(loss).item<double>();
    if (std::isfinite(value)) loss.backward();
    return value;
  });
}

void Training::learn(const Batch& batch, const std::function<Tensor(const Batch&)>& f) {
  if (!f) throw ValueError(message("Training '{}': the function given to learn() is empty", state_->name));
  if (!state_->parallel) return learn(f(batch));
  const auto loss_of = [&](const Batch& part) { return state_->checked(f(part)); };
  state_->learn([&] { return state_->parallel->backward(batch, loss_of); });
}

void Training::step(double loss) {
  state_->require_more();
  state_->take(loss);
}

std::int64_t Training::steps() const { return state_->step; }

double Training::seconds() const { return state_->seconds(); }

}  // namespace retort
