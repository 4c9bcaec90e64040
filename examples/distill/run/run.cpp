#include "distill/run/run.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "distill/cli/settings.hpp"

namespace distill {
namespace {

namespace fs = std::filesystem;
using retort::IoError;
using retort::message;

constexpr std::int64_t student_epochs_between_tests = 10;  // keeps the cost of tests low

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name"))
      if (const std::size_t colon = line.find(": "); colon != std::string::npos)
        return line.substr(colon + 2);
  return "unknown";
}

Json environment_of(const Options& options) {
  return {{"version", RETORT_VERSION},
          {"seed", options.seed},
          {"cpu", cpu_name()},
          {"threads", retort::get_num_threads()},
#ifdef __clang__
          {"compiler", "clang " __clang_version__}
#else
          {"compiler", "g++ " __VERSION__}
#endif
  };
}

/// The JSON text. Replaces invalid UTF-8, which paths may contain.
template <class Any>
std::string text_of(const Any& json, int indent = -1) {
  return json.dump(indent, ' ', false, Any::error_handler_t::replace);
}

std::string checkpoints_in(const std::string& folder) { return (fs::path(folder) / "checkpoints").string(); }

[[noreturn]] void refuse_to_resume(const Options& options) {
  throw IoError(
      message("--resume: {} holds no checkpoint; leave --resume out to begin", checkpoints_in(options.out)));
}

/// The run's folder, which a resumed run must have already.
const std::string& folder_of(const Options& options) {
  if (options.resume && options.writes() && !fs::exists(options.out)) refuse_to_resume(options);
  return options.out;
}

double seconds_since(Run::Clock::time_point start) {
  return std::chrono::duration<double>(Run::Clock::now() - start).count();
}

}  // namespace

void prove_writable(const std::string& flag, const std::string& path) {
  if (const fs::path folder = fs::path(path).parent_path(); !folder.empty()) fs::create_directories(folder);
  const retort::AtomicFile file(flag, path);  // not committed, so no file remains
}

Run::Run(const Options& options, const Data& data, Clock::time_point start)
    : options_(options),
      folder_(retort::RunFolder::without_settings(folder_of(options), options.world)),
      data_(data),
      start_(start) {
  state_.command = name(options.command);
  state_.config = config_of(options);
  state_.data = checksum_of(data.train) + ' ' + checksum_of(data.test);
  if (options.resume) restore();
  if (!options.writes()) return;
  prove_writable("--out", last_file());
  if (!options.resume) save(1);  // removes the checkpoints of an earlier run; its logs are cut below
  metrics_.emplace(path("metrics.jsonl"), state_.metrics_bytes);
  timing_.emplace(path("timing.jsonl"), state_.timing_bytes);
  for (const auto& [file, json] :
       {std::pair("config.json", state_.config), {"environment.json", environment_of(options)}})
    retort::AtomicFile::write_whole("--out", path(file), text_of(json, 2) + '\n');
  if (options.resume)
    options.say(message("resuming after step {}, from {}", state_.steps + state_.step, restored_));
}

void Run::restore() {
  const auto loaded = retort::Checkpoint(checkpoints_in(options_.out), {.world = options_.world}).load();
  if (!loaded) refuse_to_resume(options_);
  const auto require_same = [&](const std::string& what, const auto& before, const auto& now) {
    if (before != now)
      throw retort::ValueError(
          message("--resume: the run in {} has {} {}, not {}; give it the same, or leave --resume out "
                  "to start again",
                  options_.out, what, before, now));
  };
  const State now = std::move(state_);
  try {
    nlohmann::json json = nlohmann::json::parse(loaded->json);
    if (json.at("total").is_null()) json["total"] = unknown;  // a loss that was not finite
    json.get_to(state_);
  } catch (const Json::exception& error) {
    throw IoError(message("--resume: {}: is not of such a run: {}", loaded->path, error.what()));
  }
  require_same("command", state_.command, now.command);
  const std::string key = first_difference(state_.config, now.config);
  require_same(key, value_at(state_.config, key).dump(), value_at(now.config, key).dump());
  require_same("data with the checksums", state_.data, now.data);
  state_.config = now.config;  // other settings may differ
  restored_ = loaded->path;
}

