#include "distill/run/selection.hpp"

#include <algorithm>
#include <tuple>

#include "distill/run/experiment.hpp"

namespace distill {
namespace {

using retort::fixed;
using retort::message;

std::vector<Candidate> combinations(const Grid& grid) {
  std::vector<Candidate> candidates;
  for (const std::int64_t epochs : grid.epochs)
    for (const double dropout : grid.dropout)
      for (const double weight_decay : grid.weight_decay)
        for (const double lr : grid.lr) candidates.push_back(Candidate{{lr, epochs, weight_decay, dropout}});
  return candidates;
}

/// The first candidate with the best metrics of a way.
const Candidate& best(const std::vector<Candidate>& candidates, Metrics Candidate::*way) {
  return *std::ranges::max_element(candidates, {}, [&](const Candidate& candidate) {
    const Metrics& metrics = candidate.*way;
    return std::tuple(metrics.accuracy, -metrics.nll);
  });
}

std::string flags_of(const std::string& prefix, const Recipe& recipe) {
  return message("--{}-epochs {} --{}-lr {} --{}-weight-decay {} --{}-dropout {}", prefix, recipe.epochs,
                 prefix, recipe.lr, prefix, recipe.weight_decay, prefix, recipe.dropout);
}

}  // namespace

Selection select(const Data& data, const Options& options, const Grid& grid) {
  check_fit(data, options, grid.held_out);
  const std::uint64_t seed = options.seed;
  const std::vector<std::int64_t> order = shuffled(data.train.size(), seed);
  const auto middle = order.begin() + grid.held_out;
  const retort::Dataset judges = data.train.subset({order.begin(), middle});
  retort::Dataset fit = data.train.subset({middle, order.end()});

  Selection selection{combinations(grid)};
  {
    const Mlp teacher = train_teacher(fit, data, options, nullptr);
    selection.teacher_accuracy = measure(teacher, judges).accuracy;
    const retort::Tensor logits = logits_of(teacher, fit.inputs());
    fit = options.top_k > 0
              ? with_answers(fit, retort::sparse_teacher(logits, options.top_k, options.temperature))
              : with_answers(fit, logits);
  }
  std::vector<retort::Dataset> seen;
  for (std::int64_t i = 0; i < grid.seeds; ++i) seen.push_back(draw(fit, options.student_images, seed + i));

  Options silent = options;  // there are thousands of epochs: one line per candidate is enough
  silent.quiet = true;
  std::size_t done = 0;
  for (Candidate& candidate : selection.candidates) {
    for (const auto& [way, mean] :
         {std::pair(Way::alone, &candidate.alone), {Way::distilled, &candidate.distilled}})
      for (std::size_t i = 0; i < seen.size(); ++i) {
        const Mlp student = train_student(way, candidate.recipe, seen[i], data, silent, seed + i, nullptr);
        const Metrics metrics = measure(student, judges);
        mean->accuracy += metrics.accuracy / static_cast<double>(seen.size());
        mean->nll += metrics.nll / static_cast<double>(seen.size());
      }
    options.say(message("candidate {}/{}  alone {}  distilled {}  ({})", ++done, selection.candidates.size(),
                        percent(candidate.alone.accuracy), percent(candidate.distilled.accuracy),
                        flags_of("student", candidate.recipe)));
  }
  selection.alone = best(selection.candidates, &Candidate::alone).recipe;
  selection.distilled = best(selection.candidates, &Candidate::distilled).recipe;
  return selection;
}

std::string page_of(const Selection& selection, const Options& options, const Grid& grid, double seconds) {
  const std::vector<Candidate>& candidates = selection.candidates;
  std::string page = message(
      "# How the students' recipes were chosen\n\n"
      "Written by `distill --select`. Every combination of learning rate, epochs, weight decay and dropout "
      "was\ntried for the student alone and for the distilled one, with {} seeds each: {} recipes and\n"
      "{} students either way. A student sees {} images drawn by its seed; T = {}, alpha = {}.\n"
      "Judged on {} training images that neither the teacher of this selection ({} on them)\n"
      "nor any student saw. The highest mean accuracy wins. The test set was not read.\n\n"
      "Chosen for the student alone:\n\n    {}\n\nand for the distilled student:\n\n    {}\n\n"
      "| epochs | dropout | weight decay | learning rate | alone: accuracy, % | nll "
      "| distilled: accuracy, % | nll |\n"
      "|---:|---:|---:|---:|---:|---:|---:|---:|\n",
      grid.seeds, candidates.size(), candidates.size() * grid.seeds, options.student_images,
      options.temperature, options.alpha, grid.held_out, percent(selection.teacher_accuracy),
      flags_of("alone", selection.alone), flags_of("distilled", selection.distilled));
  for (const Candidate& candidate : candidates) {
    const auto cell = [&](Metrics Candidate::*way) {
      const char* const mark = &candidate == &best(candidates, way) ? "**" : "";
      return message("{}{}{}", mark, fixed(100 * (candidate.*way).accuracy, 2), mark);
    };
    const Recipe& recipe = candidate.recipe;
    page += message("| {} | {} | {} | {} | {} | {} | {} | {} |\n", recipe.epochs, recipe.dropout,
                    recipe.weight_decay, recipe.lr, cell(&Candidate::alone), fixed(candidate.alone.nll, 2),
                    cell(&Candidate::distilled), fixed(candidate.distilled.nll, 2));
  }
  return page + message("\nAll of it, the teacher included, took {} s.\n", fixed(seconds, 2));
}

}  // namespace distill
