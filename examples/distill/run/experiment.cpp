#include "distill/run/experiment.hpp"

#include <cmath>
#include <iomanip>
#include <limits>
#include <retort/framework/io/safetensors.hpp>
#include <retort/framework/io/serialize.hpp>
#include <sstream>
#include <tuple>

#include "distill/run/model_files.hpp"
#include "distill/run/training.hpp"

namespace distill {
namespace {

std::string percent(double share) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(2) << 100 * share << " %";
  return text.str();
}

/// The teacher, however it comes by: its figures, and what it says of the training images. Both are in the
/// run's folder afterwards, so that a run that is resumed reads them there.
std::pair<Metrics, retort::Tensor> teacher_of(const Data& data, const Options& options, Run& run) {
  const std::string kept = run.path("teacher_logits.safetensors");
  if (const auto metrics = run.finished("teacher", options.seed))
    return {*metrics, load_logits(kept, data).train};

  TeacherLogits logits;
  if (options.command == Command::teach && !options.teacher_logits.empty()) {
    logits = load_logits(options.teacher_logits, data);
  } else {
    const Mlp teacher =
        options.command == Command::teach
            ? load_network(options.teacher_file, data.pixels, data.classes)
            : train_teacher({data.train.inputs(), data.train.targets(), {}}, data, options, run);
    retort::save(teacher, run.path("teacher.safetensors"));
    logits = {logits_of(teacher, data.train.inputs()), logits_of(teacher, data.test.inputs())};
  }
  constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
  const Metrics metrics =
      logits.test.defined() ? measure(logits.test, data.test.targets()) : Metrics{unknown, unknown, unknown};
  save_logits(kept, logits, data);
  run.finish("teacher", options.seed, metrics);
  return {metrics, logits.train};
}

/// Saves the logits of the networks in the run's folder for the test images.
void save_predictions(const Data& data, const Run& run) {
  retort::StateDict predictions;
  const retort::Tensor teacher = load_logits(run.path("teacher_logits.safetensors"), data).test;
  if (teacher.defined()) predictions["teacher"] = teacher;
  for (const Way way : {Way::alone, Way::distilled})
    predictions[name(way)] = logits_of(
        load_network(run.path(name(way) + ".safetensors"), data.pixels, data.classes), data.test.inputs());
  predictions["labels"] = data.test.targets();
  retort::save_safetensors(run.path("predictions.safetensors"), predictions);
}

}  // namespace

void check_teacher(const Data& data, const Options& options) {
  if (options.teacher_logits.empty()) {
    load_network(options.teacher_file, data.pixels, data.classes);
  } else {
    load_logits(options.teacher_logits, data);
  }
}

Metrics run_teacher(const Data& data, const Options& options, Run& run) {
  const Metrics metrics = teacher_of(data, options, run).first;
  if (!options.save_logits.empty())
    save_logits(options.save_logits, load_logits(run.path("teacher_logits.safetensors"), data), data);
  return metrics;
}

Result run_experiment(const Data& data, const Options& options, Run& run) {
  Examples all = {data.train.inputs(), data.train.targets()};
  Result result;
  std::tie(result.teacher, all.teacher_logits) = teacher_of(data, options, run);
  if (!std::isnan(result.teacher.accuracy))
    run.say("teacher: test accuracy " + percent(result.teacher.accuracy));

  for (std::int64_t seed = options.seed; seed < options.seed + options.seeds; ++seed) {
    const auto draws = static_cast<std::uint64_t>(seed);
    const Examples seen = draw(all, options.student_images, draws);
    const auto judge = [&](Way way, const Recipe& recipe) {
      if (const auto metrics = run.finished(name(way), seed)) return *metrics;
      const Mlp student = train_student(way, recipe, seen, data, options, draws, run);
      const Metrics metrics = measure(logits_of(student, data.test.inputs()), data.test.targets());
      if (seed == options.seed) retort::save(student, run.path(name(way) + ".safetensors"));
      run.finish(name(way), seed, metrics);
      return metrics;
    };
    const SeedResult& last = result.seeds.emplace_back(
        SeedResult{seed, judge(Way::alone, options.alone), judge(Way::distilled, options.distilled)});
    run.say("student " + std::to_string(seed) + ": test accuracy alone " + percent(last.alone.accuracy) +
            ", distilled " + percent(last.distilled.accuracy));
  }
  save_predictions(data, run);
  return result;
}

}  // namespace distill
