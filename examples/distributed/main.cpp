// Distillation on one or several processes: `distributed [FOLDER [EPOCHS]]`, or
// `mpirun -n 4 distributed [FOLDER [EPOCHS]]`. All numbers of processes up to 8 give the same bits. After
// Ctrl-C or a kill, the next start resumes from the last checkpoint in FOLDER, also with another number of
// processes. The data is generated.
#include <cstdio>
#include <exception>
#include <functional>
#include <retort/retort.hpp>
#include <string>

namespace rt = retort;

namespace {

constexpr std::int64_t shards = 8;  // parts of a batch, which the processes share

// Points in 32 dimensions. The class of a point is the nearest of ten centres.
rt::Dataset make_data(std::int64_t rows) {
  const rt::Tensor centres = rt::randn({10, 32}), x = rt::randn({rows, 32});
  return {x, rt::argmax(-rt::cdist(x, centres), 1)};
}

// Trains on all rows but the first 1024, on which the accuracy is measured. `loss` is that of a part.
void train(const rt::RunFolder& run, const std::string& name, rt::Sequential& model, const rt::Dataset& data,
           std::int64_t epochs, const std::function<rt::Tensor(const rt::Batch& part)>& loss) {
  const rt::Dataset test = data.slice(0, 1024);
  rt::DataLoader loader(data.slice(1024, data.size()),
                        {.batch_size = 256,
                         .shuffle = true,
                         .seed = 1,
                         .shards = rt::own_shards(*run.world(), shards)});  // only this process's rows
  rt::AdamW optimizer(model.parameters(), {.lr = 2e-3});
  rt::CosineAnnealingLR schedule(optimizer, {.T_max = epochs * loader.size()});
  rt::Training training(
      run, name, {.module = &model, .optimizer = &optimizer, .schedulers = {&schedule}, .loader = &loader},
      {.epochs = epochs, .shards = shards});
  while (!training.done())
    for (const rt::Batch& batch : loader) training.learn(batch, loss);
  const double accuracy = rt::metrics::accuracy(rt::predict(model, test), test.targets());
  if (run.writes()) std::printf("%s: %.2f %% of the test data are right\n", name.c_str(), 100 * accuracy);
}

void distill(const rt::Communicator& world, const std::string& folder, std::int64_t epochs) {
  rt::manual_seed(0);  // the same on every rank
  const rt::Dataset data = make_data(8192);
  rt::Sequential teacher(rt::Linear(32, 256), rt::GELU(), rt::Linear(256, 10));
  rt::Sequential student(rt::Linear(32, 24), rt::GELU(), rt::Dropout(0.1), rt::Linear(24, 10));
  const rt::RunFolder run(folder, {{"epochs", epochs}, {"shards", shards}}, &world);
  train(run, "teacher", teacher, data, epochs,
        [&](const rt::Batch& part) { return rt::cross_entropy(teacher(part.input), part.target); });
  const rt::DistillationLoss loss({.temperature = 3, .alpha = 0.9});
  train(run, "student", student, data, epochs, [&](const rt::Batch& part) {
    const rt::Tensor soft = rt::no_grad([&] { return teacher(part.input); });
    return loss({.student = student(part.input), .teacher = soft, .labels = part.target});
  });
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const rt::Communicator world(argc, argv);
    try {
      distill(world, argc > 1 ? argv[1] : "distributed_run", argc > 2 ? std::stoll(argv[2]) : 11);
    } catch (const rt::Interrupted& stopped) {  // on every rank
      if (world.rank() == 0) std::puts(stopped.what());
      return 130;
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "distributed: %s\n", error.what());
    return 1;
  }
}
