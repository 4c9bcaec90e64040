#include "distill/run/selection.hpp"

#include <iomanip>
#include <sstream>

#include "distill/run/metrics.hpp"
#include "distill/run/training.hpp"

namespace distill {
namespace {

std::vector<Recipe> combinations(const Grid& grid) {
  std::vector<Recipe> recipes;
  for (const std::int64_t epochs : grid.epochs)
    for (const double dropout : grid.dropout)
      for (const double weight_decay : grid.weight_decay)
        for (const double lr : grid.lr) recipes.push_back({lr, epochs, weight_decay, dropout});
  return recipes;
}

bool better(double accuracy, double nll, double best_accuracy, double best_nll) {
  return accuracy > best_accuracy || (accuracy == best_accuracy && nll < best_nll);
}

std::string flags_of(const std::string& prefix, const Recipe& recipe) {
  std::ostringstream text;
  for (const auto& [name, value] : {std::pair("epochs", static_cast<double>(recipe.epochs)),
                                    {"lr", recipe.lr},
                                    {"weight-decay", recipe.weight_decay},
                                    {"dropout", recipe.dropout}})
    text << "--" << prefix << '-' << name << ' ' << value << (name == std::string("dropout") ? "" : " ");
  return text.str();
}

}  // namespace

Selection select(const Data& data, const Options& options, const Grid& grid, ProgressObserver& progress) {
  require_images(data, options.student_images, grid.held_out);
  require_classes(data, options.top_k);
  const auto seed = static_cast<std::uint64_t>(options.seed);
  const std::vector<std::int64_t> order = shuffled(data.train.size(), seed);
  const auto middle = order.begin() + grid.held_out;
  const retort::Dataset judges = data.train.subset({order.begin(), middle});
  const retort::Batch others = data.train.rows(std::vector<std::int64_t>(middle, order.end()));
  Examples fit = {others.input, others.target};

  Selection selection;
  {
    const Mlp teacher = train_teacher(fit, data, options, progress);
    selection.teacher_accuracy = measure(logits_of(teacher, judges.inputs()), judges.targets()).accuracy;
    fit.teacher_logits = logits_of(teacher, fit.images);
    if (options.top_k > 0)
      fit.sparse = retort::sparse_teacher(fit.teacher_logits, options.top_k, options.temperature);
  }
  std::vector<Examples> seen;
  for (std::int64_t i = 0; i < grid.seeds; ++i)
    seen.push_back(draw(fit, options.student_images, seed + static_cast<std::uint64_t>(i)));

  Observer silent;  // there are thousands of epochs: one line per candidate is enough
  const std::vector<Recipe> recipes = combinations(grid);
  for (const Recipe& recipe : recipes) {
    Candidate& candidate = selection.candidates.emplace_back(Candidate{recipe});
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const auto judge = [&](Way way, double& accuracy, double& nll) {
        const Mlp student = train_student(way, recipe, seen[i], data, options, seed + i, silent);
        const Metrics metrics = measure(logits_of(student, judges.inputs()), judges.targets());
        accuracy += metrics.accuracy / static_cast<double>(seen.size());
        nll += metrics.nll / static_cast<double>(seen.size());
      };
      judge(Way::alone, candidate.alone_accuracy, candidate.alone_nll);
      judge(Way::distilled, candidate.distilled_accuracy, candidate.distilled_nll);
    }
    const std::size_t last = selection.candidates.size() - 1;
    const Candidate& alone = selection.candidates[selection.alone];
    const Candidate& distilled = selection.candidates[selection.distilled];
    if (better(candidate.alone_accuracy, candidate.alone_nll, alone.alone_accuracy, alone.alone_nll))
      selection.alone = last;
    if (better(candidate.distilled_accuracy, candidate.distilled_nll, distilled.distilled_accuracy,
               distilled.distilled_nll))
      selection.distilled = last;
    std::ostringstream line;
    line << std::fixed << std::setprecision(2) << "candidate " << last + 1 << '/' << recipes.size()
         << "  alone " << 100 * candidate.alone_accuracy << " %  distilled "
         << 100 * candidate.distilled_accuracy << " %  (" << flags_of("student", recipe) << ')';
    progress.say(line.str());
  }
  return selection;
}

std::string page_of(const Selection& selection, const Options& options, const Grid& grid, double seconds) {
  std::ostringstream page;
  page << std::fixed << std::setprecision(2);
  const auto plain = [](double value) {
    std::ostringstream text;
    text << value;
    return text.str();
  };
  page << "# How the students' recipes were chosen\n\n"
       << "Written by `distill --select`. Every combination of learning rate, epochs, weight decay and "
       << "dropout was\n"
       << "tried for the student alone and for the distilled one, with " << grid.seeds
       << " seeds each: " << selection.candidates.size() << " recipes and\n"
       << selection.candidates.size() * static_cast<std::size_t>(grid.seeds)
       << " students either way. A student sees " << options.student_images
       << " images drawn by its seed; T = " << plain(options.temperature)
       << ", alpha = " << plain(options.alpha) << ".\n"
       << "Judged on " << grid.held_out << " training images that neither the teacher of this selection ("
       << 100 * selection.teacher_accuracy << " % on them)\n"
       << "nor any student saw. The highest mean accuracy wins. The test set was not read.\n\n"
       << "Chosen for the student alone:\n\n    "
       << flags_of("alone", selection.candidates[selection.alone].recipe)
       << "\n\nand for the distilled student:\n\n    "
       << flags_of("distilled", selection.candidates[selection.distilled].recipe) << "\n\n"
       << "| epochs | dropout | weight decay | learning rate | alone: accuracy, % | nll "
       << "| distilled: accuracy, % | nll |\n"
       << "|---:|---:|---:|---:|---:|---:|---:|---:|\n";
  for (std::size_t i = 0; i < selection.candidates.size(); ++i) {
    const Candidate& c = selection.candidates[i];
    const auto cell = [&](double accuracy, bool best) {
      page << " | " << (best ? "**" : "") << 100 * accuracy << (best ? "**" : "");
    };
    page << "| " << c.recipe.epochs << " | " << plain(c.recipe.dropout) << " | "
         << plain(c.recipe.weight_decay) << " | " << plain(c.recipe.lr);
    cell(c.alone_accuracy, i == selection.alone);
    page << " | " << c.alone_nll;
    cell(c.distilled_accuracy, i == selection.distilled);
    page << " | " << c.distilled_nll << " |\n";
  }
  page << "\nAll of it, the teacher included, took " << seconds << " s.\n";
  return page.str();
}

}  // namespace distill
