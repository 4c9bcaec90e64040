// Compares the divergences of the distillation loss on Fashion-MNIST. Each loss is tuned with the same budget
// on held-out training images: nine settings with three seeds each. The best setting is then trained with
// other seeds and evaluated on the test images. All losses share the teacher, seeds, images and initial
// weights.
#include <atomic>
#include <future>
#include <mutex>

#include "common/images.hpp"

namespace rt = retort;
using example::Options;
using rt::Divergence;
using Table = std::vector<std::vector<std::string>>;

/// One way of training a network. With alpha = 0 the loss is the cross-entropy with the labels.
struct Way {
  std::string name;
  rt::DistillationLossOptions loss = {};
  double lr = 0, weight_decay = 0.01, dropout = 0;
};
struct Student {
  Way way;
  std::int64_t seed = 0;
  std::vector<double> metrics = {};
};

constexpr std::int64_t teacher_width = 1200, teacher_epochs = 12, student_width = 128, student_images = 1800,
                       student_epochs = 120, tuning_seeds = 3, first_tuning_seed = 1000;
const std::vector<double> rates = {0.004, 0.008, 0.016}, temperatures = {2, 4, 8}, alphas = {0.8, 0.5, 0.2};
const std::vector<std::string> metrics = {"accuracy, %", "NLL", "calibration error, %"};
const Way teacher_way = {.name = "teacher", .loss = {.alpha = 0}, .lr = 1e-3, .dropout = 0.3};
// The recipe of 48 that `distill --select` chose for the student alone.
const Way alone = {.name = "alone", .loss = {.alpha = 0}, .lr = 4e-3, .weight_decay = 0.1, .dropout = 0.3};

/// The settings that are tried, nine of each loss: learning rates, and temperatures or, for logit_mse, which
/// has none, weights of the teacher.
std::vector<Way> settings() {
  std::vector<Way> losses = {{"forward_kl"}, {"forward_kl_standardized", {.standardize = true}}}, ways;
  for (int i = 1; i <= static_cast<int>(Divergence::logit_mse); ++i)
    losses.push_back({std::string(rt::name(Divergence(i))), {.divergence = Divergence(i)}});
  for (const Way& loss : losses)
    for (std::size_t i = 0; i < temperatures.size(); ++i)
      for (const double lr : rates) {
        Way& way = ways.emplace_back(loss);
        const bool mse = loss.loss.divergence == Divergence::logit_mse;
        (mse ? way.loss.alpha : way.loss.temperature) = (mse ? alphas : temperatures)[i];
        way.lr = lr;
      }
  return ways;
}

/// Trains a network with one or two hidden layers. A student learns from images drawn by its seed.
rt::Sequential trained(const rt::RunFolder& run, const Student& student, rt::Dataset data, bool teacher,
                       const Options& options) {
  const Way& way = student.way;
  const auto seed = static_cast<std::uint64_t>(student.seed);
  const std::int64_t width = teacher ? teacher_width : student_width, classes = example::class_count(data);
  std::int64_t epochs = teacher ? teacher_epochs : student_epochs;
  if (options.rows > 0) epochs = 1;
  rt::Generator generator(seed);
  const rt::GeneratorGuard guard(generator);
  rt::Sequential model(rt::Linear(data.inputs().size(1), width), rt::ReLU(), rt::Dropout(way.dropout));
  if (teacher) {
    model.append(rt::Linear(width, width));
    model.append(rt::ReLU());
    model.append(rt::Dropout(way.dropout));
  }
  model.append(rt::Linear(width, classes));
  if (!teacher) {
    rt::Generator draws(seed + (std::uint64_t{1} << 32));
    std::vector<std::int64_t> rows = rt::random_permutation(data.size(), draws);
    rows.resize(std::min(student_images, data.size()));
    data = data.subset(rows);
  }
  rt::AdamW optimizer(model.parameters(), {.lr = way.lr, .weight_decay = way.weight_decay});
  rt::DataLoader loader(data, {.batch_size = 128, .shuffle = true, .seed = seed});
  rt::CosineAnnealingLR schedule(optimizer, {.T_max = epochs * loader.size()});
  const rt::DistillationLoss loss(way.loss);
  const std::string name =
      rt::message("{}-T{}-a{}-lr{}-{}", way.name, way.loss.temperature, way.loss.alpha, way.lr, seed);
  rt::Training training(
      run, name, {.module = &model, .optimizer = &optimizer, .schedulers = {&schedule}, .loader = &loader},
      options.training(epochs, 0, loader.size()));
  while (!training.done())
    for (const rt::Batch& batch : loader)
      training.learn(loss({.student = model(batch.input),
                           .teacher = way.loss.alpha > 0 ? batch["teacher"] : rt::Tensor(),
                           .labels = batch.target}));
  return model;
}

/// Calls f(i) for 0 … count-1 on one thread per processor. After an exception no more calls begin; it is
/// thrown again once all threads have ended.
void for_each_in_parallel(std::int64_t count, const std::function<void(std::int64_t)>& f) {
  const int processors = rt::get_num_threads();
  rt::set_num_threads(1);  // a small network gains nothing from a second thread
  std::atomic<std::int64_t> next{0};
  std::vector<std::future<void>> threads;
  for (int i = 0; i < processors; ++i)
    threads.push_back(std::async(std::launch::async, [&] {
      try {
        for (std::int64_t k; (k = next++) < count;) f(k);
      } catch (...) {
        next = count;
        throw;
      }
    }));
  for (std::future<void>& thread : threads) thread.get();
  rt::set_num_threads(processors);
}

