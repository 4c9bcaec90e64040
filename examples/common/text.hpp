// Shared code of the examples on text: lines, words, parts, and a teacher's stored answers.
#pragma once

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "common/program.hpp"

namespace example {

/// Adds the option --scale, which both examples on text have.
inline void add_scale(CLI::App& app, Options& options) {
  app.add_option("--scale", options.scale, "share of the default number of lines")
      ->check(CLI::Range(1e-4, 1.0));
}

/// Reads the lines of a text file.
/// Throws: IoError if it cannot be read or is empty.
inline std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream file(path);
  if (!file || std::filesystem::is_directory(path))
    throw retort::IoError(
        retort::message("{}: cannot be read as a file; give one as --data, or let make write it", path),
        path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  if (lines.empty()) throw retort::IoError(retort::message("{}: has no lines", path), path);
  return lines;
}

/// The words of a text in lower case. A word is a run of letters.
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

/// The bytes of each line between two line breaks. Longer lines are split into sequences of at most `longest`
/// bytes.
inline std::vector<std::vector<std::int64_t>> byte_sequences(const std::vector<std::string>& lines,
                                                             std::size_t longest) {
  std::vector<std::vector<std::int64_t>> sequences;
  for (const std::string& line : lines)
    for (std::size_t begin = 0; begin < line.size(); begin += longest - 2) {
      std::vector<std::int64_t>& sequence = sequences.emplace_back(1, '\n');
      for (const char c : line.substr(begin, longest - 2)) sequence.push_back(static_cast<unsigned char>(c));
      sequence.push_back('\n');
    }
  return sequences;
}

/// Splits the share `scale` of a data set's rows into three parts: a tenth each for validation and test, and
/// the rest for training. The order is random, but always the same.
inline std::vector<std::vector<std::int64_t>> three_parts(std::int64_t size, const Options& options) {
  retort::Generator generator(1);
  const std::vector<std::int64_t> order = retort::random_permutation(size, generator);
  const std::int64_t end = options.scaled(size), held_out = end / 10;
  const auto rows = [&](std::int64_t begin, std::int64_t past) {
    return std::vector(order.begin() + begin, order.begin() + past);
  };
  return {rows(0, end - 2 * held_out), rows(end - 2 * held_out, end - held_out), rows(end - held_out, end)};
}

/// A teacher's answers, stored in a file that the first call writes: the `kept` most probable classes of the
/// logits (N, C) of each part, one part after the other. Under mpirun, rank 0 writes and all processes read.
inline retort::SparseTeacher stored_answers(const retort::RunFolder& run, std::int64_t parts,
                                            const std::function<retort::Tensor(std::int64_t part)>& logits_of,
                                            std::int64_t kept, double temperature) {
  const std::string path = run.file("answers.safetensors");
  if (run.writes() && !std::filesystem::exists(path)) {
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
  if (run.world()) run.world()->barrier();
  return retort::load_sparse_teacher(path);
}

/// The stored answers to these rows (N).
inline retort::SparseTeacher answers_at(const retort::SparseTeacher& stored, const retort::Tensor& rows) {
  const auto at = [&](const retort::Tensor& x) { return retort::index_select(x, 0, rows); };
  return {at(stored.indices), at(stored.log_probs), at(stored.log_tail), stored.classes, stored.temperature};
}

}  // namespace example
