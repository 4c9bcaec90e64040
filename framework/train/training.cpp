#include "retort/framework/train/training.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
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
#include "retort/framework/train/moving_average.hpp"
#include "retort/framework/train/progress.hpp"
#include "retort/optim/clip_grad.hpp"
#include "retort/optim/lr_scheduler.hpp"
#include "retort/optim/optimizer.hpp"

namespace retort {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void write_whole(const std::string& path, const std::string& text) {
  AtomicFile file("RunFolder", path);
  file.write(text);
  file.commit();
}

/// Null for one process.
detail::Transport* transport_of(const Communicator* world) {
  return world && world->size() > 1 ? world->transport() : nullptr;
}

/// The content of a small text file; empty if it does not exist.
std::optional<std::string> text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string settings_text(const JsonFields& settings) {
  std::string text;
  std::unordered_set<std::string> keys;
  for (const auto& [key, value] : settings)
    if (key.empty() || !keys.insert(key).second)
      throw ValueError(
          message("RunFolder: the setting \"{}\" {}", key, key.empty() ? "has no name" : "is given twice"));
  for (const auto& [key, value] : settings)
    text += (text.empty() ? "{\n  " : ",\n  ") + Json(key).dump() + ": " + value.text();
  return settings.empty() ? "{}\n" : text + "\n}\n";
}

/// Describes the first setting that differs between the texts of two places.
std::string difference(const std::string& was, const std::string& is, const std::string& place = "there",
                       const std::string& here = "now") {
  const Json there = Json::parse(was, nullptr, false), now = Json::parse(is);
  if (!there.is_object()) return "its settings.json is not a JSON object";
  const auto value = [](const Json& settings, const std::string& key) {
    return settings.contains(key) ? settings.at(key).dump() : "missing";
  };
  for (const Json& settings : {now, there})
    for (const auto& [key, unused] : settings.items())
      if (value(there, key) != value(now, key))
        return message("\"{}\" is {} {}, {} {}", key, value(there, key), place, value(now, key), here);
  return "their order or form differs";
}

/// Throws on every rank if a rank has other settings than rank 0.
void require_same_settings(detail::Transport& transport, const std::string& own) {
  const std::string first = detail::broadcast_text(transport, own, 0);
  const char differs = own != first;
  std::vector<char> all(static_cast<std::size_t>(transport.size()));
  transport.all_gather(&differs, all.data(), 1);
  const auto rank = static_cast<int>(std::ranges::find(all, char{1}) - all.begin());
  if (rank == transport.size()) return;
  const std::string text =
      differs ? message("RunFolder: the ranks have different settings ({}); give all of them the same",
                        difference(first, own, "on rank 0", message("on rank {}", transport.rank())))
              : std::string();
  throw ValueError(detail::broadcast_text(transport, text, rank));
}

}  // namespace

RunFolder::RunFolder(std::string path, const JsonFields& settings, const Communicator* world)
    : RunFolder(&settings, std::move(path), world) {}

RunFolder RunFolder::without_settings(std::string path, const Communicator* world) {
  return {nullptr, std::move(path), world};
}

RunFolder::RunFolder(const JsonFields* settings, std::string path, const Communicator* world)
    : path_(std::move(path)), world_(world) {
  if (settings && transport_of(world_))
    require_same_settings(*transport_of(world_), settings_text(*settings));
  detail::on_first_rank(transport_of(world_), [&] { open(settings); });
}

void RunFolder::open(const JsonFields* settings) {
  if (path_.empty()) throw ValueError("RunFolder: the path of the folder is empty");
  std::error_code error;
  fs::create_directories(path_, error);
  if (error)
    throw IoError(message("RunFolder: {}: cannot be created: {}", path_, error.message()), path_,
                  error.value());
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0)
    throw IoError(message("RunFolder: {}: {}", path_, detail::system_message(errno)), path_, errno);
  try {
    while (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) break;  // a file system without locks
      throw IoError(
          message(
              "RunFolder: another run is writing to {}; wait for it, or give another folder; under mpirun, "
              "give the RunFolder the Communicator",
              path_),
          path_);
    }
    AtomicFile::remove_stale("RunFolder", path_);
    if (!settings) return;
    const std::string now = settings_text(*settings);
    const std::optional<std::string> before = text_of(file("settings.json"));
    if (!before)
      write_whole(file("settings.json"), now);
    else if (*before != now)
      throw ValueError(
          message("RunFolder: {}: holds a run with other settings ({}); give another folder, or remove it",
                  path_, difference(*before, now)));
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

bool RunFolder::writes() const { return !world_ || world_->rank() == 0; }

