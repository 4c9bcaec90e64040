// Networks of PyTorch: weights load by name, give PyTorch's outputs and gradients, and are saved as they
// were.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "files.hpp"
#include "retort/retort.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

// Written by data/make_networks.py.
const std::string file =
    (std::filesystem::path(__FILE__).parent_path() / "data/networks.safetensors").string();

/// Equal up to 1e-5 of the largest value. (The gradient of a bias before a batch norm is 0 up to rounding.)
void check_close(const Tensor& value, const Tensor& expected, const std::string& name) {
  BOOST_REQUIRE(value.defined());
  BOOST_TEST(value.shape() == expected.shape(), name);
  const std::vector<double> a = value.values<double>(), b = expected.values<double>();
  double largest = 0, error = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(b[i]));
    error = std::max(error, std::abs(a[i] - b[i]));
  }
  BOOST_TEST(error <= 1e-5 * largest + 1e-6, name << " differs by " << error << " of " << largest);
}

/// `call` returns the output of the module.
void check_network(const std::string& name, Module& module,
                   const std::function<Tensor(const Tensor&)>& call) {
  const StateDict all = load_safetensors(file);
  const LoadReport report = load(module, file, {.strict = false, .strip_prefix = name + ".state."});
  BOOST_TEST(report.missing.empty());

  const Tensor x = all.at(name + ".input").clone().set_requires_grad();
  const Tensor y = call(x);
  check_close(y, all.at(name + ".output"), name + ".output");
  const Tensor weights =
      cos(reshape(arange(y.size(), DType::float32), y.shape()) / static_cast<double>(y.size()));
  sum(y * weights).backward();
  check_close(x.grad(), all.at(name + ".input_grad"), name + ".input_grad");
  std::size_t parameters = 0, entries = 0;
  for (const auto& [key, parameter] : module.named_parameters()) {
    check_close(parameter.grad(), all.at(name + ".grad." + key), name + ".grad." + key);
    ++parameters;
  }
  for (const auto& [key, value] : module.state_dict())
    if (const std::string after = name + ".after." + key; all.contains(after))
      check_close(value, all.at(after), after);

  // Back into a file: the same names and bits.
  load(module, file, {.strict = false, .strip_prefix = name + ".state."});
  const TemporaryFolder folder;
  save(module, folder / "m.safetensors");
  const StateDict saved = load_safetensors(folder / "m.safetensors");
  for (const auto& [key, expected] : all) {
    if (key.starts_with(name + ".grad.")) --parameters;
    if (!key.starts_with(name + ".state.")) continue;
    ++entries;
    const Tensor& value = saved.at(key.substr(name.size() + 7));
    BOOST_TEST((value.dtype() == expected.dtype()), key);
    BOOST_TEST(value.shape() == expected.shape());
    BOOST_TEST(value.values<double>() == expected.values<double>(), boost::test_tools::per_element());
  }
  BOOST_TEST(saved.size() == entries);
  BOOST_TEST(parameters == 0U);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(networks_of_pytorch)

BOOST_AUTO_TEST_CASE(convolutions_with_batch_norm) {
  Sequential cnn(Conv2d(2, 4, 3, {.padding = 1}), BatchNorm2d(4), ReLU(), MaxPool2d(2),
                 Conv2d(4, 4, 3, {.stride = 2, .bias = false}), BatchNorm2d(4), ReLU(), Flatten(),
                 Linear(4, 3));
  check_network("cnn", cnn, [&](const Tensor& x) { return cnn(x); });
}

BOOST_AUTO_TEST_CASE(recurrent_networks_of_two_layers_and_directions) {
  LSTM lstm(3, 4, {.num_layers = 2, .bidirectional = true});
  check_network("lstm", lstm, [&](const Tensor& x) { return lstm(x).output; });
  GRU gru(3, 4, {.num_layers = 2, .bidirectional = true});
  check_network("gru", gru, [&](const Tensor& x) { return gru(x).output; });
}

BOOST_AUTO_TEST_CASE(encoder_layers) {
  TransformerEncoderLayer post(8, 2, {.dim_feedforward = 12, .dropout = 0});
  check_network("post_norm", post, [&](const Tensor& x) { return post(x); });
  TransformerEncoderLayer pre(
      8, 2, {.dim_feedforward = 12, .dropout = 0, .activation = "gelu", .norm_first = true});
  check_network("pre_norm", pre, [&](const Tensor& x) { return pre(x); });
}

BOOST_AUTO_TEST_SUITE_END()
