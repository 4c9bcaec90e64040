// distributed_tests CASE [ARGUMENT...]: one case of check.sh. Rank 0 prints the results that must be equal
// for any number of processes.
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>

#include "models.hpp"

namespace {

namespace rt = retort;
using distributed::Task;

void require(bool condition, const char* what) {
  if (!condition) throw rt::Error(what);
}

// FNV-1a over names and bits.
std::uint64_t hash_of(const rt::StateDict& state) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  const auto add = [&hash](const void* bytes, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      hash = (hash ^ static_cast<const unsigned char*>(bytes)[i]) * 0x100000001b3U;
  };
  for (const auto& [name, tensor] : state) {
    add(name.data(), name.size());
    add(retort::detail::Access::array(tensor).read(), retort::detail::Access::array(tensor).byte_size());
  }
  return hash;
}

rt::StateDict gradients_of(const rt::Module& model) {
  rt::StateDict gradients;
  for (const auto& [name, parameter] : model.named_parameters())
    if (parameter.grad().defined()) gradients[name] = parameter.grad();
  return gradients;
}

Task task_of(const std::string& name) {
  rt::manual_seed(5);
  return name == "mlp" ? distributed::mlp() : name == "cnn" ? distributed::cnn() : distributed::transformer();
}

void collectives(const rt::Communicator& world) {
  const int rank = world.rank(), size = world.size();
  world.barrier();
  const rt::Tensor x = rt::tensor({rank + 1.0, 2.0 * rank, -1.0}).to(rt::DType::float32);
  rt::Tensor sum = world.all_reduce(x.clone());
  require(sum.values<double>() ==
              std::vector<double>{size * (size + 1) / 2.0, 1.0 * size * (size - 1), -1.0 * size},
          "all_reduce: wrong sum");
  require(world.all_reduce(x.clone(), rt::ReduceOp::max).values<double>()[0] == size,
          "all_reduce: wrong maximum");
  require(world.all_reduce(rt::tensor({rank - 3}), rt::ReduceOp::min).item<int>() == -3,
          "all_reduce: wrong minimum");
  const rt::Tensor nan = rt::tensor({rank == size - 1 ? std::nan("") : 1.0});
  for (const auto op : {rt::ReduceOp::sum, rt::ReduceOp::min, rt::ReduceOp::max})
    require(std::isnan(world.all_reduce(nan.clone(), op).item<double>()), "all_reduce: lost a NaN");

  const rt::Tensor all = world.all_gather(rt::tensor({rank, 10 * rank}));
  require(all.shape() == rt::Shape{size, 2} && all.dtype() == rt::DType::int64, "all_gather: wrong shape");
  for (int r = 0; r < size; ++r)
    require(all.values<int>()[static_cast<std::size_t>(2 * r + 1)] == 10 * r, "all_gather: wrong values");
  require(world.all_gather(rt::reshape(rt::tensor({1.0}), {})).shape() == rt::Shape{size},
          "all_gather: shape ()");
  require(world.all_gather(rt::zeros({0, 3})).shape() == rt::Shape{size, 0, 3}, "all_gather: empty");

  for (int root = 0; root < size; ++root) {
    const rt::Tensor t = rt::full({100000}, rank);
    world.broadcast(t, root);
    require(t.values<int>().back() == root, "broadcast: wrong values");
  }
  const auto throws = [](auto f) {
    try {
      f();
    } catch (const rt::Error&) {
      return true;
    }
    return false;
  };
  require(throws([&] { world.broadcast(x, size); }), "broadcast: no error for a wrong rank");
  require(throws([&] { rt::Communicator second(0, nullptr); }), "a second Communicator was made");
  if (size > 1) {
    require(throws([&] { world.all_reduce(rt::zeros({rank == 1 ? 3 : 2})); }), "all_reduce: other shapes");
    require(
        throws([&] { world.broadcast(rt::zeros({2}, rank == 1 ? rt::DType::int64 : rt::DType::float32)); }),
        "broadcast: other types");
  }
  if (rank == 0) std::puts("all collectives are right");
}

