#include "experiment.hpp"

#include <iomanip>
#include <sstream>

#include "training.hpp"

namespace distill {
namespace {

std::string percent(double share) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(2) << 100 * share << " %";
  return text.str();
}

}  // namespace

Result run_experiment(const Data& data, const Options& options, Progress& progress) {
  const retort::Tensor& test_images = data.test.inputs();
  const retort::Tensor& test_labels = data.test.targets();
  Examples all = {data.train.inputs(), data.train.targets()};
  Result result;
  {
    const Mlp teacher = train_teacher(all, data, options, progress);
    result.teacher = measure(logits_of(teacher, test_images), test_labels);
    all.teacher_logits = logits_of(teacher, all.images);
  }
  progress.say("teacher: test accuracy " + percent(result.teacher.accuracy));

  for (std::int64_t seed = options.seed; seed < options.seed + options.seeds; ++seed) {
    const auto draws = static_cast<std::uint64_t>(seed);
    const Examples seen = draw(all, options.student_images, draws);
    const auto judge = [&](Way way, const Recipe& recipe) {
      const Mlp student = train_student(way, recipe, seen, data, options, draws, progress);
      return measure(logits_of(student, test_images), test_labels);
    };
    const SeedResult& last = result.seeds.emplace_back(
        SeedResult{seed, judge(Way::alone, options.alone), judge(Way::distilled, options.distilled)});
    progress.say("student " + std::to_string(seed) + ": test accuracy alone " + percent(last.alone.accuracy) +
                 ", distilled " + percent(last.distilled.accuracy));
  }
  return result;
}

}  // namespace distill
