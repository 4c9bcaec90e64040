// The cost of a step on several processes. `mpirun -n N distributed_bench [mlp|cnn] [batch] [steps] [shards]
// [threads]` measures, and rank 0 prints the time per step, the volume exchanged, the waiting time, and the
// prediction of docs/guides/distributed.md for more ranks.
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
  double copying = 0;    // of memory by one rank while all copy, in bytes per second
};

// From sums over two sizes of tensors: each has ceil(log2 P) messages up and as many down, one after the
// other.
Network measure(const rt::Communicator& world) {
  const double hops = 2 * std::ceil(std::log2(world.size()));
  const rt::Tensor large = rt::zeros({1 << 20});
  // A barrier is ceil(log2 P) messages deep.
  const double barrier = shortest(300, [&] { world.barrier(); });
  const double sum = shortest(30, [&] { world.all_reduce(large); });
  world.barrier();
  const double copy = slowest_rank(world, shortest(30, [&] { (void)large.clone(); }));
  return {2 * barrier / hops, hops * 4 * (1 << 20) / std::max(1e-9, sum - barrier), 4 * (1 << 20) / copy};
}

struct Model {
  double local = 0;  // a rank's own shards and the optimiser's step, without an exchange
  double shard = 0;  // one of these shards
  double bytes = 0;  // all gradients
  double bucket = 0;
};

// A step on that many ranks, each of which computes as many rows as here.
double predict(const Model& model, const Network& network, int ranks) {
  const double share = 1.0 * (ranks - 1) / ranks, depth = std::ceil(std::log2(ranks));
  const double copies = (2 + 1.5 * share) * model.bytes / network.copying;  // pack, unpack, add
  const double transfer = 2 * share * model.bytes / network.bandwidth;
  const double filling =
      2 * depth * (network.latency + std::min(model.bytes, model.bucket) / network.bandwidth);
  return model.local + copies + std::max(0.0, transfer - model.shard * 2 / 3) + filling;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    rt::Communicator world(argc, argv);
    const std::string name = argc > 1 ? argv[1] : "mlp";
    const std::int64_t batch_size = argc > 2 ? std::atoi(argv[2]) : 256;
    const int steps = argc > 3 ? std::atoi(argv[3]) : 30;
    rt::set_num_threads(argc > 5 ? std::atoi(argv[5]) : 1);
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
    // The same work without an exchange: gradients accumulate.
    const std::int64_t own = (options.shards + world.size() - 1) / world.size();
    const rt::Dataset rows = rt::Dataset(batch.input, batch.target).slice(0, batch_size / options.shards);
    const auto shard = [&] { rt::cross_entropy((*model)(rows.inputs()), rows.targets()).backward(); };
    world.barrier();
    const double local = slowest_rank(world, shortest(steps, [&] {
                                        optimizer.zero_grad();
                                        for (std::int64_t i = 0; i < own; ++i) shard();
                                        optimizer.step();
                                      }));
    const double one = slowest_rank(world, shortest(steps, shard));
    const double count = static_cast<double>(after.steps - before.steps);
    const double waiting = slowest_rank(world, (after.seconds_waiting - before.seconds_waiting) / count);
    double bytes = 0;
    for (const rt::Tensor& parameter : model->parameters())
      bytes += 4.0 * static_cast<double>(parameter.size());
    const Network network = world.size() > 1 ? measure(world) : Network{};
    if (world.rank() != 0) return 0;
    std::printf("%s, batch %d in %d shards, %d ranks of %d threads, %.1f MB of gradients\n", name.c_str(),
                static_cast<int>(batch_size), static_cast<int>(options.shards), world.size(),
                rt::get_num_threads(), bytes / 1e6);
    std::printf("  step %.2f ms, its own shards and the optimiser alone %.2f ms\n", best * 1e3, local * 1e3);
    if (world.size() == 1) return 0;
    std::printf(
        "  rank 0 per step: %.1f messages, %.2f MB sent, %.2f MB of complete sums; "
        "waiting %.2f ms on average\n",
        static_cast<double>(after.messages - before.messages) / count,
        static_cast<double>(after.bytes_sent - before.bytes_sent) / count / 1e6,
        static_cast<double>(after.bytes_broadcast - before.bytes_broadcast) / count / 1e6, waiting * 1e3);
    std::printf("  message %.1f us, %.2f GB/s; copying %.2f GB/s\n", network.latency * 1e6,
                network.bandwidth / 1e9, network.copying / 1e9);
    const Model costs{local, one, bytes, static_cast<double>(options.bucket_bytes)};
    for (const int ranks : {world.size(), 16, 128, 1024}) {
      const double time = predict(costs, network, ranks);
      std::printf("  predicted for %4d ranks: %8.2f ms, %3.0f %% of it on its own shards\n", ranks,
                  time * 1e3, 100 * local / time);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "distributed_bench: %s\n", error.what());
    return 1;
  }
}
