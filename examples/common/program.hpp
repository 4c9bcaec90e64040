// Shared by the examples on text: options, lines, stored answers, and a table of results over seeds.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <retort/retort.hpp>
#include <string>
#include <utility>
#include <vector>

namespace example {

struct Options {
  std::string data, out;
  std::int64_t seeds = 3;
  double scale = 1, checkpoint_every = 15;
  bool quiet = false;

  /// The share `scale` of a number of lines.
  std::int64_t scaled(std::int64_t lines) const {
    return static_cast<std::int64_t>(static_cast<double>(lines) * scale);
  }
  retort::TrainingOptions training(std::int64_t epochs,
                                   std::function<retort::JsonFields()> evaluate = {}) const {
    return {.epochs = epochs,
            .log_every = 20,
            .checkpoint_every = checkpoint_every,
            .evaluate = std::move(evaluate),
            .quiet = quiet};
  }
};

/// Reads the options, whose defaults are given, and runs the program. Returns its status.
inline int run_program(int argc, char** argv, const char* name, Options options,
                       const std::function<void(const Options&)>& run) try {
  CLI::App app(std::string("The example ") + name);
  app.add_option("--data", options.data, "a text file")->capture_default_str();
  app.add_option("--out", options.out, "the run's folder; a run that was stopped continues")
      ->capture_default_str();
  app.add_option("--seeds", options.seeds, "students per way")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--scale", options.scale, "share of the default number of lines")
      ->check(CLI::Range(1e-4, 1.0));
  app.add_option("--checkpoint-every", options.checkpoint_every, "seconds")->check(CLI::NonNegativeNumber);
  app.add_flag("--quiet", options.quiet, "show no progress");
  CLI11_PARSE(app, argc, argv);
  run(options);
  return 0;
} catch (const retort::Interrupted& stopped) {
  std::fprintf(stderr, "%s: %s\n", name, stopped.what());
  return 130;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s: %s\n", name, error.what());
  return 1;
}

/// The lines of a text file. Throws: IoError if there are none.
inline std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  if (lines.empty())
    throw retort::IoError(
        retort::message("{}: has no lines that can be read; the targets of make write it", path), path);
  return lines;
}

/// The words of a text: runs of letters, in lower case.
inline std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words(1);
  for (const char c : text + ' ')
    if (std::isalpha(static_cast<unsigned char>(c)))
      words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (!words.back().empty())
      words.emplace_back();
  words.pop_back();
  return words;
}

/// Rows of a data set as three parts: for training, and a tenth of the share `scale` each for validation and
/// test. The order is always the same random one.
inline std::vector<std::vector<std::int64_t>> three_parts(std::int64_t size, const Options& options) {
  retort::Generator generator(1);
  const std::vector<std::int64_t> order = retort::random_permutation(size, generator);
  const std::int64_t end = options.scaled(size), held_out = end / 10;
  const auto rows = [&](std::int64_t begin, std::int64_t past) {
    return std::vector(order.begin() + begin, order.begin() + past);
  };
  return {rows(0, end - 2 * held_out), rows(end - 2 * held_out, end - held_out), rows(end - held_out, end)};
}

/// A teacher's answers from a file, which the first call writes: the `kept` most probable classes of the
/// logits (N, C) of each part, one part after the other.
inline retort::SparseTeacher stored_answers(const std::string& path, std::int64_t parts,
                                            const std::function<retort::Tensor(std::int64_t part)>& logits_of,
                                            std::int64_t kept, double temperature) {
  if (!std::filesystem::exists(path)) {
    const retort::NoGradGuard no_grad;
    retort::Tensors indices, log_probs, log_tail;
    std::int64_t classes = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
      const retort::Tensor logits = logits_of(part);
      classes = logits.size(1);
      const auto answers = retort::sparse_teacher(logits, std::min(kept, classes), temperature);
      indices.push_back(answers.indices);
      log_probs.push_back(answers.log_probs);
      log_tail.push_back(answers.log_tail);
    }
    retort::save_sparse_teacher(path,
                                {retort::concat(indices, 0), retort::concat(log_probs, 0),
                                 retort::concat(log_tail, 0), classes, temperature},
                                {}, retort::FloatStorage::float16);
  }
  return retort::load_sparse_teacher(path);
}

/// The stored answers to the rows of these numbers (N).
inline retort::SparseTeacher answers_at(const retort::SparseTeacher& stored, const retort::Tensor& rows) {
  const auto at = [&](const retort::Tensor& x) { return retort::index_select(x, 0, rows); };
  return {at(stored.indices), at(stored.log_probs), at(stored.log_tail), stored.classes, stored.temperature};
}

/// Metrics of several ways to train, over seeds.
class Comparison {
 public:
  Comparison(std::vector<std::string> metrics, const std::string& log)
      : metrics_(std::move(metrics)), log_(log) {}

  /// Adds the metrics of one more seed, also to the log.
  void add(const std::string& way, const std::vector<double>& values) {
    auto to = std::ranges::find(ways_, way, &Way::name);
    if (to == ways_.end()) to = ways_.insert(to, {way, std::vector<std::vector<double>>(metrics_.size())});
    retort::JsonFields fields{{"way", way}};
    for (std::size_t m = 0; m < metrics_.size(); ++m) {
      to->values[m].push_back(values[m]);
      fields.emplace_back(metrics_[m], values[m]);
    }
    log_.write(fields);
  }

  /// Prints the means, and the paired differences from the way `baseline` with their 95 % intervals, and adds
  /// them to the report.
  void show(retort::Report& report, const std::string& baseline) const {
    std::vector<std::vector<std::string>> table{{""}};
    table[0].insert(table[0].end(), metrics_.begin(), metrics_.end());
    const Way& base = *std::ranges::find(ways_, baseline, &Way::name);
    for (const Way& way : ways_) {
      std::vector<std::string>& row = table.emplace_back(1, way.name);
      for (std::size_t m = 0; m < metrics_.size(); ++m) {
        const retort::SampleSummary summary = retort::summarise(way.values[m]);
        row.push_back(text("%.4f", summary.mean));
        if (summary.count > 1) row.back() += text(" ±%.4f", summary.std);
        if (&way == &base || way.values[m].size() != base.values[m].size() || summary.count < 2) continue;
        const auto gain = retort::summarise(retort::paired_differences(base.values[m], way.values[m]));
        row.back() += text("; %+.4f", gain.mean) + text(" [%+.4f", gain.mean - gain.half_width) +
                      text(", %+.4f]", gain.mean + gain.half_width);
      }
    }
    report.table(table);
    for (const auto& row : table) {
      for (const std::string& cell : row) std::printf("%-44s", cell.c_str());
      std::printf("\n");
    }
  }

 private:
  struct Way {
    std::string name;
    std::vector<std::vector<double>> values;  // of each metric, one per seed
  };
  static std::string text(const char* format, double number) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, format, number);
    return buffer;
  }

  std::vector<std::string> metrics_;
  std::vector<Way> ways_ = {};
  retort::JsonLines log_;
};

}  // namespace example