void run(const Options& options) {
  if (options.world->size() > 1 || options.shards > 0)
    throw rt::ValueError(
        "divergences: the students train in threads of one process; start it without mpirun and --shards");
  const auto [images, test] = example::load_images(options);
  const rt::RunFolder run(options.out, {{"data", options.data},
                                        {"rows", options.rows},
                                        {"seeds", options.seeds},
                                        {"tuning_seeds", tuning_seeds},
                                        {"teacher_epochs", teacher_epochs},
                                        {"student_images", student_images},
                                        {"student_epochs", student_epochs},
                                        {"learning_rates", example::listed(rates)},
                                        {"temperatures", example::listed(temperatures)},
                                        {"alphas", example::listed(alphas)}});
  // No network trains on the held-out images.
  const std::int64_t held_out = images.size() / 12;
  const rt::Dataset tuning = images.slice(0, held_out), training = images.slice(held_out, images.size());
  rt::Sequential teacher = trained(run, {teacher_way}, training, true, options);
  const rt::Dataset transfer = example::with_answers(teacher, training);
  const auto judged = [&](const auto& model, const rt::Dataset& data) -> std::vector<double> {
    const rt::Tensor logits = rt::predict(model, data);
    return {100 * rt::metrics::accuracy(logits, data.targets()), rt::metrics::nll(logits, data.targets()),
            100 * rt::metrics::ece(logits, data.targets())};
  };
  Options silent = options;  // of the students, which are trained side by side
  silent.quiet = true;
  const auto teach = [&](const char* title, std::vector<Student>& students, const rt::Dataset& data) {
    rt::Progress progress(title, {.steps = std::ssize(students), .quiet = options.quiet});
    std::mutex mutex;
    for_each_in_parallel(std::ssize(students), [&](std::int64_t i) {
      Student& student = students[i];
      student.metrics = judged(trained(run, student, transfer, false, silent), data);
      const std::scoped_lock lock(mutex);
      progress.step(student.metrics[1]);
    });
  };

  std::vector<Student> tried, tested;
  for (const Way& way : settings())
    for (std::int64_t i = 0; i < tuning_seeds; ++i) tried.push_back({way, first_tuning_seed + i});
  teach("tuning", tried, tuning);
  // The best setting of each loss: highest mean accuracy, then lowest mean NLL.
  struct Choice {
    Way way;
    double accuracy, nll;
  };
  std::vector<Choice> best = {{alone, 0, 0}};
  for (auto at = tried.begin(); at != tried.end(); at += tuning_seeds) {
    Choice choice{at->way, 0, 0};
    for (auto student = at; student != at + tuning_seeds; ++student) {
      choice.accuracy += student->metrics[0] / tuning_seeds;
      choice.nll += student->metrics[1] / tuning_seeds;
    }
    if (best.back().way.name != at->way.name)
      best.push_back(choice);
    else if (std::pair(choice.accuracy, -choice.nll) > std::pair(best.back().accuracy, -best.back().nll))
      best.back() = choice;
  }
  for (const Choice& choice : best)
    for (std::int64_t seed = 1; seed <= options.seeds; ++seed) tested.push_back({choice.way, seed});
  teach("test", tested, test);

  example::Results results(metrics, run);
  results.add("teacher", judged(teacher, test));
  for (const Student& student : tested) results.add(student.way.name, student.metrics);
  const auto mean = [&](const std::string& way, std::size_t metric, int digits) {
    return rt::fixed(rt::summarise(results.values(way, metric)).mean, digits);
  };
  Table table = {{"loss", "T", "alpha", "learning rate", "tuning: accuracy, %", "test: accuracy, %",
                  "minus alone [95 %]", "minus forward KL [95 %]", "NLL", "calibration error, %"}};
  for (const auto& [way, accuracy, nll] : best) {
    const std::string& name = way.name;
    const std::vector<double>& values = results.values(name);
    const bool soft = name != "alone", tempered = way.loss.divergence != Divergence::logit_mse;
    table.push_back(
        {name, soft && tempered ? rt::message("{}", way.loss.temperature) : "",
         soft ? rt::message("{}", way.loss.alpha) : "", rt::message("{}", way.lr),
         soft ? rt::fixed(accuracy, 2) : "", mean(name, 0, 2),
         soft ? rt::gain_text(results.values("alone"), values, 2) : "",
         soft && name != "forward_kl" ? rt::gain_text(results.values("forward_kl"), values, 2) : "",
         mean(name, 1, 3), mean(name, 2, 2)});
  }
  std::printf("%s\n", rt::text_table(table).c_str());
  const std::string about = rt::message(
      "The teacher's test accuracy is {} %. Means over {} seeds; differences within a seed with their 95 % "
      "interval, in percentage points.",
      mean("teacher", 0, 2), options.seeds);
  rt::Report report("Divergences of the distillation loss", about);
  report.section("Result").table(table);
  for (const Choice& choice : best)
    if (choice.way.name != "alone")
      report.differences(choice.way.name + " minus alone", "percentage points",
                         rt::paired_differences(results.values("alone"), results.values(choice.way.name)));
  example::write_report(report, run);
}

int main(int argc, char** argv) {
  return example::run_program(argc, argv, "divergences",
                              {.about = "Compares the divergences of the distillation loss.",
                               .data_help = example::images_help,
                               .data = "/usr/share/datasets/fashion-mnist",
                               .out = "runs/divergences",
                               .seeds = 20},
                              run, example::add_rows);
}
