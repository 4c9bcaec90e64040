// Knowledge distillation from start to finish. `distill --help` lists the options.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <new>
#include <optional>
#include <retort/framework/base/threads.hpp>
#include <retort/framework/distributed/communicator.hpp>
#include <string>
#include <string_view>
#include <thread>

#include "distill/cli/options.hpp"
#include "distill/report/html_report.hpp"
#include "distill/report/table.hpp"
#include "distill/run/data.hpp"
#include "distill/run/experiment.hpp"
#include "distill/run/model_files.hpp"
#include "distill/run/output_file.hpp"
#include "distill/run/run.hpp"
#include "distill/run/selection.hpp"
#include "distill/run/training.hpp"

namespace {

using distill::Command;
using Clock = distill::Run::Clock;

void select(const distill::Options& options, const distill::Data& data, Clock::time_point start) {
  const distill::Grid grid;
  distill::require_images(data, options.student_images, grid.held_out);
  std::optional<distill::OutputFile> out;
  if (options.writes()) out.emplace(options.out, "SELECTION.md");
  distill::ProgressObserver progress(options.quiet || !options.writes());
  const distill::Selection selection = distill::select(data, options, grid, progress);
  const std::string page =
      distill::page_of(selection, options, grid, std::chrono::duration<double>(Clock::now() - start).count());
  if (!out) return;
  out->write(page);
  std::cout << page << "\nwritten to " << out->path() << '\n';
}

void print(const distill::Metrics& metrics) {
  std::cout << "accuracy " << metrics.accuracy << "\nnll " << metrics.nll << "\nece " << metrics.ece << '\n';
}

void train_teacher(const distill::Options& options, const distill::Data& data, Clock::time_point start) {
  if (!options.save_logits.empty() && options.writes()) {
    const std::filesystem::path path(options.save_logits);
    const std::string folder = path.parent_path().string();
    const distill::OutputFile proven(folder.empty() ? "." : folder, path.filename().string(),
                                     "--save-logits");
  }
  distill::require_classes(data, options.top_k);
  distill::Run run(options, data, start);
  const distill::Metrics metrics = distill::run_teacher(data, options, run);
  if (!options.writes()) return;
  print(metrics);
  std::cout << "\nwritten to " << run.last_file().path() << '\n';
}

void train_students(const distill::Options& options, const distill::Data& data, Clock::time_point start) {
  distill::require_images(data, options.student_images, 0);
  distill::require_classes(data, options.top_k);
  // A resumed run already has its teacher.
  if (options.command == Command::teach && !options.resume) distill::check_teacher(data, options);
  distill::Run run(options, data, start);
  distill::Result result = distill::run_experiment(data, options, run);
  if (!options.writes()) return;
  result.seconds = run.seconds();
  run.last_file().write(distill::json_of(result));
  std::cout << distill::table_of(result) << "\nwritten to " << run.last_file().path() << std::endl;
  distill::write_html_report(options.out, data);
}

void run(const distill::Options& options) {
  const auto start = Clock::now();
  const bool trains = options.command != Command::evaluate && options.command != Command::report;
  if (!trains && !options.writes()) return;
  if (trains && options.writes() && !options.quiet && options.world->size() > 1 && options.shards == 0)
    std::cerr << options.world->size()
              << " processes repeat the same work; --shards 8 divides it among them\n";
  if (options.threads > 0) retort::set_num_threads(static_cast<int>(options.threads));
  const distill::Data data = distill::hold_out(distill::load_data(options.data), options.held_out);
  switch (options.command) {
    case Command::distill:
      if (options.select) return select(options, data, start);
      [[fallthrough]];
    case Command::teach: return train_students(options, data, start);
    case Command::train_teacher: return train_teacher(options, data, start);
    case Command::evaluate: {
      const distill::Mlp model = distill::load_network(options.model, data.pixels, data.classes);
      return print(distill::measure(distill::logits_of(model, data.test.inputs()), data.test.targets()));
    }
    case Command::report:
      distill::write_html_report(options.out, data);
      std::cout << "written to " << (std::filesystem::path(options.out) / "report.html").string() << '\n';
      return;
  }
}

/// Prints the message as one line on stderr and returns 1. Other ranks wait first: if all processes fail,
/// rank 0 prints the error, and its exit ends the others.
int fail(std::string message, int rank) {
  if (rank > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    message = "rank " + std::to_string(rank) + ": " + message;
  }
  std::replace_if(
      message.begin(), message.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }, ' ');
  std::cerr << "distill: " << message << '\n';
  return 1;
}

/// The command line, quoted for a shell, with --resume.
std::string resuming(int argc, const char* const* argv) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  std::string command;
  bool resumes = false;
  for (int i = 0; i < argc; ++i) {
    std::string word = argv[i];
    resumes = resumes || word == "--resume";
    if (word.empty() || word.find_first_not_of(plain) != std::string::npos) {
      for (std::size_t at = 0; (at = word.find('\'', at)) != std::string::npos; at += 4)
        word.replace(at, 1, "'\\''");
      word = '\'' + word + '\'';
    }
    command += word + ' ';
  }
  if (!resumes) return command + "--resume";
  command.pop_back();
  return command;
}

/// Opens /dev/null for closed standard streams, so that no other file gets their numbers and their output.
/// Ignores SIGPIPE, so that the run continues if the reader of its output exits.
void secure_streams() {
  for (int stream = 0; stream < 3; ++stream)
    if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF && ::open("/dev/null", O_RDWR) < 0) ::_exit(1);
  ::signal(SIGPIPE, SIG_IGN);
}

/// True if standard output is a pipe whose reader has exited, as in `| head -1`.
bool reader_has_gone() {
  pollfd stream{STDOUT_FILENO, 0, 0};
  return ::poll(&stream, 1, 0) == 1 && (stream.revents & POLLERR) != 0;
}

}  // namespace

int main(int argc, char** argv) {
  secure_streams();
  int rank = 0;
  try {
    const retort::Communicator world(argc, argv);
    rank = world.rank();
    if (rank > 0) std::cout.rdbuf(nullptr);
    try {
      if (auto options = distill::parse_options(argc, argv)) {
        options->world = &world;
        run(*options);
      }
    } catch (const distill::Interrupted&) {  // thrown on all processes
      if (rank == 0) std::cerr << "distill: stopped; to resume:\n  " << resuming(argc, argv) << '\n';
      return 130;
    }
    if (rank == 0 && !std::cout.flush() && !reader_has_gone())
      return fail("standard output cannot be written", rank);
    return 0;
  } catch (const std::bad_alloc&) {
    return fail("out of memory; try a smaller --batch-size or --teacher-width", rank);
  } catch (const std::exception& error) {
    return fail(error.what(), rank);
  }
}
