// What a step on several processes costs. `mpirun -n N distributed_bench [mlp|cnn] [batch] [steps] [shards]`
// measures, and rank 0 prints time per step, what was exchanged, how long ranks waited, and what the model of
// docs/guides/distributed.md predicts for more ranks.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <retort/retort.hpp>
#include <string>
#include <vector>

namespace {

namespace rt = retort;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The shortest of some calls, which other work on the machine disturbs least.
double shortest(int calls, const std::function<void()>& f) {
  double best = 1e300;
  for (int i = 0; i < calls; ++i) {
    const double begin = seconds();
    f();
    best = std::min(best, seconds() - begin);
  }
  return best;
}

double slowest_rank(const rt::Communicator& world, double value) {
  return world.all_reduce(rt::tensor({value}), rt::ReduceOp::max).item<double>();
}

struct Network {
  double latency = 0;    // of one message, in seconds
  double bandwidth = 0;  // in bytes per second
};

// From sums over two sizes of tensors: each has ceil(log2 P) messages up and as many down, one after the
// other.
Network measure(const rt::Communicator& world) {
  const double hops = 2 * std::ceil(std::log2(world.size()));
  const rt::Tensor large = rt::zeros({1 << 20});
  // A barrier is ceil(log2 P) messages deep.
  const double barrier = shortest(300, [&] { world.barrier(); });
  const double sum = shortest(30, [&] { world.all_reduce(large); });
  return {2 * barrier / hops, hops * 4 * (1 << 20) / std::max(1e-9, sum - barrier)};
}

struct Model {
  double compute = 0;  // of a whole batch on one process
  double shards = 0;   // of a batch
  double bytes = 0;    // of all gradients
  double bucket_bytes = 0;
};

double predict(const Model& model, const Network& network, int ranks) {
  const double shards = std::max<double>(model.shards, ranks), own = std::ceil(shards / ranks);
  if (ranks == 1) return model.compute;
  const double shard = model.compute / shards, depth = std::ceil(std::log2(ranks));
  const double volume = 2 * model.bytes * (ranks - 1) / ranks / network.bandwidth;
  const double bucket = std::min(model.bytes, model.bucket_bytes);
  return own * shard + std::max(0.0, volume - shard * 2 / 3) +
         2 * depth * (network.latency + bucket / network.bandwidth);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    rt::Communicator world(argc, argv);
    const std::string name = argc > 1 ? argv[1] : "mlp";
    const std::int64_t batch_size = argc > 2 ? std::atoi(argv[2]) : 256;
    const int steps = argc > 3 ? std::atoi(argv[3]) : 30;
    rt::set_num_threads(1);
    rt::manual_seed(1);
    std::unique_ptr<rt::Sequential> model;
    rt::Tensor input;
    if (name == "mlp") {
      model = std::make_unique<rt::Sequential>(rt::Linear(784, 1200), rt::ReLU(), rt::Linear(1200, 1200),
                                               rt::ReLU(), rt::Linear(1200, 10));
      input = rt::randn({batch_size, 784});
    } else if (name == "cnn") {
      model = std::make_unique<rt::Sequential>(rt::Conv2d(1, 32, 3, {.padding = 1}), rt::ReLU(),
                                               rt::MaxPool2d(2), rt::Conv2d(32, 64, 3, {.padding = 1}),
                                               rt::ReLU(), rt::MaxPool2d(2), rt::Flatten(),
                                               rt::Linear(64 * 7 * 7, 128), rt::ReLU(), rt::Linear(128, 10));
      input = rt::randn({batch_size, 1, 28, 28});
    } else {
      throw rt::ValueError("distributed_bench: the models are mlp and cnn");
    }
    const rt::Batch batch{.input = input, .target = rt::zeros({batch_size}, rt::DType::int64)};
    rt::SGD optimizer(model->parameters(), {.lr = 1e-3});
    const rt::DataParallelOptions options{.shards = argc > 4 ? std::atoi(argv[4]) : 8};
    rt::DataParallel parallel(*model, world, options);
    const auto step = [&] {
      optimizer.zero_grad();
      parallel.backward(batch, [&](const rt::Batch& shard) {
        return rt::cross_entropy((*model)(shard.input), shard.target);
      });
      optimizer.step();
    };
    for (int i = 0; i < 3; ++i) step();
    world.barrier();
    const rt::DataParallelStatistics before = parallel.statistics();
    const double best = slowest_rank(world, shortest(steps, step));
    const rt::DataParallelStatistics after = parallel.statistics();
    // The work of a whole batch in one piece, without an exchange.
    const double plain = slowest_rank(world, shortest(std::max(3, steps / 4), [&] {
                                        optimizer.zero_grad();
                                        rt::cross_entropy((*model)(batch.input), batch.target).backward();
                                        optimizer.step();
                                      }));
    const double count = static_cast<double>(after.steps - before.steps);
    const double waiting = slowest_rank(world, (after.seconds_waiting - before.seconds_waiting) / count);
    double bytes = 0;
    for (const rt::Tensor& parameter : model->parameters())
      bytes += 4.0 * static_cast<double>(parameter.size());
    const Network network = world.size() > 1 ? measure(world) : Network{};
    if (world.rank() != 0) return 0;
    std::printf("%s, batch %d in %d shards, %d ranks of 1 thread, %.1f MB of gradients\n", name.c_str(),
                static_cast<int>(batch_size), static_cast<int>(options.shards), world.size(), bytes / 1e6);
    std::printf("  step %.2f ms, in one piece on one rank %.2f ms\n", best * 1e3, plain * 1e3);
    if (world.size() == 1) return 0;
    std::printf(
        "  rank 0 per step: %.1f messages, %.2f MB sent, %.2f MB of complete sums; waiting %.2f ms on average\n",
        static_cast<double>(after.messages - before.messages) / count,
        static_cast<double>(after.bytes_sent - before.bytes_sent) / count / 1e6,
        static_cast<double>(after.bytes_broadcast - before.bytes_broadcast) / count / 1e6, waiting * 1e3);
    std::printf("  message %.1f us, %.2f GB/s\n", network.latency * 1e6, network.bandwidth / 1e9);
    const Model costs{plain, static_cast<double>(options.shards), bytes,
                      static_cast<double>(options.bucket_bytes)};
    for (const int ranks : {1, world.size(), 16, 128, 1024})
      std::printf("  predicted for %4d ranks: %8.3f ms\n", ranks, predict(costs, network, ranks) * 1e3);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "distributed_bench: %s\n", error.what());
    return 1;
  }
}