// Trains for `steps` in all, from the checkpoint if there is one in `folder`. Rank `killed` dies at step
// `at`.
void train(rt::Communicator& world, const std::string& name, std::int64_t steps,
           const std::string& folder = {}, int killed = -1, std::int64_t at = 0) {
  Task task = task_of(name);
  rt::AdamW optimizer(task.model->parameters(), {.lr = 3e-3});
  rt::StepLR schedule(optimizer, {.step_size = 10, .gamma = 0.5});
  // Buckets so small that tensors span several.
  rt::DataParallel parallel(*task.model, world, {.shards = 8, .bucket_bytes = 2048});
  rt::DataLoaderOptions batches = {.batch_size = 24, .shuffle = true};
  if (world.size() % 2 == 0) batches.shards = parallel.own_shards();  // these load their own rows alone
  rt::DataLoader loader(task.data, batches);
  std::optional<rt::Checkpoint> checkpoint;
  std::int64_t step = 0;
  double sum = 0;
  if (!folder.empty()) {
    checkpoint.emplace(folder, rt::CheckpointParts{.module = task.model.get(),
                                                   .optimizer = &optimizer,
                                                   .schedulers = {&schedule},
                                                   .loader = &loader,
                                                   .world = &world});
    if (const auto loaded = checkpoint->load()) {
      step = loaded->step;
      sum = std::stod(loaded->json);
    }
  }
  rt::InterruptGuard guard;
  while (step < steps)
    for (const rt::Batch& batch : loader) {
      optimizer.zero_grad();
      const double loss = parallel.backward(batch, task.loss);
      optimizer.step();
      schedule.step();
      sum += loss;
      ++step;
      if (world.rank() == killed && step == at) std::raise(folder.ends_with("interrupt") ? SIGTERM : SIGKILL);
      const bool stop = rt::interrupted(world);
      char text[40];
      std::snprintf(text, sizeof text, "%.17g", sum);
      if (checkpoint && (step % 5 == 0 || stop)) checkpoint->save(step, text);
      if (stop) {
        std::printf("rank %d of %d stops after step %d\n", world.rank(), world.size(),
                    static_cast<int>(step));
        return;
      }
      if (step >= steps) break;
    }
  const std::uint64_t weights = hash_of(task.model->state_dict());
  const rt::Tensor all = world.all_gather(rt::tensor({static_cast<std::int64_t>(weights)}));
  for (const std::int64_t each : all.values<std::int64_t>())
    require(each == static_cast<std::int64_t>(weights), "the weights of the ranks differ");
  if (world.rank() == 0)
    std::printf("%s: loss %a, weights %016lx, optimizer %016lx, gradients %016lx\n", name.c_str(), sum,
                static_cast<unsigned long>(weights),
                static_cast<unsigned long>(hash_of(optimizer.state_dict())),
                static_cast<unsigned long>(hash_of(gradients_of(*task.model))));
}

// Trains in a RunFolder that only rank 0 can use. Rank `signalled` gets a signal at step `at`. With `wrong`,
// the last rank makes that mistake.
int training(rt::Communicator& world, const std::string& folder, std::int64_t shards, int signalled = -1,
             std::int64_t at = 0, const std::string& wrong = {}) {
  const bool mistaken = world.rank() == world.size() - 1;
  Task task = task_of("mlp");
  const std::int64_t stated = mistaken && wrong == "settings" ? shards + 1 : shards;
  const rt::RunFolder run(world.rank() == 0 ? folder : "/proc/no folder", {{"shards", stated}}, &world);
  rt::AdamW optimizer(task.model->parameters(), {.lr = mistaken && wrong == "rate" ? 2e-3 : 3e-3});
  rt::StepLR schedule(optimizer, {.step_size = 10, .gamma = 0.5});
  rt::ExponentialMovingAverage average(*task.model, {.decay = 0.9});
  rt::DataLoader loader(task.data, {.batch_size = 24, .shuffle = true, .seed = 2});
  rt::Training training(run, "mlp",
                        {.module = task.model.get(),
                         .optimizer = &optimizer,
                         .schedulers = {&schedule},
                         .loader = &loader,
                         .average = &average},
                        {.epochs = mistaken && wrong == "epochs" ? 3 : 7,
                         .log_every = 2,
                         .checkpoint_every = 0,
                         .clip_grad_norm = 1,
                         .shards = shards,
                         .evaluate = [&]() -> rt::JsonFields {
                           return {{"mean", rt::mean(task.model->parameters()[2]).item<double>()}};
                         }});
  try {
    while (!training.done())
      for (const rt::Batch& batch : loader) {
        if (world.rank() == signalled && training.steps() == at)
          std::raise(folder.ends_with("interrupt") ? SIGTERM : SIGKILL);
        if (mistaken && wrong == "early" && training.steps() == 3) return 0;
        training.learn(batch, [&](const rt::Batch& part) {
          return task.loss(part) * (wrong == "loss" && mistaken ? 2.0 : 1.0);
        });
      }
  } catch (const rt::Interrupted& stopped) {
    std::printf("rank %d of %d: %s\n", world.rank(), world.size(), stopped.what());
    return 130;
  }
  const std::uint64_t weights = hash_of(task.model->state_dict());
  const rt::Tensor all = world.all_gather(rt::tensor({static_cast<std::int64_t>(weights)}));
  for (const std::int64_t each : all.values<std::int64_t>())
    require(each == static_cast<std::int64_t>(weights), "the weights of the ranks differ");
  if (world.rank() == 0)
    std::printf("weights %016lx, %d steps, %d losses in the log\n", static_cast<unsigned long>(weights),
                static_cast<int>(training.steps()),
                static_cast<int>(run.column("mlp", "loss").values.size()));
  return 0;
}

