// Section 3 of Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015). A small
// network trained on a large one's soft answers makes about half the errors of one trained on the labels. It
// even recognises digits that were not in its training set. Runs on Fashion-MNIST, or on any folder in
// MNIST's format.
#include <map>

#include "hinton_2015/experiment.hpp"

namespace rt = retort;
using example::Options;
using hinton::Classes;
using hinton::Mlp;
using hinton::Recipe;
using rt::Tensor;

struct Plan {
  Recipe teacher = {.epochs = 90,
                    .batch_size = 128,
                    .lr = 1e-3,
                    .clip = 0,
                    .adam = true,
                    .max_norm = 2,
                    .jitter = 2},
         alone = {.epochs = 20}, distilled = {.epochs = 50}, grid = {.epochs = 15};
  double temperature = 20;
  Classes widths = {30, 100, 300, 800};
  std::vector<double> temperatures = {1, 2.5, 4, 8, 20};
};

Plan plan_of(const Options& options) {
  Plan plan;
  if (options.quick || options.rows > 0) {
    plan.widths = {30, 300};
    plan.temperatures = {1, 4, 20};
    plan.teacher.epochs = 10;
    plan.alone.epochs = 8;
    plan.distilled.epochs = 12;
    plan.grid.epochs = 4;
  }
  if (options.rows > 0)
    for (Recipe* const recipe : {&plan.teacher, &plan.alone, &plan.distilled, &plan.grid}) recipe->epochs = 1;
  return plan;
}

rt::JsonFields settings(const Options& options, const Plan& plan) {
  rt::JsonFields fields = {{"data", options.data}, {"quick", options.quick}, {"rows", options.rows}};
  for (const auto& [name, recipe] : {std::pair("teacher", plan.teacher),
                                     {"alone", plan.alone},
                                     {"distilled", plan.distilled},
                                     {"grid", plan.grid}}) {
    fields.emplace_back(rt::message("{}_epochs", name), recipe.epochs);
    fields.emplace_back(rt::message("{}_batch_size", name), recipe.batch_size);
    fields.emplace_back(rt::message("{}_optimizer", name), recipe.adam ? "adam" : "nesterov");
    fields.emplace_back(rt::message("{}_lr", name), recipe.lr);
    fields.emplace_back(rt::message("{}_clip", name), recipe.clip);
  }
  fields.insert(fields.end(), {{"dropped_pixels", hinton::dropped_pixels},
                               {"dropped_units", hinton::dropped_units},
                               {"max_norm", plan.teacher.max_norm},
                               {"jitter", plan.teacher.jitter},
                               {"temperature", plan.temperature},
                               {"widths", example::listed(plan.widths)},
                               {"temperatures", example::listed(plan.temperatures)}});
  return fields;
}

