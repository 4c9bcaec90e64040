#include "distill/run/run.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <retort/framework/base/error.hpp>
#include <retort/framework/base/threads.hpp>
#include <retort/framework/base/version.hpp>
#include <retort/framework/io/atomic_file.hpp>
#include <retort/optim/optimizer.hpp>

#include "distill/cli/settings.hpp"
#include "distill/run/training.hpp"

namespace distill {
namespace {

namespace fs = std::filesystem;
using retort::IoError;
using retort::message;

constexpr std::int64_t student_epochs_between_tests = 10;  // keeps the cost of tests low

std::string checkpoints_in(const std::string& folder) { return (fs::path(folder) / "checkpoints").string(); }

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
std::string text_of(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

double seconds_since(Run::Clock::time_point start) {
  return std::chrono::duration<double>(Run::Clock::now() - start).count();
}

}  // namespace

Run::Run(const Options& options, const Data& data, Clock::time_point start)
    : ProgressObserver(options.quiet || !options.writes()),
      options_(options),
      data_(data),
      data_checksum_(checksum_of(data.train) + ' ' + checksum_of(data.test)),
      start_(start) {
  if (options.writes()) lock_.emplace(options.out, options.resume);
  if (options.resume) state_ = restored();
  if (!options.writes()) return;
  last_file_.emplace(options.out,
                     options.command == Command::train_teacher ? "teacher.safetensors" : "result.json");
  retort::AtomicFile::remove_stale("--out", options.out);
  if (!options.resume) save(1);  // removes the checkpoints of an earlier run; its logs are cut below
  metrics_.emplace(path("metrics.jsonl"), state_.metrics);
  timing_.emplace(path("timing.jsonl"), state_.timing);
  OutputFile(options.out, "config.json").write(text_of(config_of(options), 2) + '\n');
  OutputFile(options.out, "environment.json").write(text_of(environment_of(options), 2) + '\n');
  if (options.resume)
    say(message("resuming after step {}, from {}", state_.steps + state_.at.step, state_.checkpoint));
}

Run::State Run::restored() const {
  const std::string folder = checkpoints_in(options_.out);
  const auto loaded = retort::Checkpoint(folder, {.world = options_.world}).load();
  if (!loaded)
    throw IoError(message("--resume: {} holds no checkpoint; leave --resume out to begin", folder));
  const auto refuse = [&](const std::string& what, const auto& before, const auto& now) {
    throw retort::ValueError(
        message("--resume: the run in {} has {} {}, not {}; give it the same, or leave --resume out "
                "to start again",
                options_.out, what, before, now));
  };
  try {
    const Json json = Json::parse(loaded->json);
    if (json.at("command") != name(options_.command))
      refuse("command", json.at("command").get<std::string>(), name(options_.command));
    const Json now = config_of(options_);
    if (const std::string key = first_difference(json.at("config"), now); !key.empty())
      refuse(key, value_at(json.at("config"), key).dump(), value_at(now, key).dump());
    if (json.at("data") != data_checksum_)
      refuse("data with the checksums", json.at("data").get<std::string>(), data_checksum_);
    State state = {.steps = json.at("steps").get<std::int64_t>(),
                   .network = json.at("network").get<std::string>(),
                   .seed = json.at("seed").get<std::int64_t>(),
                   .at = {.epoch = json.at("epoch").get<std::int64_t>(),
                          .step = json.at("step").get<std::int64_t>(),
                          .total = number_in(json, "total")},
                   .epoch_seconds = json.at("epoch_seconds").get<double>(),
                   .seconds = json.at("seconds").get<double>(),
                   .metrics = json.at("metrics_bytes").get<std::int64_t>(),
                   .timing = json.at("timing_bytes").get<std::int64_t>(),
                   .checkpoint = loaded->path};
    for (const Json& figures : json.at("finished"))
      state.finished.push_back(
          {figures.at("network").get<std::string>(),
           figures.at("seed").get<std::int64_t>(),
           {number_in(figures, "accuracy"), number_in(figures, "nll"), number_in(figures, "ece")}});
    return state;
  } catch (const Json::exception& error) {
    throw IoError(message("--resume: {}: is not of such a run: {}", loaded->path, error.what()));
  }
}

bool Run::interrupted() const {
  return options_.world ? retort::interrupted(*options_.world) : retort::interrupted();
}

void Run::save(std::int64_t keep) {
  if (!options_.writes()) return;
  if (metrics_) state_.metrics = metrics_->flush();
  if (timing_) state_.timing = timing_->flush();
  Json json = {{"command", name(options_.command)},
               {"config", config_of(options_)},
               {"data", data_checksum_},
               {"finished", Json::array()},
               {"steps", state_.steps},
               {"network", state_.network},
               {"seed", state_.seed},
               {"epoch", state_.at.epoch},
               {"step", state_.at.step},
               {"total", state_.at.total},
               {"epoch_seconds", seconds_since(epoch_start_)},
               {"seconds", seconds()},
               {"metrics_bytes", state_.metrics},
               {"timing_bytes", state_.timing}};
  for (const Figures& figures : state_.finished)
    json["finished"].push_back({{"network", figures.network},
                                {"seed", figures.seed},
                                {"accuracy", figures.metrics.accuracy},
                                {"nll", figures.metrics.nll},
                                {"ece", figures.metrics.ece}});
  retort::Checkpoint(checkpoints_in(options_.out), parts_, {.keep = keep})
      .save(state_.steps + state_.at.step, text_of(json));
  last_save_ = Clock::now();
}

Position Run::begin(const Training& training, std::int64_t steps, const retort::CheckpointParts& parts) {
  const auto seed = static_cast<std::int64_t>(training.seed);
  training_ = training;
  parts_ = parts;
  epoch_start_ = Clock::now();
  if (state_.network == training.network && state_.seed == seed) {
    retort::CheckpointParts shared = parts_;
    shared.world = options_.world;
    retort::Checkpoint(checkpoints_in(options_.out), shared).load(state_.checkpoint);
    epoch_start_ -=
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(state_.epoch_seconds));
  } else {
    state_.network = training.network;
    state_.seed = seed;
    state_.at = {};
  }
  lr_ = parts_.optimizer->lr();
  show(training, steps, state_.at);
  return state_.at;
}

void Run::step(const Position& at, double loss) {
  ProgressObserver::step(at, loss);
  state_.at = at;
  if (metrics_ && at.step % options_.log_steps == 0)
    metrics_->write({{"event", "step"},
                     {"network", training_.network},
                     {"seed", training_.seed},
                     {"epoch", at.epoch},
                     {"step", at.step},
                     {"loss", loss},
                     {"lr", lr_}});
  lr_ = parts_.optimizer->lr();
  const bool stop = interrupted();
  if (stop || seconds_since(last_save_) >= options_.checkpoint_seconds) save();
  if (stop) throw Interrupted();
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
    const Metrics metrics = measure(logits_of(model, data_.test.inputs()), data_.test.targets());
    line.emplace_back("test_accuracy", metrics.accuracy);
    line.emplace_back("test_nll", metrics.nll);
  }
  metrics_->write(line);
  ProgressObserver::epoch(at, loss, model);
  epoch_start_ = Clock::now();
}

std::optional<Metrics> Run::finished(const std::string& network, std::int64_t seed) const {
  for (const Figures& figures : state_.finished)
    if (figures.network == network && figures.seed == seed) return figures.metrics;
  return {};
}

void Run::finish(const std::string& network, std::int64_t seed, const Metrics& metrics) {
  state_.finished.push_back({network, seed, metrics});
  state_.steps += state_.at.step;
  state_.network.clear();
  state_.at = {};
  parts_ = {};
  epoch_start_ = Clock::now();
  save();
  if (interrupted()) throw Interrupted();
}

std::string Run::path(const std::string& name) const { return (fs::path(options_.out) / name).string(); }

double Run::seconds() const { return state_.seconds + seconds_since(start_); }

}  // namespace distill
