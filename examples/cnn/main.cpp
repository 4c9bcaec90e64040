// Distils a residual network into a depthwise one with 7 times fewer weights. Compares four ways: labels
// alone, the teacher's soft answers, and soft answers with either of two losses on the teacher's features.
// Reports accuracy, size and latency per image.
#include <map>

#include "cnn/networks.hpp"
#include "common/images.hpp"

namespace rt = retort;
using cnn::Student;
using cnn::Teacher;
using example::Options;
using rt::Tensor;

struct Recipe {
  std::int64_t epochs = 1, batch_size = 128;
  double lr = 0, weight_decay = 0;
  rt::BatchTransform augmentation = {};
  std::uint64_t seed = 0;
};
const Recipe teacher_recipe = {
    .epochs = 14,
    .lr = 4e-3,
    .weight_decay = 0.05,
    .augmentation = rt::compose(rt::random_crop(2), rt::random_horizontal_flip(), rt::cutout(4))};
const Recipe student_recipe = {.epochs = 40, .batch_size = 64, .lr = 2e-2, .weight_decay = 0.1};
constexpr std::int64_t student_images = 3000;
constexpr double smoothing = 0.05, temperature = 4, alpha = 0.9, hint_weight = 0.5, attention_weight = 10;
const std::vector<std::string> ways = {"alone", "distilled", "feature hint", "attention transfer"};

rt::JsonFields settings(const Options& options) {
  return {{"data", options.data},
          {"rows", options.rows},
          {"teacher_epochs", teacher_recipe.epochs},
          {"teacher_lr", teacher_recipe.lr},
          {"teacher_weight_decay", teacher_recipe.weight_decay},
          {"label_smoothing", smoothing},
          {"student_images", student_images},
          {"student_epochs", student_recipe.epochs},
          {"student_lr", student_recipe.lr},
          {"student_weight_decay", student_recipe.weight_decay},
          {"temperature", temperature},
          {"alpha", alpha},
          {"hint_weight", hint_weight},
          {"attention_weight", attention_weight}};
}

// Trains `all`: the network, or a module of the network and the layer trained with it. The final weights are
// moving averages.
template <class Model>
void train(const rt::RunFolder& run, const std::string& name, rt::Module& all, Model& model,
           const rt::Dataset& data, const Recipe& recipe, const Options& options, const example::Loss& loss) {
  const std::int64_t epochs = options.rows > 0 ? 1 : recipe.epochs;
  const auto [decayed, others] = rt::decay_groups(all);  // no weight decay for norms and biases
  rt::AdamW optimizer({{decayed, {.lr = recipe.lr, .weight_decay = recipe.weight_decay}},
                       {others, {.lr = recipe.lr, .weight_decay = 0}}});
  rt::DataLoader loader(data, {.batch_size = recipe.batch_size,
                               .shuffle = true,
                               .seed = recipe.seed,
                               .transform = recipe.augmentation,
                               .shards = rt::own_shards(*options.world, options.shards)});
  const std::int64_t steps = epochs * loader.size();
  rt::LRScheduler schedule = rt::warmup_cosine(optimizer, {.warmup_steps = steps / 10, .total_steps = steps});
  rt::ExponentialMovingAverage average(all, {.decay = steps > 1000 ? 0.995 : 0.98});
  rt::Training training(run, name,
                        {.module = &all,
                         .optimizer = &optimizer,
                         .schedulers = {&schedule},
                         .loader = &loader,
                         .average = &average},
                        options.training(epochs));
  while (!training.done())
    for (const rt::Batch& batch : loader)
      training.learn(batch, [&](const rt::Batch& part) { return loss(model(part.input), part); });
}

// A student with a 1×1 convolution that maps its features to the teacher's number of channels.
struct Hinted : rt::Module {
  Hinted(Student student, std::int64_t channels, std::int64_t teacher_channels)
      : network(std::move(student)), adapter(channels, teacher_channels, 1) {}
  Student network;
  rt::Conv2d adapter;
  RETORT_MEMBERS(network, adapter)
};

// The images as [N, 1, 28, 28].
rt::Dataset as_images(const rt::Dataset& set) {
  return {rt::reshape(set.inputs(), {set.size(), 1, 28, 28}), set.targets()};
}

// The images with the teacher's answers and the features of its last block, both computed once.
rt::Dataset with_features(Teacher& teacher, const rt::Dataset& images) {
  const rt::FeatureRecorder recorder(teacher, {teacher.last_block()});
  rt::Tensors features;
  const auto both = [&](const Tensor& x) {
    const Tensor logits = teacher(x);
    features.push_back(recorder[teacher.last_block()]);
    return logits;
  };
  const Tensor answers = rt::predict(both, images.inputs());
  return rt::Dataset({{"input", images.inputs()},
                      {"target", images.targets()},
                      {"teacher", answers},
                      {"features", rt::concat(features, 0)}});
}

