// A user's program: a small student learns from a teacher on data made here, is saved and loaded again.
#include <cstdio>
#include <iostream>
#include <retort/retort.hpp>

#include "divergence.hpp"

namespace rt = retort;

class Mlp : public rt::Module {
 public:
  Mlp(std::int64_t in, std::int64_t width, std::int64_t classes) : hidden(in, width), out(width, classes) {}
  rt::Tensor operator()(const rt::Tensor& x) { return out(rt::relu(hidden(x))); }

  rt::Linear hidden, out;
  RETORT_MEMBERS(hidden, out)
};

int main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1] : "student.safetensors";
  try {
    const rt::Communicator world(argc, argv);  // links MPI, where the library has it
    rt::manual_seed(0);
    Mlp teacher(8, 16, 3), student(8, 8, 3);
    const rt::Tensor inputs = rt::randn({256, 8});
    const rt::Tensor labels = rt::no_grad([&] { return rt::argmax(teacher(inputs), 1); });
    const rt::Tensor target = rt::no_grad([&] { return rt::softmax(teacher(inputs), 1); });
    const auto distance = [&](Mlp& model) {
      return rt::no_grad([&] { return divergence(rt::log_softmax(model(inputs), 1), target); });
    };

    rt::Dataset data(inputs, labels);
    rt::DataLoader loader(data, {.batch_size = 32, .shuffle = true});
    rt::DistillationLoss distill({.temperature = 2, .alpha = 0.9});
    rt::SGD optimizer(student.parameters(), {.lr = 0.1, .momentum = 0.9});
    const double before = distance(student);
    for (int epoch = 0; epoch < 20; ++epoch) {
      for (const rt::Batch& batch : loader) {
        const rt::Tensor logits = rt::no_grad([&] { return teacher(batch.input); });
        const rt::Tensor loss =
            distill({.student = student(batch.input), .teacher = logits, .labels = batch.target});
        optimizer.zero_grad();
        loss.backward();
        optimizer.step();
      }
    }
    const double after = distance(student);

    try {
      (void)rt::add(rt::ones({2}), rt::ones({3}));
      return 1;
    } catch (const rt::ShapeError&) {  // its type must be known on both sides of a shared library
    }

    rt::save(student, path);
    Mlp restored(8, 8, 3);
    rt::load(restored, path);
    std::cout << "divergence " << before << " -> " << after << ", restored " << distance(restored) << '\n';
    return after < before / 2 && distance(restored) == after ? 0 : 1;
  } catch (const rt::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
