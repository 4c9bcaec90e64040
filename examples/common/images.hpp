// Shared code of the examples on images.
#pragma once

#include <algorithm>

#include "common/program.hpp"

namespace example {

/// Adds the option --rows, which all examples on images have.
inline void add_rows(CLI::App& app, Options& options) {
  app.add_option("--rows", options.rows, "use only the first images of each set, for one epoch")
      ->check(CLI::Range(1, 1'000'000'000));
}

constexpr const char* images_help = "a folder of four IDX files, as MNIST has them; they may end in .gz";

/// Reads the training and test images from a folder of four IDX files. If `options.rows` is not 0, returns
/// only the first `options.rows` images of each.
inline std::pair<retort::Dataset, retort::Dataset> load_images(const Options& options) {
  auto sets = retort::load_idx_pair(options.data);
  if (options.rows > 0)
    for (retort::Dataset* const set : {&sets.first, &sets.second})
      *set = set->slice(0, std::min(options.rows, set->size()));
  return sets;
}

/// The number of classes of a data set with the labels 0, 1, 2, …
inline std::int64_t class_count(const retort::Dataset& data) {
  return 1 + retort::max(data.targets()).item<std::int64_t>();
}

/// Adds the loss curve of each of these trainings to the report.
inline void show_losses(retort::Report& report, const retort::RunFolder& run,
                        const std::vector<std::string>& trainings) {
  report.section("Training");
  for (const std::string& name : trainings) {
    const retort::RunFolder::Column loss = run.column(name, "loss");
    report.curves(name + ": loss", {.x = "epoch", .y = "loss"}, {{.x = loss.epochs, .y = loss.values}});
  }
}

/// Writes the report to the run's folder and prints its path.
inline void write_report(const retort::Report& report, const retort::RunFolder& run) {
  if (!run.writes()) return;
  report.write(run.file("report.html"));
  std::printf("report: %s\n", run.file("report.html").c_str());
}

/// The images and labels with the teacher's logits, computed once.
template <class Model>
retort::Dataset with_answers(Model& teacher, const retort::Dataset& images) {
  return {{"input", images.inputs()},
          {"target", images.targets()},
          {"teacher", retort::predict(teacher, images)}};
}

}  // namespace example