void Run::save(std::int64_t keep) {
  if (!options_.writes()) return;
  if (metrics_) state_.metrics_bytes = metrics_->flush();
  if (timing_) state_.timing_bytes = timing_->flush();
  nlohmann::json json = state_;
  json["epoch_seconds"] = seconds_since(epoch_start_);
  json["seconds"] = seconds();
  retort::Checkpoint(checkpoints_in(options_.out), parts_, {.keep = keep})
      .save(state_.steps + state_.step, text_of(json));
  last_save_ = Clock::now();
}

void Run::save_or_stop(bool due) {
  const bool stop = options_.world ? retort::interrupted(*options_.world) : retort::interrupted();
  if (stop || due) save();
  if (stop) throw retort::Interrupted("the run was interrupted");
}

Position Run::begin(const Training& training, const retort::CheckpointParts& parts) {
  const auto seed = static_cast<std::int64_t>(training.seed);
  training_ = training;
  parts_ = parts;
  epoch_start_ = Clock::now();
  Position& at = state_;
  if (state_.network == training.network && state_.seed == seed) {
    retort::CheckpointParts shared = parts_;
    shared.world = options_.world;
    retort::Checkpoint(checkpoints_in(options_.out), shared).load(restored_);
    epoch_start_ -=
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(state_.epoch_seconds));
  } else {
    state_.network = training.network;
    state_.seed = seed;
    at = {};
  }
  lr_ = parts_.optimizer->lr();
  return at;
}

void Run::step(const Position& at, double loss) {
  static_cast<Position&>(state_) = at;
  if (metrics_ && at.step % options_.log_steps == 0)
    metrics_->write({{"event", "step"},
                     {"network", training_.network},
                     {"seed", training_.seed},
                     {"epoch", at.epoch},
                     {"step", at.step},
                     {"loss", loss},
                     {"lr", lr_}});
  lr_ = parts_.optimizer->lr();
  save_or_stop(seconds_since(last_save_) >= options_.checkpoint_seconds);
}

void Run::epoch(const Position& at, double loss, const Mlp& model) {
  if (!metrics_) return;
  timing_->write({{"network", training_.network},
                  {"seed", training_.seed},
                  {"epoch", at.epoch},
                  {"seconds", seconds_since(epoch_start_)}});
  retort::JsonFields line = {{"event", "epoch"},       {"network", training_.network},
                             {"seed", training_.seed}, {"epoch", at.epoch},
                             {"step", at.step},        {"loss", loss}};
  if (training_.network == "teacher" || at.epoch % student_epochs_between_tests == 0 ||
      at.epoch == training_.recipe.epochs) {
    const Metrics metrics = measure(model, data_.test);
    line.insert(line.end(), {{"test_accuracy", metrics.accuracy}, {"test_nll", metrics.nll}});
  }
  metrics_->write(line);
  epoch_start_ = Clock::now();
}

std::optional<Metrics> Run::finished(const std::string& network, std::int64_t seed) const {
  for (const nlohmann::json& one : state_.finished)
    if (one.at("network") == network && one.at("seed") == seed) return one.get<Metrics>();
  return {};
}

void Run::finish(const std::string& network, std::int64_t seed, const Metrics& metrics) {
  state_.finished.emplace_back(metrics).update({{"network", network}, {"seed", seed}});
  state_.steps += state_.step;
  state_.network.clear();
  static_cast<Position&>(state_) = {};
  parts_ = {};
  epoch_start_ = Clock::now();
  save_or_stop(true);
}

std::string Run::last_file() const {
  return path(options_.command == Command::train_teacher ? "teacher.safetensors" : "result.json");
}

double Run::seconds() const { return state_.seconds + seconds_since(start_); }

}  // namespace distill