void run(const Options& options) {
  const auto [all_images, all_tests] = example::load_images(options);
  const rt::Dataset training = as_images(all_images), test = as_images(all_tests);
  const std::int64_t classes = example::class_count(training);
  const rt::RunFolder run = options.folder(settings(options));
  example::Results accuracy({"accuracy, %"}, run);
  std::map<std::string, Tensor> logits_of;
  std::map<std::string, std::pair<std::int64_t, double>> cost;  // weights, and milliseconds per image
  const auto judge = [&](const std::string& way, auto& network) {
    logits_of[way] = rt::predict(network, test);
    accuracy.add(way, {100 * rt::metrics::accuracy(logits_of[way], test.targets())});
    if (!cost.contains(way))
      cost[way] = {rt::parameter_count(network), rt::latency(network, rt::slice(test.inputs(), 0, 0, 1))};
  };

  rt::manual_seed(0);
  Teacher teacher(16, 1, {{32, 2}, {32, 1}, {64, 2}}, classes);
  const rt::CrossEntropyLoss smooth({.label_smoothing = smoothing});
  train(run, "teacher", teacher, teacher, training, teacher_recipe, options,
        [&](const Tensor& logits, const rt::Batch& batch) { return smooth(logits, batch.target); });
  judge("teacher", teacher);

  // The students train on fewer images, with the teacher's answers and features.
  const rt::Dataset transfer =
      with_features(teacher, training.slice(0, std::min(student_images, training.size())));
  const rt::DistillationLoss distillation({.temperature = temperature, .alpha = alpha});
  for (std::int64_t seed = 1; seed <= options.seeds; ++seed)
    for (const std::string& way : ways) {
      rt::manual_seed(seed);  // the same initial weights for all ways
      Hinted student(Student(32, 2, {{64, 2}, {128, 1}}, classes), 128, transfer["features"].size(1));
      const std::string block = student.network.last_block();
      const rt::FeatureRecorder recorder(student.network, {block});
      Recipe recipe = student_recipe;
      recipe.seed = seed;
      train(run, way + "-" + std::to_string(seed), student, student.network, transfer, recipe, options,
            [&](const Tensor& logits, const rt::Batch& batch) {
              if (way == "alone") return example::label_loss(logits, batch);
              const Tensor soft =
                  distillation({.student = logits, .teacher = batch["teacher"], .labels = batch.target});
              if (way == "feature hint")
                return soft + hint_weight * rt::mse_loss(student.adapter(recorder[block]), batch["features"]);
              if (way == "attention transfer")
                return soft +
                       attention_weight * rt::attention_transfer_loss(recorder[block], batch["features"]);
              return soft;
            });
      judge(way, student.network);
    }
  rt::Report report("Convolutional networks",
                    rt::message("{} training and {} test images of {}; the students learn "
                                "from the first {}.",
                                training.size(), test.size(), options.data, transfer.size()));
  report.section("Result", rt::message("Test accuracy. {}", accuracy.explanation));
  accuracy.show(report, 2);
  std::vector<rt::ReportPoint> by_size, by_latency;
  std::vector<std::vector<std::string>> costs = {{"", "weights", "ms per image", "ahead of alone"}};
  for (const std::string& way : accuracy.ways()) {
    const auto price = cost.at(way);
    const double mean = rt::summarise(accuracy.values(way)).mean;
    by_size.push_back({way, static_cast<double>(price.first), mean});
    by_latency.push_back({way, price.second, mean});
    costs.push_back({way, std::to_string(price.first), rt::fixed(price.second, 3), ""});
    if (way == "teacher" || way == "alone") continue;
    const std::vector<double> more = rt::paired_differences(accuracy.values("alone"), accuracy.values(way));
    costs.back()[3] = rt::message("in {} of {} seeds",
                                  std::ranges::count_if(more, [](double d) { return d > 0; }), more.size());
  }
  std::fputs(rt::text_table(costs).c_str(), stdout);
  report.table(costs);
  report.scatter("Accuracy by size", {.x = "weights", .y = "accuracy, %", .log_x = true}, by_size);
  report.scatter("Accuracy by latency", {.x = "ms per image", .y = "accuracy, %", .log_x = true}, by_latency);
  report.section("Against the student alone",
                 "Difference within a seed; mean dashed, its 95 % interval shaded.");
  for (const std::string& way : std::span(ways).subspan(1))
    report.differences(way, "percentage points",
                       rt::paired_differences(accuracy.values("alone"), accuracy.values(way)));
  example::show_losses(report, run, {"teacher", "alone-1", "distilled-1"});
  report.section("Calibration and confusions");
  std::vector<std::string> names;
  for (std::int64_t k = 0; k < classes; ++k) names.push_back(std::to_string(k));
  for (const std::string way : {"teacher", "alone", "distilled"})
    report.calibration(way, logits_of[way], test.targets());
  for (const std::string way : {"teacher", "alone", "distilled"})
    report.confusion(way, rt::metrics::confusion_matrix(logits_of[way], test.targets()), names);
  example::write_report(report, run);
}

int main(int argc, char** argv) {
  return example::run_program(argc, argv, "cnn",
                              {.about = "Distils a residual network into a depthwise one, in three ways.",
                               .data_help = example::images_help,
                               .data = "/usr/share/datasets/fashion-mnist",
                               .out = "runs/cnn",
                               .seeds = 5},
                              run, example::add_rows);
}