std::string RunFolder::file(std::string_view name) const { return (fs::path(path_) / name).string(); }

RunFolder::Column RunFolder::column(std::string_view training, std::string_view key) const {
  const std::string path = file(std::string(training) + ".jsonl");
  std::ifstream log(path);
  Column column;
  for (std::string line; std::getline(log, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded())
      throw IoError(message("RunFolder: {}: the line {} is not JSON", path, line), path);
    const auto value = json.find(key);
    if (value == json.end() || !value->is_number()) continue;
    column.epochs.push_back(json.value("epoch", 0.0));
    column.values.push_back(value->get<double>());
  }
  return column;
}

struct Training::State {
  using Clock = std::chrono::steady_clock;

  State(const RunFolder& run, std::string training, CheckpointParts all, TrainingOptions chosen)
      : name(std::move(training)), parts(std::move(all)), options(std::move(chosen)), folder(run) {
    if (!parts.module || !parts.loader)
      throw ValueError(message("Training '{}': the parts must have a module and a loader", name));
    if (name.empty() || name == "." || name == ".." || name == "settings" ||
        name.find('/') != std::string::npos)
      throw ValueError(
          message("Training: the name '{}' cannot begin the names of its files; give a file name, but not "
                  "'settings'",
                  name));
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
    transport = transport_of(parts.world);
    if (options.shards > 0)
      parallel.emplace(*parts.module, *parts.world, DataParallelOptions{options.shards});
    parts.module->train();
    bool exists = folder.writes() && fs::exists(weights());
    if (transport) transport->broadcast(&exists, sizeof exists, 0);
    if (exists)
      finished();
    else
      resume();
  }

  void resume() {
    checkpoint.emplace(path(".checkpoints"), parts);
    std::int64_t log_size = 0;
    if (const auto loaded = checkpoint->load()) {
      const std::uint64_t seed = parts.loader->position().seed;
      if (const std::uint64_t own = parts.loader->options().seed.value_or(seed); own != seed)
        throw ValueError(message(
            "Training '{}': the folder holds a run whose loader has seed {}, but this one has {}; give "
            "the same seed, or another folder or name",
            name, seed, own));
      const Json json = Json::parse(loaded->json);
      step = loaded->step;
      sum = json.at("sum").get<double>();
      count = json.at("count").get<std::int64_t>();
      seconds_before = json.at("seconds").get<double>();
      log_size = json.at("log").get<std::int64_t>();
    }
    detail::on_first_rank(transport, [&] { log.emplace(path(".jsonl"), log_size); });
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
          message("Training '{}': all epochs are done; check done() before each pass over the loader", name));
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
    if (!parts.optimizer) throw ValueError(message("Training '{}': learn() needs an optimizer", name));
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
    detail::on_first_rank(transport, [&] {
      write_whole(path(".json"), Json({{"steps", step}, {"seconds", seconds()}}).dump(2) + '\n');
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
    std::string text;
    detail::on_first_rank(transport, [&] {
      load(*parts.module, weights());
      text = text_of(path(".json")).value_or("{}");
      std::error_code ignored;
      fs::remove_all(path(".checkpoints"), ignored);
    });
    if (transport) {
      text = detail::broadcast_text(*transport, text, 0);
      for (const Tensors& tensors : {parts.module->parameters(), parts.module->buffers()})
        for (const Tensor& tensor : tensors) parts.world->broadcast(tensor);
    }
    parts.module->eval();
    const Json json = Json::parse(text, nullptr, false);
    const bool is_object = json.is_object();
    if (const std::int64_t steps = is_object ? json.value("steps", total) : total; steps != total)
      throw ValueError(
          message("Training '{}': the folder holds a finished training of {} steps, but the options give {}; "
                  "give another folder or name",
                  name, steps, total));
    step = total;
    seconds_before = is_object ? json.value("seconds", 0.0) : 0.0;
    over = true;
  }

  std::string name;
  CheckpointParts parts;
  TrainingOptions options;
  const RunFolder& folder;
  detail::Transport* transport = nullptr;  // null for one process
  std::optional<DataParallel> parallel = {};
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
    const auto value = loss.item<double>();
    if (std::isfinite(value)) loss.backward();
    return value;
  });
}

void Training::learn(const Batch& batch, const std::function<Tensor(const Batch&)>& f) {
  if (!state_->parallel) return learn(f(batch));
  state_->learn([&] { return state_->parallel->backward(batch, f); });
}

void Training::step(double loss) {
  state_->require_more();
  state_->take(loss);
}

std::int64_t Training::steps() const { return state_->step; }

double Training::seconds() const { return state_->seconds(); }

}  // namespace retort
