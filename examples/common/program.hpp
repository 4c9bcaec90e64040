// Shared code of the examples: options, errors, and a table of results over seeds.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <new>
#include <optional>
#include <retort/retort.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace example {

struct Options {
  std::string about, data_help;  ///< one sentence about the program, and the help of --data
  std::string data, out;
  std::int64_t seeds = 3;
  std::int64_t rows = 0;  ///< number of images used of each set; 0: all
  double scale = 1;       ///< share of a text's lines that is used
  double checkpoint_every = 15;
  bool quick = false, quiet = false;
  std::int64_t shards = 0;                      ///< number of parts of a batch; 0: not divided
  const retort::Communicator* world = nullptr;  ///< the processes that mpirun started, or one

  /// The share `scale` of a number of lines.
  std::int64_t scaled(std::int64_t lines) const {
    return static_cast<std::int64_t>(static_cast<double>(lines) * scale);
  }
  retort::TrainingOptions training(std::int64_t epochs, double clip_grad_norm = 0,
                                   std::int64_t log_every = 20,
                                   std::function<retort::JsonFields()> evaluate = {}) const {
    return {.epochs = epochs,
            .log_every = log_every,
            .checkpoint_every = checkpoint_every,
            .clip_grad_norm = clip_grad_norm,
            .shards = shards,
            .evaluate = std::move(evaluate),
            .quiet = quiet};
  }
  /// The run's folder. The number of shards belongs to the settings, since results depend on it.
  retort::RunFolder folder(retort::JsonFields settings) const {
    if (shards > 0) settings.emplace_back("shards", shards);
    return {out, settings, world};
  }
};

/// Opens /dev/null for closed standard streams, so that no other file gets their numbers and their output.
/// Ignores SIGPIPE, so that the run continues if the reader of its output exits.
inline void secure_streams() {
  for (int stream = 0; stream < 3; ++stream)
    if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF && ::open("/dev/null", O_RDWR) < 0) ::_exit(1);
  std::signal(SIGPIPE, SIG_IGN);
}

/// Throws: IoError if the output cannot be written, unless it is a pipe whose reader has exited, as in
/// `| head -1`.
inline void flush_output() {
  if (std::cout.flush() && std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  pollfd stream{STDOUT_FILENO, 0, 0};
  if (::poll(&stream, 1, 0) != 1 || (stream.revents & POLLERR) == 0)
    throw retort::IoError("standard output cannot be written");
}

/// Calls `body` with the processes that mpirun started, or one, and returns its exit status. Prints an
/// exception as one line and returns 1, or 130 if the run was interrupted.
inline int guarded(int argc, char** argv, const std::string& name,
                   const std::function<int(const retort::Communicator&)>& body) {
  int rank = 0;
  std::string text;
  secure_streams();
  try {
    const retort::Communicator world(argc, argv);
    rank = world.rank();
    try {
      const int status = body(world);
      if (rank == 0) flush_output();
      return status;
    } catch (const retort::Interrupted& stopped) {  // on all processes
      if (rank == 0) std::cerr << name << ": " << stopped.what() << '\n';
      return 130;
    }
  } catch (const std::bad_alloc&) {
    text = "out of memory; try smaller batches or networks";
  } catch (const std::exception& error) {
    text = error.what();
  }
  if (rank > 0) {  // if all processes fail, rank 0 prints the error, and its exit ends the others
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    text = "rank " + std::to_string(rank) + ": " + text;
  }
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < ' ' || c == 0x7F; }, ' ');
  std::cerr << name << ": " << text << '\n';
  return 1;
}

/// Warns if several processes repeat the same work.
inline void warn_of_repetition(const retort::Communicator& world, std::int64_t shards, bool quiet) {
  if (world.rank() == 0 && world.size() > 1 && shards == 0 && !quiet)
    std::cerr << world.size() << " processes repeat the same work; --shards 8 divides it among them\n";
}

/// Reads the options and runs the program. Returns its exit status. `options` contains the defaults; `more`
/// adds options of this program. Under mpirun, rank 0 prints the results.
inline int run_program(int argc, char** argv, const char* name, Options options,
                       const std::function<void(const Options&)>& run,
                       const std::function<void(CLI::App&, Options&)>& more) {
  return guarded(argc, argv, name, [&](const retort::Communicator& world) {
    options.world = &world;
    CLI::App app(options.about, name);
    app.add_option("--data", options.data, options.data_help)->capture_default_str();
    app.add_option("--out", options.out, "the run's folder; a run that was stopped continues")
        ->capture_default_str();
    app.add_option("--seeds", options.seeds, "number of students trained in each way")
        ->capture_default_str()
        ->check(CLI::Range(1, 99));
    app.add_option("--checkpoint-every", options.checkpoint_every, "seconds between checkpoints")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 1e6));
    app.add_option("--shards", options.shards, "parts of a batch that processes started by mpirun share")
        ->check(CLI::Range(1, 1024));
    app.add_flag("--quiet", options.quiet, "show no progress");
    more(app, options);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      const bool failed = error.get_exit_code() != 0;
      if (world.rank() == 0) app.exit(error);
      return static_cast<int>(failed);
    }
    if (world.rank() > 0 && !std::freopen("/dev/null", "w", stdout)) return 1;
    warn_of_repetition(world, options.shards, options.quiet);
    run(options);
    return 0;
  });
}

/// Computes the loss of a batch from the network's logits [B, classes].
using Loss = std::function<retort::Tensor(const retort::Tensor& logits, const retort::Batch& batch)>;

/// The loss from the labels alone.
inline retort::Tensor label_loss(const retort::Tensor& logits, const retort::Batch& batch) {
  return retort::cross_entropy(logits, batch.target);
}

/// Numbers as a text for a run's settings, such as "1, 2.5, 4".
template <class Number>
std::string listed(const std::vector<Number>& numbers) {
  std::string text;
  for (const Number& number : numbers) text += (text.empty() ? "" : ", ") + retort::message("{}", number);
  return text;
}

/// A Comparison that is also logged, in results.jsonl.
class Results : public retort::Comparison {
 public:
  static constexpr const char* explanation =
      "Mean ± standard deviation over the seeds; then the difference from the student alone with the same "
      "seed, with its 95 % interval.";

  Results(const std::vector<std::string>& metrics, const retort::RunFolder& run)
      : Comparison(metrics), metrics_(metrics) {
    if (run.writes()) log_.emplace(run.file("results.jsonl"));
  }

  void add(const std::string& way, const std::vector<double>& values) {
    Comparison::add(way, values);
    retort::JsonFields fields{{"way", way}};
    for (std::size_t m = 0; m < metrics_.size(); ++m) fields.emplace_back(metrics_[m], values[m]);
    if (log_) log_->write(fields);
  }

  /// Prints the table and adds it to the report.
  void show(retort::Report& report, int digits = 4) const {
    report.table(table("alone", digits));
    std::fputs(retort::text_table(table("alone", digits)).c_str(), stdout);
  }

 private:
  std::vector<std::string> metrics_;
  std::optional<retort::JsonLines> log_ = {};  // on rank 0
};

}  // namespace example
