// Knowledge distillation from start to finish. `distill --help` lists the options.
#include <chrono>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>

#include "common/program.hpp"
#include "distill/cli/options.hpp"
#include "distill/report/html_report.hpp"
#include "distill/report/table.hpp"
#include "distill/run/model_files.hpp"
#include "distill/run/run.hpp"
#include "distill/run/selection.hpp"

namespace {

using distill::Command;
using Clock = distill::Run::Clock;

std::string in_folder(const distill::Options& options, const char* name) {
  return (std::filesystem::path(options.out) / name).string();
}

void select(const distill::Options& options, const distill::Data& data, Clock::time_point start) {
  const distill::Grid grid;
  distill::check_fit(data, options, grid.held_out);
  const std::string path = in_folder(options, "SELECTION.md");
  if (options.writes()) distill::prove_writable("--out", path);
  const distill::Selection selection = distill::select(data, options, grid);
  const std::chrono::duration<double> seconds = Clock::now() - start;
  const std::string page = distill::page_of(selection, options, grid, seconds.count());
  if (!options.writes()) return;
  retort::AtomicFile::write_whole("--out", path, page);
  std::cout << page << "\nwritten to " << path << '\n';
}

void print(const distill::Metrics& metrics) {
  std::cout << "accuracy " << metrics.accuracy << "\nnll " << metrics.nll << "\nece " << metrics.ece << '\n';
}

void train_teacher(const distill::Options& options, const distill::Data& data, Clock::time_point start) {
  if (!options.save_logits.empty() && options.writes())
    distill::prove_writable("--save-logits", options.save_logits);
  distill::check_fit(data, options);
  distill::Run run(options, data, start);
  const distill::Metrics metrics = distill::run_teacher(data, options, run);
  print(metrics);
  std::cout << "\nwritten to " << run.last_file() << '\n';
}

void train_students(const distill::Options& options, const distill::Data& data, Clock::time_point start) {
  distill::check_fit(data, options);
  distill::Run run(options, data, start);
  distill::Result result = distill::run_experiment(data, options, run);
  if (!options.writes()) return;
  result.seconds = run.seconds();
  retort::AtomicFile::write_whole("--out", run.last_file(), distill::json_of(result));
  std::cout << distill::table_of(result) << "\nwritten to " << run.last_file() << std::endl;
  distill::write_html_report(options.out, data);
}

void run(const distill::Options& options) {
  const auto start = Clock::now();
  const bool trains = options.command != Command::evaluate && options.command != Command::report;
  if (!trains && !options.writes()) return;
  if (trains) example::warn_of_repetition(*options.world, options.shards, options.quiet);
  if (options.threads > 0) retort::set_num_threads(static_cast<int>(options.threads));
  const distill::Data data = distill::hold_out(distill::load_data(options.data), options.held_out);
  switch (options.command) {
    case Command::distill:
      if (options.select) return select(options, data, start);
      [[fallthrough]];
    case Command::teach: return train_students(options, data, start);
    case Command::train_teacher: return train_teacher(options, data, start);
    case Command::evaluate:
      return print(measure(distill::load_network(options.model, data.pixels, data.classes), data.test));
    case Command::report:
      distill::write_html_report(options.out, data);
      std::cout << "written to " << in_folder(options, "report.html") << '\n';
  }
}

/// The command line, quoted for a shell, with --resume.
std::string resuming(int argc, const char* const* argv) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  std::string command;
  for (int i = 0; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "--resume") continue;
    if (word.empty() || word.find_first_not_of(plain) != std::string::npos) {
      for (std::size_t at = 0; (at = word.find('\'', at)) != std::string::npos; at += 4)
        word.replace(at, 1, "'\\''");
      word = '\'' + word + '\'';
    }
    command += word + ' ';
  }
  return command + "--resume";
}

}  // namespace

int main(int argc, char** argv) {
  return example::guarded(argc, argv, "distill", [&](const retort::Communicator& world) {
    if (world.rank() > 0) std::cout.rdbuf(nullptr);
    try {
      if (auto options = distill::parse_options(argc, argv)) {
        options->world = &world;
        run(*options);
      }
    } catch (const retort::Interrupted&) {
      throw retort::Interrupted("stopped; to resume:\n  " + resuming(argc, argv));
    }
    return 0;
  });
}