// Two models with the same parameters in another order.
struct Ordered : rt::Module {
  rt::Linear first{4, 4}, second{4, 4};
  RETORT_MEMBERS(first, second)
};
struct Reordered : rt::Module {
  rt::Linear first{4, 4}, second{4, 4};
  RETORT_MEMBERS(second, first)
};

// A single mistake, made on the last rank.
void fail(rt::Communicator& world, const std::string& how) {
  const bool wrong = world.rank() == world.size() - 1;
  rt::manual_seed(how == "values" && wrong ? 6 : 5);
  rt::Sequential model(rt::Linear(4, how == "shape" && wrong ? 6 : 5), rt::ReLU(),
                       rt::Linear(how == "shape" && wrong ? 6 : 5, 3));
  if (how == "order") {
    Ordered ordered;
    Reordered reordered;
    const rt::DataParallel parallel(wrong ? static_cast<rt::Module&>(reordered) : ordered, world);
  }
  if (how == "calls") {
    if (wrong)
      world.broadcast(rt::ones({3}));
    else
      world.all_reduce(rt::ones({3}));
  }
  if (how == "barrier" && wrong) world.all_gather(rt::ones({3}));
  if (how == "return" && wrong) return;
  if (how == "barrier" || how == "return") world.barrier();
  if (how == "start" && wrong) throw rt::Error("no data on this machine");
  if (how == "uncaught" && wrong) std::thread([] { throw rt::Error("a thread has failed"); }).join();
  rt::DataParallel parallel(model, world, {.shards = how == "shards" && wrong ? 4 : 8});
  if (how == "random" && wrong) (void)rt::rand({3});
  if (how == "frozen" && wrong) model.parameters()[0].set_requires_grad(false);
  rt::Batch batch{.input = rt::ones({16, 4}), .target = rt::zeros({16}, rt::DType::int64)};
  if (how == "data" && wrong) batch.input.mutable_data<float>()[7] = 2;
  if (how == "rows" && wrong)
    batch = rt::Batch{.input = rt::ones({7, 4}), .target = rt::zeros({7}, rt::DType::int64)};
  const rt::Tensor foreign = rt::ones({3}).set_requires_grad();
  const auto loss = [&](const rt::Batch& shard) {
    if (how == "exception" && wrong) throw rt::ValueError("this shard cannot be computed");
    rt::Tensor logits = model(shard.input);
    if (how == "foreign" && wrong) logits = logits * foreign;
    return rt::cross_entropy(logits, shard.target);
  };
  if (how == "kept") {  // after an error that all ranks catch, training continues
    try {
      parallel.backward(batch, [&](const rt::Batch& shard) {
        if (wrong) throw rt::ValueError("once");
        return loss(shard);
      });
      require(false, "no error");
    } catch (const rt::Error& error) {
      require(std::strstr(error.what(), "once") != nullptr, "another error");
    }
    for (const rt::Tensor& parameter : model.parameters())
      require(!parameter.grad().defined(), "a gradient is there");
  }
  parallel.backward(batch, loss);
  if (how == "early" && wrong) return;
  if (how == "root") world.broadcast(rt::ones({3}), wrong ? 1 : 0);
  if (how == "checkpoint") {
    if (wrong) model.parameters()[0].mutable_data<float>()[7] += 1e-6F;
    rt::Checkpoint("checkpoints", {.module = &model, .world = &world}).save(1);
  }
  if (how == "step" && wrong) world.all_gather(rt::ones({3}));
  if (how == "new" && wrong) rt::DataParallel second(model, world);
  if (how == "updates")
    for (const rt::Tensor& parameter : model.parameters())
      parameter.mutable_data<float>()[0] -= wrong ? 0.1F : 0.2F;
  parallel.backward(batch, loss);
  world.barrier();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  const auto argument = [&](int i) { return i < argc ? std::string(argv[i]) : std::string(); };
  if (name == "uncaught") {
    rt::Communicator world(argc, argv);
    fail(world, argument(2));
    return 0;
  }
  try {
    rt::Communicator world(argc, argv);
    if (name == "collectives") {
      collectives(world);
    } else if (name == "train") {
      train(world, argument(2), std::atoi(argument(3).c_str()), argument(4),
            argument(5).empty() ? -1 : std::atoi(argument(5).c_str()), std::atoi(argument(6).c_str()));
    } else if (name == "training") {
      return training(world, argument(2), std::atoi(argument(3).c_str()),
                      argument(4).empty() ? -1 : std::atoi(argument(4).c_str()),
                      std::atoi(argument(5).c_str()), argument(6));
    } else {
      fail(world, name);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "distributed_tests: %s\n", error.what());
    return 1;
  }
}
