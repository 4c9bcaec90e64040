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
#include <utility>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/data/data_loader.hpp"
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
  for (const auto& [key, value] : settings)
    text += (text.empty() ? "{\n  " : ",\n  ") + Json(key).dump() + ": " + value.text();
  return settings.empty() ? "{}\n" : text + "\n}\n";
}

/// A line of settings.json without its indentation and comma.
std::string_view setting(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  if (line.ends_with(',')) line.remove_suffix(1);
  return line;
}

/// Describes the first line that differs between two texts.
std::string difference(const std::string& was, const std::string& is) {
  std::istringstream first(was), second(is);
  for (std::string a, b; std::getline(second, b);)
    if (!std::getline(first, a) || a != b) return message("{} there, {} now", setting(a), setting(b));
  return "settings that are no longer known";
}

}  // namespace

RunFolder::RunFolder(std::string path, const JsonFields& settings) : path_(std::move(path)) {
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
          message("RunFolder: {}: another process writes there; wait for it, or give another folder", path_),
          path_);
    }
    AtomicFile::remove_stale("RunFolder", path_);
    const std::string now = settings_text(settings);
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

RunFolder::~RunFolder() { ::close(lock_); }

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
      throw ValueError(message("Training: {}: the parts must have a module and a loader", name));
    if (name.empty() || name.find('/') != std::string::npos)
      throw ValueError(message("Training: the name must be usable as a file name, not '{}'", name));
    if (options.epochs < 1 || options.log_every < 1 || !(options.checkpoint_every >= 0) ||
        !(options.clip_grad_norm >= 0))
      throw ValueError(message(
          "Training: {}: epochs and log_every must be at least 1, checkpoint_every and clip_grad_norm "
          "at least 0; they are {}, {}, {} and {}",
          name, options.epochs, options.log_every, options.checkpoint_every, options.clip_grad_norm));
    if (parts.loader->size() < 1)
      throw ValueError(
          message("Training: {}: the loader has no batches; give it rows, or a smaller batch size "
                  "where it drops the last one",
                  name));
    total = options.epochs * parts.loader->size();
    parts.module->train();
    if (fs::exists(weights()))
      finished();
    else
      resume();
  }

  void resume() {
    checkpoint.emplace(path(".checkpoints"), parts, CheckpointOptions{.keep = 2});
    std::int64_t log_size = 0;
    if (const auto loaded = checkpoint->load()) {
      const Json json = Json::parse(loaded->json);
      step = loaded->step;
      sum = json.at("sum").get<double>();
      count = json.at("count").get<std::int64_t>();
      seconds_before = json.at("seconds").get<double>();
      log_size = json.at("log").get<std::int64_t>();
    }
    log.emplace(path(".jsonl"), log_size);
    if (step >= total) {
      end();
      return;
    }
    progress.emplace(
        name,
        ProgressOptions{
            .epochs = options.epochs, .steps = parts.loader->size(), .done = step, .quiet = options.quiet});
  }

  std::string path(const char* ending) const { return folder.file(name + ending); }
  std::string weights() const { return path(".safetensors"); }
  double seconds() const {
    const std::chrono::duration<double> here = Clock::now() - start;
    return seconds_before + (over ? 0 : here.count());
  }

  void write_line(JsonFields fields) {
    fields.insert(
        fields.begin(),
        {{"step", step}, {"epoch", static_cast<double>(step) / static_cast<double>(parts.loader->size())}});
    log->write(fields);
  }

  void require_more() const {
    if (over)
      throw ValueError(message("Training: {}: is done; check done() before each pass over the loader", name));
  }

  void take(double loss) {
    ++step;
    sum += loss;
    ++count;
    progress->step(loss);
    if (!std::isfinite(loss))
      throw ValueError(message("Training: {}: the loss is {} after {}; try a lower learning rate", name, loss,
                               detail::counted(step, "step")));
    if (step % options.log_every == 0 || step == total) {
      JsonFields fields = {{"loss", sum / static_cast<double>(count)}};
      if (parts.optimizer) fields.emplace_back("lr", parts.optimizer->lr());
      write_line(std::move(fields));
      sum = 0;
      count = 0;
    }
    if (step % parts.loader->size() == 0) {
      progress->epoch(loss);
      if (options.evaluate) write_line(options.evaluate());
    }
    const bool stop = interrupted();
    const double since = std::chrono::duration<double>(Clock::now() - saved).count();
    if (stop || step == total || since >= options.checkpoint_every) save();
    if (step == total) {
      end();
    } else if (stop) {
      progress->say("stopped; start the program again to continue");
      throw Interrupted(message("Training: {}: stopped after {}; start again to continue", name,
                                detail::counted(step, "step")));
    }
  }

  void save() {
    checkpoint->save(
        step, Json({{"log", log->flush()}, {"sum", sum}, {"count", count}, {"seconds", seconds()}}).dump());
    saved = Clock::now();
  }

  /// Everything has been saved in a checkpoint; the following may be repeated after a kill.
  void end() {
    progress.reset();
    write_whole(path(".json"), Json({{"steps", step}, {"seconds", seconds()}}).dump(2) + '\n');
    if (parts.average) {
      const auto averaged = parts.average->apply();
      retort::save(*parts.module, weights());
    } else {
      retort::save(*parts.module, weights());
    }
    finished();
  }

  void finished() {
    load(*parts.module, weights());
    parts.module->eval();
    const Json json = Json::parse(text_of(path(".json")).value_or("{}"), nullptr, false);
    step = total;
    seconds_before = json.is_object() ? json.value("seconds", 0.0) : 0.0;
    over = true;
    std::error_code ignored;
    fs::remove_all(path(".checkpoints"), ignored);
  }

  std::string name;
  CheckpointParts parts;
  TrainingOptions options;
  const RunFolder& folder;
  std::optional<Checkpoint> checkpoint = {};
  std::optional<JsonLines> log = {};
  std::optional<Progress> progress = {};
  std::int64_t step = 0, total = 0;
  double sum = 0;          // of the losses since the last line of the log
  std::int64_t count = 0;  // number of those losses
  double seconds_before = 0;
  bool over = false;
  Clock::time_point start = Clock::now(), saved = Clock::now();
};

Training::Training(const RunFolder& run, std::string name, CheckpointParts parts, TrainingOptions options)
    : state_(new State(run, std::move(name), std::move(parts), std::move(options))) {}

Training::~Training() { delete state_; }

bool Training::done() const { return state_->over; }

void Training::learn(const Tensor& loss) {
  state_->require_more();
  const CheckpointParts& parts = state_->parts;
  if (!parts.optimizer) throw ValueError(message("Training: {}: learn() needs an optimizer", state_->name));
  const auto value = loss.item<double>();
  if (!std::isfinite(value)) return state_->take(value);  // throws, with the weights as they were
  parts.optimizer->zero_grad();
  loss.backward();
  if (state_->options.clip_grad_norm > 0)
    clip_grad_norm(parts.module->parameters(), state_->options.clip_grad_norm);
  parts.optimizer->step();
  for (LRScheduler* const schedule : parts.schedulers) schedule->step();
  if (parts.average) parts.average->update();
  state_->take(value);
}

void Training::step(double loss) {
  state_->require_more();
  state_->take(loss);
}

std::int64_t Training::steps() const { return state_->step; }

double Training::seconds() const { return state_->seconds(); }

}  // namespace retort
