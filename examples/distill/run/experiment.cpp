#include "distill/run/experiment.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "distill/run/model_files.hpp"
#include "distill/run/training.hpp"

namespace distill {
namespace {

using retort::message;
using retort::Tensor;

struct Teacher {
  Metrics metrics = unknown_metrics;
  retort::Dataset examples = {};  ///< all training images with its answers
};

/// True if the given answers of a teacher are those of train-teacher --save-logits --top-k.
bool gives_sparse(const Options& options) {
  return options.command == Command::teach && !options.teacher_logits.empty() &&
         std::ranges::count(retort::safetensors_entries(options.teacher_logits), "indices",
                            &retort::SafetensorsEntry::name) > 0;
}

/// Trains or loads a teacher with logits of all classes, and writes them to the file `kept`. Returns its
/// metrics, which are unknown without logits of the test images.
Metrics find_teacher(const Data& data, const Options& options, Run& run, const std::string& kept) {
  TeacherLogits logits;
  if (options.command == Command::teach && !options.teacher_logits.empty()) {
    logits = load_logits(options.teacher_logits, data);
  } else {
    const Mlp teacher = options.command == Command::teach
                            ? load_network(options.teacher_file, data.pixels, data.classes)
                            : train_teacher(data.train, data, options, &run);
    if (options.writes()) retort::save(teacher, run.path("teacher.safetensors"));
    logits = {logits_of(teacher, data.train.inputs()), logits_of(teacher, data.test.inputs())};
  }
  if (options.writes()) save_logits(kept, logits, data);
  return logits.test.defined() ? measure(logits.test, data.test.targets()) : unknown_metrics;
}

/// Broadcasts the values of the process that writes the run's folder to all processes.
void share(const Options& options, const Tensor& values) {
  if (options.world) options.world->broadcast(values);
}
std::int64_t shared(const Options& options, std::int64_t value) {
  const Tensor values = retort::tensor({value});
  share(options, values);
  return values.item<std::int64_t>();
}

/// Trains or loads the teacher, and saves its answers to the training images in the run's folder. All of them
/// are read from there, as a resumed run does.
Teacher teacher_of(const Data& data, const Options& options, Run& run) {
  const std::string dense = run.path("teacher_logits.safetensors");
  const std::string sparse = run.path("teacher_sparse.safetensors");
  const bool writes = options.writes();
  const auto finished = run.finished("teacher", options.seed);
  Metrics metrics = finished.value_or(unknown_metrics);
  const bool sparse_only =
      shared(options, finished ? !std::filesystem::exists(dense) : gives_sparse(options)) != 0;
  if (!finished) {
    if (!sparse_only)
      metrics = find_teacher(data, options, run, dense);
    else if (writes)
      save_sparse_answers(sparse, load_sparse_answers(options.teacher_logits, data, options), data);
    run.finish("teacher", options.seed, metrics);
  }
  const std::int64_t rows = data.train.size();
  if (!sparse_only) {
    const Tensor logits = writes ? load_logits(dense, data).train : retort::empty({rows, data.classes});
    share(options, logits);
    if (options.top_k == 0) return {metrics, with_answers(data.train, logits)};
    if (writes)
      save_sparse_answers(sparse, retort::sparse_teacher(logits, options.top_k, options.temperature), data);
  }
  retort::SparseTeacher answers;
  if (writes) answers = load_sparse_answers(sparse, data, options);
  const std::int64_t kept = shared(options, writes ? answers.indices.size(1) : 0);
  if (!writes)
    answers = {retort::empty({rows, kept}, retort::DType::int64), retort::empty({rows, kept}),
               retort::empty({rows})};
  for (const Tensor& part : {answers.indices, answers.log_probs, answers.log_tail}) share(options, part);
  return {metrics, with_answers(data.train, answers)};
}

/// Saves the logits of the test images, computed with the networks in the run's folder.
void save_predictions(const Data& data, const Run& run) {
  retort::StateDict predictions;
  if (const std::string logits = run.path("teacher_logits.safetensors"); std::filesystem::exists(logits))
    if (const Tensor teacher = load_logits(logits, data).test; teacher.defined())
      predictions["teacher"] = teacher;
  for (const Way way : {Way::alone, Way::distilled}) {
    const Mlp student = load_network(run.path(name(way) + ".safetensors"), data.pixels, data.classes);
    predictions[name(way)] = logits_of(student, data.test.inputs());
  }
  predictions["labels"] = data.test.targets();
  retort::save_safetensors(run.path("predictions.safetensors"), predictions);
}

}  // namespace

void check_fit(const Data& data, const Options& options, std::int64_t held_out) {
  const std::int64_t images = data.train.size();
  if (options.command != Command::train_teacher && options.student_images > images - held_out)
    throw retort::ValueError(message("--student-images is {}, but the training set has {} images{}",
                                     options.student_images, images,
                                     held_out > 0 ? message(", of which {} are held out", held_out) : ""));
  if (options.top_k > data.classes)
    throw retort::ValueError(
        message("--top-k is {}, but the data has {} classes", options.top_k, data.classes));
  if (options.command != Command::teach || options.resume) return;
  if (options.teacher_logits.empty())
    load_network(options.teacher_file, data.pixels, data.classes);
  else if (gives_sparse(options))
    load_sparse_answers(options.teacher_logits, data, options);
  else
    load_logits(options.teacher_logits, data);
}

Metrics run_teacher(const Data& data, const Options& options, Run& run) {
  const Metrics metrics = teacher_of(data, options, run).metrics;
  if (!options.save_logits.empty() && options.writes()) {
    if (options.top_k > 0)
      save_sparse_answers(options.save_logits,
                          load_sparse_answers(run.path("teacher_sparse.safetensors"), data, options), data);
    else
      save_logits(options.save_logits, load_logits(run.path("teacher_logits.safetensors"), data), data);
  }
  return metrics;
}

Result run_experiment(const Data& data, const Options& options, Run& run) {
  const Teacher teacher = teacher_of(data, options, run);
  Result result{.teacher = teacher.metrics, .judges = data.judges};
  if (!std::isnan(result.teacher.accuracy))
    options.say("teacher: test accuracy " + percent(result.teacher.accuracy));

  for (std::int64_t seed = options.seed; seed < options.seed + options.seeds; ++seed) {
    const auto draws = static_cast<std::uint64_t>(seed);
    const retort::Dataset seen = draw(teacher.examples, options.student_images, draws);
    const auto judge = [&](Way way, const Recipe& recipe) {
      if (const auto metrics = run.finished(name(way), seed)) return *metrics;
      const Mlp student = train_student(way, recipe, seen, data, options, draws, &run);
      const Metrics metrics = measure(student, data.test);
      if (seed == options.seed && options.writes())
        retort::save(student, run.path(name(way) + ".safetensors"));
      run.finish(name(way), seed, metrics);
      return metrics;
    };
    const SeedResult& last = result.seeds.emplace_back(
        SeedResult{seed, judge(Way::alone, options.alone), judge(Way::distilled, options.distilled)});
    options.say(message("student {}: test accuracy alone {}, distilled {}", seed,
                        percent(last.alone.accuracy), percent(last.distilled.accuracy)));
  }
  if (options.writes()) save_predictions(data, run);
  return result;
}

}  // namespace distill
