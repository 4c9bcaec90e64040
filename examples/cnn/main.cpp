// A residual network teaches a depthwise one with 22 times fewer weights: from labels alone, from the
// teacher's soft answers, and with two ways of showing it the teacher's features as well. Accuracy, size and
// latency per image.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <map>

#include "cnn/networks.hpp"

namespace rt = retort;
using cnn::Student;
using cnn::Teacher;
using rt::Tensor;

namespace {

struct Options {
  std::string data = "/usr/share/datasets/fashion-mnist", out = "runs/cnn";
  std::int64_t seeds = 5, rows = 0, teacher_epochs = 14, student_epochs = 12, student_images = 10000;
  double checkpoint_every = 15;
};

Options parse(int argc, char** argv) {
  Options options;
  CLI::App app("A convolutional teacher and student", "cnn");
  app.add_option("--data", options.data, "folder of four IDX files of 28 × 28 images")->capture_default_str();
  app.add_option("--out", options.out, "folder of the run; an unfinished one is resumed")
      ->capture_default_str();
  app.add_option("--seeds", options.seeds, "students of each kind")
      ->check(CLI::Range(1, 99))
      ->capture_default_str();
  app.add_option("--teacher-epochs", options.teacher_epochs)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--rows", options.rows, "use only the first images of each set")->check(CLI::PositiveNumber);
  app.add_option("--checkpoint-every", options.checkpoint_every, "seconds")->check(CLI::NonNegativeNumber);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  if (options.rows > 0) options.teacher_epochs = options.student_epochs = 1;
  return options;
}

/// Images as [N, 1, rows, columns].
std::pair<rt::Dataset, rt::Dataset> load(const Options& options) {
  auto sets = rt::load_idx_pair(options.data);
  for (rt::Dataset* set : {&sets.first, &sets.second}) {
    const std::int64_t count = options.rows > 0 ? std::min(options.rows, set->size()) : set->size();
    *set = set->slice(0, count);
    *set = rt::Dataset(rt::reshape(set->inputs(), {count, 1, 28, 28}), set->targets());
  }
  return sets;
}

using Loss = std::function<Tensor(const Tensor& logits, const rt::Batch& batch)>;
struct Recipe {
  std::int64_t epochs = 1, batch_size = 128;
  double lr = 0, weight_decay = 0;
  rt::BatchTransform augmentation = {};
  std::uint64_t seed = 0;
};

/// `all` is the network, or the network and what is trained with it. Ends with the averages of the weights.
template <class Model>
double train(const rt::RunFolder& run, const std::string& name, rt::Module& all, Model& model,
             const rt::Dataset& data, const Recipe& recipe, const Loss& loss, double checkpoint_every) {
  const auto [decayed, others] = rt::decay_groups(all);  // norms and biases do not decay
  rt::AdamW optimizer({{decayed, {.lr = recipe.lr, .weight_decay = recipe.weight_decay}},
                       {others, {.lr = recipe.lr, .weight_decay = 0}}});
  rt::DataLoader loader(data, {.batch_size = recipe.batch_size,
                               .shuffle = true,
                               .seed = recipe.seed,
                               .transform = recipe.augmentation});
  const std::int64_t steps = recipe.epochs * loader.size();
  rt::LRScheduler schedule = rt::warmup_cosine(optimizer, {.warmup_steps = steps / 10, .total_steps = steps});
  rt::ExponentialMovingAverage average(all, {.decay = steps > 1000 ? 0.995 : 0.98});
  rt::Training training(run, name,
                        {.module = &all,
                         .optimizer = &optimizer,
                         .schedulers = {&schedule},
                         .loader = &loader,
                         .average = &average},
                        {.epochs = recipe.epochs, .checkpoint_every = checkpoint_every});
  while (!training.done())
    for (const rt::Batch& batch : loader) {
      const Tensor value = loss(model(batch.input), batch);
      optimizer.zero_grad();
      value.backward();
      optimizer.step();
      schedule.step();
      average.update();
      training.step(value.item<double>());
    }
  return training.seconds();
}

/// A student together with a 1×1 convolution that makes the teacher's channels of its features.
struct Hinted : rt::Module {
  Hinted(Student student, std::int64_t channels, std::int64_t teacher_channels)
      : network(std::move(student)), adapter(channels, teacher_channels, 1) {}
  Student network;
  rt::Conv2d adapter;
  RETORT_MEMBERS(network, adapter)
};

/// Milliseconds for a single image: the median of many calls.
template <class Model>
double latency(Model& model, const Tensor& images) {
  const Tensor image = rt::slice(images, 0, 0, 1);
  std::vector<double> times;
  for (int i = 0; i < 200; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    static_cast<void>(rt::predict(model, image));
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  std::ranges::nth_element(times, times.begin() + 100);
  return times[100];
}

constexpr const char* const ways[] = {"alone", "distilled", "feature hint", "attention transfer"};

}  // namespace

int main(int argc, char** argv) try {
  const Options options = parse(argc, argv);
  const auto [training, test] = load(options);
  const std::int64_t classes = 1 + rt::max(training.targets()).item<std::int64_t>();
  const rt::RunFolder run(
      options.out,
      {{"data", options.data}, {"rows", options.rows}, {"teacher_epochs", options.teacher_epochs}});

  rt::manual_seed(0);
  Teacher teacher(16, 1, {{32, 2}, {32, 1}, {64, 2}}, classes);
  const rt::CrossEntropyLoss smooth({.label_smoothing = 0.05}), cross_entropy;
  train(
      run, "teacher", teacher, teacher, training,
      {.epochs = options.teacher_epochs,
       .lr = 4e-3,
       .weight_decay = 0.05,
       .augmentation = rt::compose(rt::random_crop(2), rt::random_horizontal_flip(), rt::cutout(4))},
      [&](const Tensor& logits, const rt::Batch& batch) { return smooth(logits, batch.target); },
      options.checkpoint_every);

  // The students have fewer images, and learn from the teacher's answers and features, which are computed
  // once.
  const rt::Dataset few = training.slice(0, std::min(options.student_images, training.size()));
  Tensor features;
  const Tensor answers = [&] {
    const rt::FeatureRecorder recorder(teacher, {teacher.last_block()});
    const auto both = [&](const Tensor& x) {
      const Tensor logits = teacher(x);
      features = features.defined() ? rt::concat({features, recorder[teacher.last_block()]}, 0)
                                    : recorder[teacher.last_block()];
      return logits;
    };
    return rt::predict(both, few.inputs(), {.batch_size = 1000});
  }();
  const rt::Dataset transfer(
      {{"input", few.inputs()}, {"target", few.targets()}, {"teacher", answers}, {"features", features}});

  const rt::DistillationLoss distillation({.temperature = 4, .alpha = 0.9});
  std::map<std::string, std::vector<double>> accuracy;
  const Tensor teacher_logits = rt::predict(teacher, test);
  accuracy["teacher"] = {100 * rt::metrics::accuracy(teacher_logits, test.targets())};
  double student_ms = 0;
  std::int64_t student_size = 0;
  std::map<std::string, Tensor> logits_of;
  for (std::int64_t seed = 1; seed <= options.seeds; ++seed)
    for (const std::string way : ways) {
      rt::manual_seed(static_cast<std::uint64_t>(seed));
      Hinted student(Student(16, 2, {{32, 2}, {64, 1}}, classes), 64, features.size(1));
      const std::string block = student.network.last_block();
      const rt::FeatureRecorder recorder(student.network, {block});
      train(
          run, way + "-" + std::to_string(seed), student, student.network, transfer,
          {.epochs = options.student_epochs,
           .batch_size = 64,
           .lr = 1e-2,
           .weight_decay = 0.01,
           .seed = static_cast<std::uint64_t>(seed)},
          [&](const Tensor& logits, const rt::Batch& batch) {
            if (way == "alone") return cross_entropy(logits, batch.target);
            const Tensor soft =
                distillation({.student = logits, .teacher = batch["teacher"], .labels = batch.target});
            if (way == "feature hint")
              return soft + 0.5 * rt::mse_loss(student.adapter(recorder[block]), batch["features"]);
            if (way == "attention transfer")
              return soft + 100.0 * rt::attention_transfer_loss(recorder[block], batch["features"]);
            return soft;
          },
          options.checkpoint_every);
      logits_of[way] = rt::predict(student.network, test);
      accuracy[way].push_back(100 * rt::metrics::accuracy(logits_of[way], test.targets()));
      if (student_size == 0) {
        student_size = cnn::parameter_count(student.network);
        student_ms = latency(student.network, test.inputs());
      }
    }

  const std::int64_t teacher_size = cnn::parameter_count(teacher);
  const double teacher_ms = latency(teacher, test.inputs());
  std::vector<std::vector<std::string>> rows = {
      {"", "accuracy, %", "better than alone", "weights", "ms per image"}};
  std::vector<rt::ReportPoint> by_size, by_latency;
  for (const std::string way : {"teacher", "alone", "distilled", "feature hint", "attention transfer"}) {
    const bool large = way == "teacher";
    const double mean = rt::summarise(accuracy[way]).mean;
    std::string wins;
    if (!large && way != "alone") {
      const std::vector<double> more = rt::paired_differences(accuracy["alone"], accuracy[way]);
      wins = rt::message("in {} of {} seeds", std::ranges::count_if(more, [](double d) { return d > 0; }),
                         more.size());
    }
    rows.push_back({large ? way : "student " + way, rt::mean_text(accuracy[way], 2), wins,
                    std::to_string(large ? teacher_size : student_size),
                    rt::fixed(large ? teacher_ms : student_ms, 3)});
    by_size.push_back({way, static_cast<double>(large ? teacher_size : student_size), mean});
    by_latency.push_back({way, large ? teacher_ms : student_ms, mean});
  }
  std::fputs(rt::text_table(rows).c_str(), stdout);

  rt::Report report("Convolutional networks",
                    rt::message("{} training and {} test images of {}; the students learn "
                                "from the first {}.",
                                training.size(), test.size(), options.data, few.size()));
  report.section("Result", "Test accuracy: mean and 95 % interval over the seeds.").table(rows);
  report.scatter("Accuracy by size", {.x = "weights", .y = "accuracy, %", .log_x = true}, by_size);
  report.scatter("Accuracy by latency", {.x = "ms per image", .y = "accuracy, %", .log_x = true}, by_latency);
  report.section("Against the student alone",
                 "Difference within a seed; mean dashed, its 95 % interval shaded.");
  for (const std::string way : {"distilled", "feature hint", "attention transfer"})
    report.differences(way, "percentage points", rt::paired_differences(accuracy["alone"], accuracy[way]));
  report.section("Training");
  for (const std::string name : {"teacher", "alone-1", "distilled-1"}) {
    const rt::RunFolder::Column loss = run.column(name, "loss");
    report.curves(name + ": loss", {.x = "epoch", .y = "loss"}, {{.x = loss.epochs, .y = loss.values}});
  }
  report.section("Calibration and confusions");
  std::vector<std::string> names;
  for (std::int64_t k = 0; k < classes; ++k) names.push_back(std::to_string(k));
  logits_of["teacher"] = teacher_logits;
  for (const std::string way : {"teacher", "alone", "distilled"})
    report.calibration(way, logits_of[way], test.targets())
        .confusion(way, rt::metrics::confusion_matrix(logits_of[way], test.targets()), names);
  report.write(run.file("report.html"));
  std::printf("report: %s\n", run.file("report.html").c_str());
} catch (const rt::Interrupted& stop) {
  std::fprintf(stderr, "cnn: %s\n", stop.what());
  return 130;
} catch (const std::exception& error) {
  std::fprintf(stderr, "cnn: %s\n", error.what());
  return 1;
}
