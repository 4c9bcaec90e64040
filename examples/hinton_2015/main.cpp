// Section 3 of Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015): a small
// network that learns from a large one's soft answers makes about half the errors of one that learns from the
// labels, and even recognises digits that it never saw. Runs on Fashion-MNIST, or on any folder in MNIST's
// format.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>

#include "hinton_2015/experiment.hpp"

namespace rt = retort;
using hinton::Mlp;
using hinton::Options;
using rt::Tensor;

namespace {

Options parse(int argc, char** argv) {
  Options options;
  CLI::App app("Hinton, Vinyals and Dean (2015), section 3", "hinton_2015");
  app.add_option("--data", options.data, "folder of four IDX files")->capture_default_str();
  app.add_option("--out", options.out, "folder of the run; an unfinished one is resumed")
      ->capture_default_str();
  app.add_flag("--quick", options.quick, "a smaller version in 5 minutes");
  CLI::Option* const seeds =
      app.add_option("--seeds", options.seeds, "students of each kind")->check(CLI::Range(1, 99));
  app.add_option("--rows", options.rows, "use only the first images of each set")->check(CLI::PositiveNumber);
  app.add_option("--checkpoint-every", options.checkpoint_every, "seconds")->check(CLI::NonNegativeNumber);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  if (options.quick) {
    options.teacher_epochs = 8;
    options.student_epochs = 4;
    options.grid_epochs = 2;
    options.widths = {30, 300};
    options.temperatures = {1, 4, 20};
    if (seeds->empty()) options.seeds = 1;
  }
  if (options.rows > 0) options.teacher_epochs = options.student_epochs = options.grid_epochs = 1;
  return options;
}

std::pair<rt::Dataset, rt::Dataset> load(const Options& options) {
  auto [training, test] = rt::load_idx_pair(options.data);
  if (options.rows == 0) return {training, test};
  return {training.slice(0, std::min(options.rows, training.size())),
          test.slice(0, std::min(options.rows, test.size()))};
}

// Test errors of each way, over the seeds.
struct Way {
  std::string name;
  std::string paper;
  std::vector<double> errors = {};
};

}  // namespace