void run(const Options& options) {
  const Plan plan = plan_of(options);
  const auto [training, test] = example::load_images(options);
  const Tensor labels = test.targets();
  const std::int64_t pixels = training.inputs().size(1), classes = example::class_count(training);
  const rt::RunFolder run = options.folder(settings(options, plan));
  example::Results errors({"errors"}, run);
  const auto judge = [&](const std::string& way, const Tensor& logits, const Classes& of = {}) {
    errors.add(way, {hinton::errors(logits, labels, of)});
  };

  // The large network, trained with dropout, max-norm, and images shifted by up to two pixels.
  rt::manual_seed(0);
  Mlp teacher(pixels, 1200, classes, true);
  hinton::train(run, "teacher", teacher, training, plan.teacher, options, example::label_loss);
  const Tensor teacher_logits = rt::predict(teacher, test);
  judge("teacher, 784-1200-1200-10", teacher_logits);

  // The teacher's answers to the training images, without shifts. Distilled students train on these alone.
  const rt::Dataset transfer = example::with_answers(teacher, training);
  const auto distilled = [&](const std::string& name, const rt::Dataset& data, std::int64_t width,
                             double temperature, Recipe recipe, std::uint64_t seed) {
    const rt::DistillationLoss soft({.temperature = temperature, .alpha = 1});
    rt::manual_seed(seed);
    Mlp student(pixels, width, classes, false);
    recipe.seed = seed;
    hinton::train(run, name, student, data, recipe, options,
                  [&](const Tensor& logits, const rt::Batch& batch) {
                    return soft({.student = logits, .teacher = batch["teacher"]});
                  });
    return rt::predict(student, test);
  };
  // If the transfer set lacked classes, the bias of some classes is corrected in two ways.
  const auto judge_lacking = [&](const std::string& way, const Tensor& logits, const Classes& corrected) {
    const double by_test = hinton::bias_by_test_errors(logits, labels, corrected),
                 by_mass = hinton::bias_by_mass(logits, training.targets(), corrected);
    for (const auto& [how, b] : {std::pair("", 0.0),
                                 {", bias chosen on the test set", by_test},
                                 {", bias chosen without labels", by_mass}}) {
      judge(way + how, hinton::with_bias(logits, corrected, b));
      if (corrected.size() == 1)
        judge(way + how + ": of class 3", hinton::with_bias(logits, corrected, b), {3});
    }
  };

  Tensor alone_logits, distilled_logits;
  for (std::int64_t number = 1; number <= options.seeds; ++number) {
    const auto seed = static_cast<std::uint64_t>(number);
    rt::manual_seed(seed);
    Mlp alone(pixels, 800, classes, false);
    Recipe recipe = plan.alone;
    recipe.seed = seed;
    hinton::train(run, rt::message("alone-{}", seed), alone, training, recipe, options, example::label_loss);
    alone_logits = rt::predict(alone, test);
    judge("student alone, 784-800-800-10", alone_logits);
    const auto student = [&](const char* name, const rt::Dataset& data) {
      return distilled(rt::message("{}-{}", name, seed), data, 800, plan.temperature, plan.distilled, seed);
    };
    distilled_logits = student("distilled", transfer);
    judge("student distilled, T = 20", distilled_logits);
    judge_lacking("without class 3", student("without-3", hinton::with_classes(transfer, {3}, false)), {3});
    judge_lacking("classes 7 and 8 only", student("only-7-8", hinton::with_classes(transfer, {7, 8}, true)),
                  {7, 8});
  }

  // Errors by width and temperature.
  std::vector<std::vector<std::string>> grid = {{"hidden units"}};
  for (const double t : plan.temperatures) grid[0].push_back(rt::message("T = {}", t));
  std::vector<rt::ReportSeries> curves;
  for (const std::int64_t width : plan.widths) {
    grid.push_back({std::to_string(width)});
    curves.push_back({.name = rt::message("{} units", width), .x = plan.temperatures});
    for (const double t : plan.temperatures) {
      const Tensor logits =
          distilled(rt::message("width-{}-T-{}", width, t), transfer, width, t, plan.grid, 1);
      curves.back().y.push_back(hinton::errors(logits, labels));
      grid.back().push_back(rt::message("{}", curves.back().y.back()));
    }
  }

  const std::map<std::string, std::string> paper = {
      {"teacher, 784-1200-1200-10", "67"},
      {"student alone, 784-800-800-10", "146"},
      {"student distilled, T = 20", "74"},
      {"without class 3", "206"},
      {"without class 3: of class 3", "133"},
      {"without class 3, bias chosen on the test set", "109"},
      {"without class 3, bias chosen on the test set: of class 3", "14"},
      {"classes 7 and 8 only", "4730"},
      {"classes 7 and 8 only, bias chosen on the test set", "1320"}};
  std::vector<std::vector<std::string>> rows = {
      {options.seeds > 1 ? "errors on the test set, ± 95 % interval" : "errors on the test set", "here",
       "paper"}};
  for (const std::string& way : errors.ways())
    rows.push_back({way, rt::mean_text(errors.values(way), errors.values(way).size() > 1 ? 1 : 0),
                    paper.contains(way) ? paper.at(way) : ""});
  // Whether distillation helped follows from the numbers of this run.
  const rt::SampleSummary saved = rt::summarise(rt::paired_differences(
      errors.values("student distilled, T = 20"), errors.values("student alone, 784-800-800-10")));
  const bool is_clear = !(std::abs(saved.mean) <= saved.half_width);  // also with one student of each kind
  const std::string result = rt::message(
      "The distilled student is {} the student alone: on average, it makes {} {} errors{}.",
      saved.mean <= 0 ? "not ahead of"
      : is_clear      ? "ahead of"
                      : "not clearly ahead of",
      rt::fixed(std::abs(saved.mean), 1), saved.mean < 0 ? "more" : "fewer",
      options.seeds > 1 ? rt::message(" (95 % interval ± {})", rt::fixed(saved.half_width, 1)) : "");
  std::printf("%s\n%s\n\n%s\n", rt::text_table(rows).c_str(), result.c_str(), rt::text_table(grid).c_str());

  rt::Report report(
      "Distilling the knowledge in a neural network",
      rt::message("Section 3 of Hinton, Vinyals and Dean (2015) on {} training and {} test images of {}.",
                  training.size(), test.size(), options.data));
  report.section("Errors",
                 rt::message("Test errors: mean and 95 % interval, students of each kind: {}. The paper's "
                             "are on MNIST. {}",
                             options.seeds, result));
  report.table(rows);
  report.section("Temperature and width", "Test errors of distilled students.").table(grid);
  report.curves("Errors by temperature", {.x = "temperature", .y = "test errors", .log_x = true}, curves);
  example::show_losses(report, run, {"teacher", "alone-1", "distilled-1"});
  report.section("Calibration", "How many of the answers given with some confidence are right.");
  report.calibration("teacher", teacher_logits, labels).calibration("student alone", alone_logits, labels);
  report.calibration("student distilled", distilled_logits, labels);
  example::write_report(report, run);
}

int main(int argc, char** argv) {
  return example::run_program(argc, argv, "hinton_2015",
                              {.about = "Repeats section 3 of Hinton, Vinyals and Dean (2015).",
                               .data_help = example::images_help,
                               .data = "/usr/share/datasets/fashion-mnist",
                               .out = "runs/hinton_2015"},
                              run, [](CLI::App& app, Options& options) {
                                example::add_rows(app, options);
                                app.add_flag("--quick", options.quick,
                                             "a smaller version in 5 minutes, with one student of each kind");
                                app.final_callback([&] {
                                  if (options.quick && app["--seeds"]->empty()) options.seeds = 1;
                                });
                              });
}
