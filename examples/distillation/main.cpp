// Distillation from start to finish, in about a minute: a large teacher learns Fashion-MNIST from 60,000
// labelled images. A small student then learns from only 1,800 of them, once from the labels and once from
// the teacher's soft answers. Pass another folder of MNIST-like IDX files as the argument to try your own
// data. `mpirun -n 2 distillation` divides the work between two processes and prints the same numbers.
#include <cstdio>
#include <exception>
#include <functional>
#include <retort/retort.hpp>
#include <string>

namespace rt = retort;
using rt::Tensor;

// All networks are MLPs with one hidden layer.
class Mlp : public rt::Module {
 public:
  Mlp(std::int64_t inputs, std::int64_t width, std::int64_t classes, double drop)
      : hidden(inputs, width), dropout(drop), output(width, classes) {}
  Tensor operator()(const Tensor& x) const { return output(dropout(rt::relu(hidden(x)))); }

  rt::Linear hidden;
  rt::Dropout dropout;
  rt::Linear output;
  RETORT_MEMBERS(hidden, dropout, output)
};

struct Recipe {
  std::int64_t epochs = 0;
  double lr = 0;
  double weight_decay = 0;
};

// The loss of one batch, from the network's logits [B, classes].
using Loss = std::function<Tensor(const Tensor& logits, const rt::Batch& batch)>;

void train(const rt::Communicator& world, const char* name, Mlp& model, const rt::Dataset& data,
           const Recipe& recipe, const Loss& loss) {
  rt::AdamW optimizer(model.parameters(), {.lr = recipe.lr, .weight_decay = recipe.weight_decay});
  rt::DataLoader loader(data, {.batch_size = 128, .shuffle = true});
  rt::CosineAnnealingLR schedule(optimizer, {.T_max = recipe.epochs * loader.size()});
  rt::Progress progress(name, {.epochs = recipe.epochs, .steps = loader.size(), .quiet = world.rank() > 0});
  rt::DataParallel parallel(model, world, {.shards = 2});  // each process computes its part of a batch

  model.train();
  for (std::int64_t epoch = 0; epoch < recipe.epochs; ++epoch)
    for (const rt::Batch& batch : loader) {
      optimizer.zero_grad();
      const double value =
          parallel.backward(batch, [&](const rt::Batch& part) { return loss(model(part.input), part); });
      optimizer.step();
      schedule.step();
      progress.step(value);
    }
  model.eval();
}

// Percentage of the images that the model classifies correctly.
double accuracy(const Mlp& model, const rt::Dataset& data) {
  const rt::NoGradGuard no_grad;
  const Tensor predicted = rt::argmax(model(data.inputs()), 1);
  return 100 * rt::mean(rt::equal(predicted, data.targets()).to(rt::DType::float32)).item<double>();
}

int main(int argc, char** argv) try {
  const rt::Communicator world(argc, argv);  // one process, or those started by mpirun
  const std::string folder = argc > 1 ? argv[1] : "/usr/share/datasets/fashion-mnist";
  const auto [training, test] = rt::load_idx_pair(folder);  // images in [0, 1], labels int64
  const std::int64_t pixels = training.inputs().size(1);
  const std::int64_t classes = 1 + rt::max(training.targets()).item<std::int64_t>();
  const rt::Dataset few = training.slice(0, 1800);

  // Hard labels: each image has one right class.
  const rt::CrossEntropyLoss cross_entropy;
  const Loss from_labels = [&](const Tensor& logits, const rt::Batch& batch) {
    return cross_entropy(logits, batch.target);
  };

  rt::manual_seed(0);
  Mlp teacher(pixels, 1200, classes, 0.3);
  train(world, "teacher", teacher, training, {.epochs = 6, .lr = 1e-3, .weight_decay = 0.01}, from_labels);

  // Soft answers: the teacher's probabilities at temperature 2 also show which wrong classes are plausible.
  // With alpha = 1, the labels are not used.
  const rt::DistillationLoss distillation({.temperature = 2, .alpha = 1});
  const Loss from_teacher = [&](const Tensor& logits, const rt::Batch& batch) {
    const Tensor answers = rt::no_grad([&] { return teacher(batch.input); });
    return distillation({.student = logits, .teacher = answers});
  };

  // The same seed gives both students the same initial weights and the same order of images.
  rt::manual_seed(1);
  Mlp alone(pixels, 128, classes, 0.3);
  train(world, "student alone", alone, few, {.epochs = 120, .lr = 4e-3, .weight_decay = 0.1}, from_labels);

  rt::manual_seed(1);
  Mlp distilled(pixels, 128, classes, 0);
  train(world, "student distilled", distilled, few, {.epochs = 120, .lr = 8e-3, .weight_decay = 0.01},
        from_teacher);

  if (world.rank() > 0) return 0;
  std::printf("accuracy on %lld test images\n", static_cast<long long>(test.size()));
  std::printf("  teacher            %6.2f %%\n", accuracy(teacher, test));
  std::printf("  student alone      %6.2f %%\n", accuracy(alone, test));
  std::printf("  student distilled  %6.2f %%\n", accuracy(distilled, test));
} catch (const std::exception& error) {
  std::fprintf(stderr, "distillation: %s\n", error.what());
  return 1;
}
