// Networks, training and bias correction of the experiment.
#pragma once

#include <functional>
#include <retort/retort.hpp>
#include <string>
#include <utility>
#include <vector>

namespace hinton {

using retort::Tensor;

struct Options {
  std::string data = "/usr/share/datasets/fashion-mnist", out = "runs/hinton_2015";
  bool quick = false;
  std::int64_t seeds = 3, rows = 0, teacher_epochs = 100, student_epochs = 40, grid_epochs = 10;
  std::vector<std::int64_t> widths = {30, 100, 300, 800};
  std::vector<double> temperatures = {1, 2.5, 4, 8, 20};
  double checkpoint_every = 15;
};

/// Two hidden layers of one width. The large network drops 20 % of the pixels and half of the hidden units.
class Mlp : public retort::Module {
 public:
  Mlp(std::int64_t pixels, std::int64_t width, std::int64_t classes, bool regularised)
      : drop_pixels(regularised ? 0.2 : 0),
        drop_units(regularised ? 0.5 : 0),
        first(pixels, width),
        second(width, width),
        last(width, classes) {}
  Tensor operator()(const Tensor& x) const {
    const Tensor hidden = drop_units(retort::relu(first(drop_pixels(x))));
    return last(drop_units(retort::relu(second(hidden))));
  }

  retort::Dropout drop_pixels, drop_units;
  retort::Linear first, second, last;
  RETORT_MEMBERS(drop_pixels, drop_units, first, second, last)
};

struct Recipe {
  std::int64_t epochs = 1;
  double lr = 0.05;  ///< the highest; it rises in the first tenth of the steps and then falls to 0
  bool adam = false;
  double max_norm = 0;      ///< of the weights that go into a hidden unit; 0: unlimited
  std::int64_t jitter = 0;  ///< pixels by which images are moved at most
  std::uint64_t seed = 0;
};
using Loss = std::function<Tensor(const Tensor& logits, const retort::Batch& batch)>;

/// Trains with Nesterov's momentum, or with Adam, which suits the dropout of the large network. The run's
/// files are named after `name`.
void train(const retort::RunFolder& run, const std::string& name, Mlp& model, const retort::Dataset& data,
           const Recipe& recipe, const Loss& loss, const Options& options);

/// The rows whose label is among the classes, or is not.
retort::Dataset with_classes(const retort::Dataset& data, const std::vector<std::int64_t>& classes,
                             bool among);

/// The number of wrong answers, of all test images or of those of the given classes.
std::int64_t errors(const Tensor& logits, const Tensor& labels,
                    const std::vector<std::int64_t>& classes = {});

/// `logits` with b added for these classes.
Tensor with_bias(const Tensor& logits, const std::vector<std::int64_t>& classes, double b);
/// The b with the fewest test errors, as in the paper: it is chosen with the test labels.
double bias_by_test_errors(const Tensor& logits, const Tensor& labels,
                           const std::vector<std::int64_t>& classes);
/// The b at which these classes get, on average over the test images, the probability that is their share of
/// the training labels. No test label is used.
double bias_by_mass(const Tensor& logits, const Tensor& training_labels,
                    const std::vector<std::int64_t>& classes);

}  // namespace hinton
