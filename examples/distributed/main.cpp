// Distillation on one or several processes: `distributed [FOLDER [STEPS]]`, or
// `mpirun -n 4 distributed [FOLDER [STEPS]]`. All numbers of processes up to 8 give the same bits. After
// Ctrl-C or a kill, the next start resumes from the last checkpoint in FOLDER, also with another number of
// processes. The data is generated.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <retort/retort.hpp>
#include <string>

namespace rt = retort;

namespace {

// Points in 32 dimensions. The class of a point is the nearest of ten centres.
rt::Dataset make_data(std::int64_t rows) {
  const rt::Tensor centres = rt::randn({10, 32}), x = rt::randn({rows, 32});
  return {x, rt::argmax(-rt::cdist(x, centres), 1)};
}

int run(rt::Communicator& world, const std::string& folder, std::int64_t steps) {
  rt::manual_seed(0);  // the same on every rank
  const rt::Dataset data = make_data(8192), test = data.slice(0, 1024), training = data.slice(1024, 8192);
  rt::Sequential teacher(rt::Linear(32, 256), rt::GELU(), rt::Linear(256, 10));
  rt::Sequential student(rt::Linear(32, 24), rt::GELU(), rt::Dropout(0.1), rt::Linear(24, 10));
  rt::Sequential* models[] = {&teacher, &student};
  const rt::DistillationLoss distill({.temperature = 3, .alpha = 0.9});

  for (int stage = 0; stage < 2; ++stage) {
    rt::Sequential& model = *models[stage];
    const char* const name = stage == 0 ? "teacher" : "student";
    rt::AdamW optimizer(model.parameters(), {.lr = 2e-3});
    rt::CosineAnnealingLR schedule(optimizer, {.T_max = steps});
    rt::DataParallel parallel(model, world, {.shards = 8});
    rt::DataLoader loader(training, {.batch_size = 256,
                                     .shuffle = true,
                                     .seed = 1,
                                     .shards = parallel.own_shards()});  // only this process's rows
    rt::Checkpoint checkpoint(folder + "/" + name, {.module = &model,
                                                    .optimizer = &optimizer,
                                                    .schedulers = {&schedule},
                                                    .loader = &loader,
                                                    .world = &world});
    std::int64_t step = 0, log_size = 0;
    if (const auto loaded = checkpoint.load()) {
      step = loaded->step;
      log_size = std::stoll(loaded->json);
    }
    std::optional<rt::JsonLines> log;  // written by rank 0
    if (world.rank() == 0) log.emplace(folder + "/" + name + ".jsonl", log_size);

    const auto loss_of = [&](const rt::Batch& shard) {
      const rt::Tensor logits = model(shard.input);
      if (stage == 0) return rt::cross_entropy(logits, shard.target);
      const rt::Tensor soft = rt::no_grad([&] { return teacher(shard.input); });
      return distill({.student = logits, .teacher = soft, .labels = shard.target});
    };
    const rt::InterruptGuard guard;
    while (step < steps)
      for (const rt::Batch& batch : loader) {
        optimizer.zero_grad();
        const double loss = parallel.backward(batch, loss_of);
        optimizer.step();
        schedule.step();
        ++step;
        if (log) log->write({{"step", step}, {"loss", loss}});
        const bool stop = rt::interrupted(world);  // the same value on every rank
        if (stop || step == steps || step % 50 == 0)
          checkpoint.save(step, std::to_string(log ? log->flush() : 0));
        if (stop) {
          if (world.rank() == 0) std::puts("stopped; start the program again to continue");
          return 130;
        }
        if (step == steps) break;
      }
    model.eval();
    const double accuracy = rt::metrics::accuracy(rt::predict(model, test), test.targets());
    if (world.rank() == 0) std::printf("%s: %.2f %% of the test data are right\n", name, 100 * accuracy);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    rt::Communicator world(argc, argv);
    const std::string folder = argc > 1 ? argv[1] : "distributed_run";
    if (world.rank() == 0) std::filesystem::create_directories(folder);
    world.barrier();
    return run(world, folder, argc > 2 ? std::stoll(argv[2]) : 300);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "distributed: %s\n", error.what());
    return 1;
  }
}
