// Memory of training: what attention holds, and that steps after the first ones ask the system for none.
#include <boost/test/unit_test.hpp>
#include <functional>

#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;

namespace {

constexpr std::int64_t heads = tests::sanitized ? 1 : 8;

/// Checks that steps of training from the tenth on request no memory from the system.
template <class Net>
void check_steps(Net& net, const std::function<Tensor()>& loss) {
  Adam optimizer(net.parameters(), {.lr = 1e-3});
  std::int64_t requests = 0;
  for (int step = 0; step < 20; ++step) {
    if (step == 10) requests = memory_stats().system_requests;
    optimizer.zero_grad();
    loss().backward();
    optimizer.step();
  }
  BOOST_TEST(memory_stats().system_requests == requests);
}

class Cnn : public Module {
 public:
  Tensor operator()(const Tensor& x) {
    const Tensor y = max_pool2d(relu(norm(conv(x))), {.kernel_size = 2});
    return out(flatten(relu(narrow(y)), 1));
  }

  Conv2d conv{3, 16, 3, {.padding = 1}}, narrow{16, 8, 1};
  BatchNorm2d norm{16};
  Linear out{8 * 8 * 8, 10};
  RETORT_MEMBERS(conv, narrow, norm, out)
};

class Classifier : public Module {
 public:
  Tensor operator()(const Tensor& x) { return out(select(layer(x), 1, 0)); }

  TransformerEncoderLayer layer{32, 4, {.dim_feedforward = 64, .activation = "gelu"}};
  Linear out{32, 10};
  RETORT_MEMBERS(layer, out)
};

class Reader : public Module {
 public:
  Tensor operator()(const Tensor& x) { return out(select(lstm(x).output, 1, -1)); }

  LSTM lstm{32, 48, {.num_layers = 2, .bidirectional = true}};
  Linear out{96, 10};
  RETORT_MEMBERS(lstm, out)
};

}  // namespace

BOOST_AUTO_TEST_SUITE(memory_of_training)

BOOST_AUTO_TEST_CASE(steps_after_the_first_ask_the_system_for_nothing) {
  manual_seed(1);
  const Tensor labels = zeros({16}, DType::int64), images = randn({16, 3, 16, 16}),
               sequences = randn({16, 24, 32});
  Cnn cnn;
  check_steps(cnn, [&] { return cross_entropy(cnn(images), labels); });
  Classifier transformer;
  check_steps(transformer, [&] { return cross_entropy(transformer(sequences), labels); });
  Reader reader;
  check_steps(reader, [&] { return cross_entropy(reader(sequences), labels); });
}

BOOST_AUTO_TEST_CASE(long_attention_stays_within_64_megabytes) {
  constexpr std::int64_t array = 4 * heads * 4096 * 64;
  const auto leaf = [] { return randn({1, heads, 4096, 64}).set_requires_grad(); };
  const Tensor q = leaf(), k = leaf(), v = leaf(), g = randn({1, heads, 4096, 64});
  reset_peak_memory();
  const std::int64_t before = memory_stats().in_use;
  scaled_dot_product_attention(q, k, v).backward(g);
  // The result and three gradients are not counted; the scores of one head would have 64 MB.
  BOOST_TEST(memory_stats().peak_in_use - before - 4 * array < std::int64_t{64} << 20);
}

BOOST_AUTO_TEST_SUITE_END()