int main(int argc, char** argv) try {
  const Options options = parse(argc, argv);
  const auto [training, test] = load(options);
  const Tensor labels = test.targets();
  const std::int64_t pixels = training.inputs().size(1),
                     classes = 1 + rt::max(training.targets()).item<std::int64_t>();
  const rt::RunFolder run(options.out,
                          {{"data", options.data}, {"quick", options.quick}, {"rows", options.rows}});
  std::vector<Way> ways;
  const auto count = [&](const std::string& name, double errors, const char* paper) {
    auto way = std::ranges::find(ways, name, &Way::name);
    if (way == ways.end()) way = ways.insert(way, {name, paper});
    way->errors.push_back(errors);
  };

  // The large network: dropout, max-norm, and images moved by up to two pixels.
  const rt::CrossEntropyLoss cross_entropy;
  const hinton::Loss from_labels = [&](const Tensor& logits, const rt::Batch& batch) {
    return cross_entropy(logits, batch.target);
  };
  rt::manual_seed(0);
  Mlp teacher(pixels, 1200, classes, true);
  hinton::train(run, "teacher", teacher, training,
                {.epochs = options.teacher_epochs, .lr = 1e-3, .adam = true, .max_norm = 2, .jitter = 2},
                from_labels, options);
  const Tensor teacher_logits = rt::predict(teacher, test);
  count("teacher, 784-1200-1200-10", static_cast<double>(hinton::errors(teacher_logits, labels)), "67");

  // Its answers to the training images, which are not moved. The students learn from nothing else.
  const rt::Dataset transfer({{"input", training.inputs()},
                              {"target", training.targets()},
                              {"teacher", rt::predict(teacher, training)}});
  const auto distilled = [&](const std::string& name, const rt::Dataset& data, std::int64_t width,
                             double temperature, std::int64_t epochs, std::int64_t seed) {
    const rt::DistillationLoss soft({.temperature = temperature, .alpha = 1});
    rt::manual_seed(static_cast<std::uint64_t>(seed));
    Mlp student(pixels, width, classes, false);
    hinton::train(
        run, name, student, data, {.epochs = epochs, .seed = static_cast<std::uint64_t>(seed)},
        [&](const Tensor& logits, const rt::Batch& batch) {
          return soft({.student = logits, .teacher = batch["teacher"]});
        },
        options);
    return rt::predict(student, test);
  };
  // A transfer set that lacks classes; then the bias of some classes is corrected, in two ways.
  const auto lacking = [&](const std::string& name, const Tensor& logits,
                           const std::vector<std::int64_t>& corrected,
                           const std::array<const char*, 2>& paper) {
    const auto of_class = [&](const Tensor& l) {
      return static_cast<double>(hinton::errors(l, labels, {3}));
    };
    const auto add = [&](const char* how, const Tensor& l, const char* figure, const char* of_class_figure) {
      count(name + how, static_cast<double>(hinton::errors(l, labels)), figure);
      if (corrected.size() == 1) count(name + how + ": of class 3", of_class(l), of_class_figure);
    };
    const double by_test = hinton::bias_by_test_errors(logits, labels, corrected),
                 by_mass = hinton::bias_by_mass(logits, training.targets(), corrected);
    add("", logits, paper[0], "133");
    add(", bias chosen on the test set", hinton::with_bias(logits, corrected, by_test), paper[1], "14");
    add(", bias chosen without labels", hinton::with_bias(logits, corrected, by_mass), "", "");
  };

  Tensor alone_logits, distilled_logits;
  for (std::int64_t seed = 1; seed <= options.seeds; ++seed) {
    const std::string number = "-" + std::to_string(seed);
    rt::manual_seed(static_cast<std::uint64_t>(seed));
    Mlp alone(pixels, 800, classes, false);
    hinton::train(run, "alone" + number, alone, training,
                  {.epochs = options.student_epochs, .seed = static_cast<std::uint64_t>(seed)}, from_labels,
                  options);
    alone_logits = rt::predict(alone, test);
    count("student alone, 784-800-800-10", static_cast<double>(hinton::errors(alone_logits, labels)), "146");
    const auto student = [&](const char* name, const rt::Dataset& data) {
      return distilled(name + number, data, 800, 20, options.student_epochs, seed);
    };
    distilled_logits = student("distilled", transfer);
    count("student distilled, T = 20", static_cast<double>(hinton::errors(distilled_logits, labels)), "74");
    lacking("without class 3", student("without-3", hinton::with_classes(transfer, {3}, false)), {3},
            {"206", "109"});
    lacking("classes 7 and 8 only", student("only-7-8", hinton::with_classes(transfer, {7, 8}, true)), {7, 8},
            {"4730", "1320"});
  }

  // Which temperature suits which width.
  std::vector<std::vector<std::string>> grid = {{"hidden units"}};
  for (const double t : options.temperatures) grid[0].push_back(rt::message("T = {}", t));
  std::vector<rt::ReportSeries> curves;
  for (const std::int64_t width : options.widths) {
    grid.push_back({std::to_string(width)});
    curves.push_back({.name = rt::message("{} units", width), .x = options.temperatures});
    for (const double t : options.temperatures) {
      const Tensor logits =
          distilled(rt::message("width-{}-T-{}", width, t), transfer, width, t, options.grid_epochs, 1);
      curves.back().y.push_back(static_cast<double>(hinton::errors(logits, labels)));
      grid.back().push_back(rt::message("{}", curves.back().y.back()));
    }
  }

  std::vector<std::vector<std::string>> rows = {{"errors on the test set", "here", "paper"}};
  for (const Way& way : ways)
    rows.push_back({way.name, rt::mean_text(way.errors, way.errors.size() > 1 ? 1 : 0), way.paper});
  std::printf("%s\n%s\n", rt::text_table(rows).c_str(), rt::text_table(grid).c_str());

  rt::Report report(
      "Distilling the knowledge in a neural network",
      rt::message("Section 3 of Hinton, Vinyals and Dean (2015) on {} training and {} test images of {}.",
                  training.size(), test.size(), options.data));
  report.section("Errors",
                 rt::message("Test errors: mean and 95 % interval, students of each kind: {}. The paper's "
                             "are on MNIST.",
                             options.seeds));
  report.table(rows);
  report.section("Temperature and width", "Test errors of distilled students.").table(grid);
  report.curves("Errors by temperature", {.x = "temperature", .y = "test errors", .log_x = true}, curves);
  report.section("Training");
  for (const char* name : {"teacher", "alone-1", "distilled-1"}) {
    const rt::RunFolder::Column loss = run.column(name, "loss");
    report.curves(rt::message("{}: loss", name), {.x = "epoch", .y = "loss"},
                  {{.x = loss.epochs, .y = loss.values}});
  }
  report.section("Calibration", "How many of the answers given with some confidence are right.");
  report.calibration("teacher", teacher_logits, labels).calibration("student alone", alone_logits, labels);
  report.calibration("student distilled", distilled_logits, labels).write(run.file("report.html"));
  std::printf("report: %s\n", run.file("report.html").c_str());
} catch (const rt::Interrupted& stop) {
  std::fprintf(stderr, "hinton_2015: %s\n", stop.what());
  return 130;
} catch (const std::exception& error) {
  std::fprintf(stderr, "hinton_2015: %s\n", error.what());
  return 1;
}
