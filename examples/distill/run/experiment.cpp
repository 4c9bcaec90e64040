#include "distill/run/experiment.hpp"

#include <cmath>
#include <filesystem>
#include <iomanip>
#include <limits>
#include <retort/framework/io/safetensors.hpp>
#include <retort/framework/io/serialize.hpp>
#include <sstream>

#include "distill/run/model_files.hpp"
#include "distill/run/training.hpp"

namespace distill {
namespace {

std::string percent(double share) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(2) << 100 * share << " %";
  return text.str();
}

struct Teacher {
  Metrics metrics = {};
  retort::Tensor logits = {};         ///< for the training images; undefined if only `sparse` is known
  retort::SparseTeacher sparse = {};  ///< indices undefined if there is none
};

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

bool gives_sparse(const Options& options) {
  return options.command == Command::teach && !options.teacher_logits.empty() &&
         is_sparse_teacher(options.teacher_logits);
}

/// Trains or loads a teacher with logits of all classes, and writes them to the file `kept`. Returns its
/// metrics: NaN without logits of the test images.
Metrics find_teacher(const Data& data, const Options& options, Run& run, const std::string& kept) {
  TeacherLogits logits;
  if (options.command == Command::teach && !options.teacher_logits.empty()) {
    logits = load_logits(options.teacher_logits, data);
  } else {
    const Mlp teacher =
        options.command == Command::teach
            ? load_network(options.teacher_file, data.pixels, data.classes)
            : train_teacher({data.train.inputs(), data.train.targets(), {}}, data, options, run);
    if (options.writes()) retort::save(teacher, run.path("teacher.safetensors"));
    logits = {logits_of(teacher, data.train.inputs()), logits_of(teacher, data.test.inputs())};
  }
  if (options.writes()) save_logits(kept, logits, data);
  return logits.test.defined() ? measure(logits.test, data.test.targets())
                               : Metrics{unknown, unknown, unknown};
}

/// Broadcasts the values of the process that writes the run's folder to all processes.
void share(const Options& options, const retort::Tensor& values) {
  if (options.world) options.world->broadcast(values);
}
std::int64_t shared(const Options& options, std::int64_t value) {
  const retort::Tensor values = retort::tensor({value});
  share(options, values);
  return values.item<std::int64_t>();
}

/// Trains or loads the teacher: its metrics, and its answers to the training images. Saves both in the run's
/// folder, from which a resumed run reads them.
Teacher teacher_of(const Data& data, const Options& options, Run& run) {
  const std::string dense = run.path("teacher_logits.safetensors");
  const std::string sparse = run.path("teacher_sparse.safetensors");
  const auto finished = run.finished("teacher", options.seed);
  Teacher teacher;
  teacher.metrics = finished.value_or(Metrics{unknown, unknown, unknown});
  const bool writes = options.writes();
  const bool sparse_only =
      shared(options, finished ? !std::filesystem::exists(dense) : gives_sparse(options)) != 0;
  if (sparse_only && !finished && writes)
    save_sparse_answers(sparse, load_sparse_answers(options.teacher_logits, data, options), data);
  if (!sparse_only && !finished) teacher.metrics = find_teacher(data, options, run, dense);
  if (!finished) run.finish("teacher", options.seed, teacher.metrics);
  if (!sparse_only) {
    teacher.logits =
        writes ? load_logits(dense, data).train : retort::empty({data.train.size(), data.classes});
    share(options, teacher.logits);
  }
  if (!sparse_only && options.top_k > 0 && writes)
    save_sparse_answers(sparse, retort::sparse_teacher(teacher.logits, options.top_k, options.temperature),
                        data);
  if (sparse_only || options.top_k > 0) {
    if (writes) teacher.sparse = load_sparse_answers(sparse, data, options);
    const std::int64_t rows = data.train.size();
    const std::int64_t kept = shared(options, writes ? teacher.sparse.indices.size(1) : 0);
    if (!writes)
      teacher.sparse = {retort::empty({rows, kept}, retort::DType::int64), retort::empty({rows, kept}),
                        retort::empty({rows}), data.classes, options.temperature};
    for (const auto& part : {teacher.sparse.indices, teacher.sparse.log_probs, teacher.sparse.log_tail})
      share(options, part);
  }
  return teacher;
}

/// Saves the logits of the test images, computed with the networks in the run's folder.
void save_predictions(const Data& data, const Run& run) {
  retort::StateDict predictions;
  const std::string logits = run.path("teacher_logits.safetensors");
  const retort::Tensor teacher =
      std::filesystem::exists(logits) ? load_logits(logits, data).test : retort::Tensor();
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
    if (gives_sparse(options))
      load_sparse_answers(options.teacher_logits, data, options);
    else
      load_logits(options.teacher_logits, data);
  }
}

Metrics run_teacher(const Data& data, const Options& options, Run& run) {
  const Teacher teacher = teacher_of(data, options, run);
  if (!options.writes()) return teacher.metrics;
  if (!options.save_logits.empty() && options.top_k > 0)
    save_sparse_answers(options.save_logits, teacher.sparse, data);
  else if (!options.save_logits.empty())
    save_logits(options.save_logits, load_logits(run.path("teacher_logits.safetensors"), data), data);
  return teacher.metrics;
}

Result run_experiment(const Data& data, const Options& options, Run& run) {
  Examples all = {data.train.inputs(), data.train.targets()};
  Result result;
  result.judges = data.judges;
  const Teacher teacher = teacher_of(data, options, run);
  result.teacher = teacher.metrics;
  all.teacher_logits = teacher.logits;
  all.sparse = teacher.sparse;
  if (!std::isnan(result.teacher.accuracy))
    run.say("teacher: test accuracy " + percent(result.teacher.accuracy));

  for (std::int64_t seed = options.seed; seed < options.seed + options.seeds; ++seed) {
    const auto draws = static_cast<std::uint64_t>(seed);
    const Examples seen = draw(all, options.student_images, draws);
    const auto judge = [&](Way way, const Recipe& recipe) {
      if (const auto metrics = run.finished(name(way), seed)) return *metrics;
      const Mlp student = train_student(way, recipe, seen, data, options, draws, run);
      const Metrics metrics = measure(logits_of(student, data.test.inputs()), data.test.targets());
      if (seed == options.seed && options.writes())
        retort::save(student, run.path(name(way) + ".safetensors"));
      run.finish(name(way), seed, metrics);
      return metrics;
    };
    const SeedResult& last = result.seeds.emplace_back(
        SeedResult{seed, judge(Way::alone, options.alone), judge(Way::distilled, options.distilled)});
    run.say("student " + std::to_string(seed) + ": test accuracy alone " + percent(last.alone.accuracy) +
            ", distilled " + percent(last.distilled.accuracy));
  }
  if (options.writes()) save_predictions(data, run);
  return result;
}

}  // namespace distill
