// The same seed gives the same bits for any number of threads, and several threads may share a frozen module.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;

namespace {

class Mlp : public Module {
 public:
  Mlp(std::int64_t in, std::int64_t width, std::int64_t classes)
      : first(in, width), second(width, width), out(width, classes), drop(0.2) {}
  Tensor operator()(const Tensor& x) { return out(drop(relu(second(relu(first(x)))))); }

  Linear first, second, out;
  Dropout drop;
  RETORT_MEMBERS(first, second, out, drop)
};

class ThreadCount {
 public:
  explicit ThreadCount(int threads) : before_(get_num_threads()) { set_num_threads(threads); }
  ~ThreadCount() { set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

/// All parameters after some steps of training, as bits.
std::vector<std::vector<float>> trained(int threads, bool fused) {
  const ThreadCount scope(threads);
  manual_seed(3);
  const Tensor inputs = randn({2000, 300}), soft = softmax(randn({2000, 40}) * 3.0, 1),
               labels = argmax(soft, 1);
  const Tensor logits = log(soft);
  Mlp model(300, 200, 40);
  SGD optimizer(model.parameters(), {.lr = 0.05, .momentum = 0.9, .weight_decay = 1e-4});
  DataLoader loader(Dataset(inputs, labels), {.batch_size = 400, .shuffle = true});
  const Tensor all_logits = logits;
  constexpr int steps = tests::sanitized ? 10 : 50;
  int step = 0;
  while (step < steps) {
    for (const Batch& batch : loader) {
      if (step++ == steps) break;
      const Tensor student = model(batch.input);
      const Tensor teacher = index_select(all_logits, 0, arange(batch.input.size(0)));
      Tensor loss;
      if (fused) {
        loss = distillation_loss({.student = student, .teacher = teacher, .labels = batch.target},
                                 {.temperature = 2, .alpha = 0.5});
      } else {
        loss = kl_div(log_softmax(student / 2.0, 1), softmax(teacher / 2.0, 1),
                      {.reduction = Reduction::batchmean}) +
               cross_entropy(student, batch.target) + 1e-3 * sum(var(student, 0));
      }
      optimizer.zero_grad();
      loss.backward();
      clip_grad_norm(model.parameters(), 1.0);
      optimizer.step();
    }
  }
  std::vector<std::vector<float>> weights;
  for (const Tensor& parameter : model.parameters()) weights.push_back(parameter.values<float>());
  return weights;
}

bool same_bits(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i].size() != b[i].size() || std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0)
      return false;
  return true;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(determinism)

BOOST_AUTO_TEST_CASE(many_steps_give_the_same_bits_with_one_two_and_four_threads) {
  for (const bool fused : {false, true}) {
    const auto one = trained(1, fused);
    BOOST_TEST(one.size() == 6u);
    BOOST_TEST(same_bits(one, trained(2, fused)));
    BOOST_TEST(same_bits(one, trained(4, fused)));
    BOOST_TEST(same_bits(one, trained(1, fused)));
  }
}

BOOST_AUTO_TEST_CASE(large_operations_give_the_same_bits) {
  manual_seed(4);
  const Tensor a = randn({513, 700}), b = randn({700, 611}), long_one = randn({3'000'001});
  const Tensor batches = randn({7, 90, 110}), other = randn({7, 110, 80}), tall = randn({100'003, 17});
  const auto everything = [&](int threads) {
    const ThreadCount scope(threads);
    std::vector<std::vector<float>> results;
    for (const Tensor& y :
         {matmul(a, b), matmul(batches, other), sum(long_one), mean(long_one), sum(tall, 0), sum(tall, 1),
          var(tall, 0), logsumexp(long_one, 0), softmax(tall, 1), log_softmax(tall, 0), gelu(long_one),
          tanh(long_one), kl_div(log_softmax(tall, 1), softmax(tall * 2.0, 1), {.reduction = Reduction::sum}),
          amax(tall, 0), cross_entropy(tall, argmax(tall * -1.0, 1)), mse_loss(tall, tall * 0.5)})
      results.push_back(y.values<float>());
    return results;
  };
  const auto one = everything(1);
  BOOST_TEST(same_bits(one, everything(2)));
  BOOST_TEST(same_bits(one, everything(4)));
}

// Threads share the sequences of a batch, more or fewer each.
BOOST_AUTO_TEST_CASE(recurrent_layers_give_the_same_bits_and_agree_with_their_reference) {
  for (const bool is_lstm : {true, false})
    for (const std::int64_t rows : {3, 50, 101}) {
      manual_seed(11);
      std::vector<std::int64_t> some(static_cast<std::size_t>(rows));
      for (std::size_t i = 0; i < some.size(); ++i) some[i] = static_cast<std::int64_t>(i % 6);
      const LSTM lstm(20, 37, {.bidirectional = true});
      const GRU gru(20, 37, {.bidirectional = true});
      const Tensor x = randn({rows, 5, 20}).set_requires_grad(), g = randn({rows, 5, 74}),
                   lengths = tensor(std::move(some), {rows});
      const auto everything = [&](int threads, bool by_reference) {
        const ThreadCount scope(threads);
        const Tensor y = is_lstm ? lstm(x, {.lengths = lengths}).output : gru(x, {.lengths = lengths}).output;
        Tensors inputs = is_lstm ? lstm.parameters() : gru.parameters();
        inputs.push_back(x);
        std::vector<std::vector<float>> results{y.values<float>()};
        for (const Tensor& gradient : grad({y}, inputs, {.grad_outputs = {g}, .create_graph = by_reference}))
          results.push_back(gradient.values<float>());
        return results;
      };
      const auto one = everything(1, false), expected = everything(1, true);
      BOOST_TEST(same_bits(one, everything(2, false)));
      BOOST_TEST(same_bits(one, everything(4, false)));
      double worst = 0;
      for (std::size_t i = 0; i < one.size(); ++i)
        for (std::size_t j = 0; j < one[i].size(); ++j)
          worst = std::max(worst, std::abs(static_cast<double>(one[i][j]) - expected[i][j]));
      BOOST_TEST(worst < 1e-4);
    }
}

BOOST_AUTO_TEST_CASE(gradients_of_large_operations_have_the_same_bits) {
  manual_seed(9);
  const Tensor x = randn({1500, 700}).set_requires_grad(), y = randn({1500, 700}).set_requires_grad(),
               column = randn({1500, 1}).set_requires_grad(), w = randn({700}).set_requires_grad(),
               b = randn({700}).set_requires_grad(), g = randn({1500, 700}),
               condition = greater(y.detach(), 0.3), image = randn({6, 8, 90, 70}).set_requires_grad(),
               channels = randn({8}).set_requires_grad(), w_rows = randn({70, 700}).set_requires_grad(),
               near_1 = exp(randn({1500, 700}) * 0.01).detach().set_requires_grad();
  const auto everything = [&](int threads) {
    const ThreadCount scope(threads);
    std::vector<std::vector<float>> results;
    const auto keep = [&](const Tensor& value, const Tensors& inputs) {
      results.push_back(value.values<float>());
      const Tensor upstream = value.shape() == g.shape() ? g : ones_like(value);
      for (const Tensor& gradient : grad({value}, inputs, {.grad_outputs = {upstream}}))
        results.push_back(gradient.values<float>());
    };
    keep(where(condition, x, y), {x, y});
    keep(x * column, {x, column});
    keep(pow(abs(x), 2.5), {x});
    keep(pow(x, 3), {x});
    keep(gelu(x), {x});
    keep(gelu(x, GeluApproximation::tanh), {x});
    keep(silu(x), {x});
    keep(layer_norm(x, {700}, w, b), {x, w, b});
    keep(rms_norm(x, {700}, w), {x, w});
    keep(batch_norm(image, {}, {}, channels, channels, {.training = true}), {image, channels});
    keep(group_norm(image, 4, channels, channels), {image, channels});
    keep(softmax(x, 1), {x});
    keep(sin(x) * cos(y * 30000), {x, y});
    keep(cdist(x, w_rows), {x, w_rows});
    keep(prod(near_1, 0), {near_1});
    keep(prod(near_1, 1), {near_1});
    keep(prod(near_1), {near_1});
    return results;
  };
  const auto one = everything(1);
  BOOST_TEST(same_bits(one, everything(2)));
  BOOST_TEST(same_bits(one, everything(4)));
}

BOOST_AUTO_TEST_CASE(the_number_of_threads_is_at_least_one) {
  const int before = get_num_threads();
  BOOST_CHECK_THROW(set_num_threads(0), ValueError);
  BOOST_CHECK_THROW(set_num_threads(-2), ValueError);
  BOOST_TEST(get_num_threads() == before);
}

BOOST_AUTO_TEST_CASE(several_threads_run_forward_on_one_frozen_module) {
  manual_seed(5);
  Mlp model(50, 64, 10);
  model.eval();
  model.set_requires_grad(false);
  const Tensor x = randn({64, 50});
  const std::vector<float> expected = model(x).values<float>();
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < wrong.size(); ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) wrong[i] += model(x).values<float>() != expected;
    });
  for (std::thread& thread : threads) thread.join();
  BOOST_TEST(wrong == std::vector<int>(4, 0), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(threads_walk_graphs_of_their_own_over_shared_leaves) {
  manual_seed(6);
  const Tensor weight = randn({32, 20}).set_requires_grad(), x = randn({16, 20});
  const auto gradient = [&] { return grad({sum(relu(linear(x, weight)))}, {weight})[0].values<float>(); };
  const std::vector<float> expected = gradient();
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < wrong.size(); ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) wrong[i] += gradient() != expected;
    });
  for (std::thread& thread : threads) thread.join();
  BOOST_TEST(wrong == std::vector<int>(4, 0), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(threads_that_deposit_into_one_leaf_lose_nothing) {
  constexpr int rounds = 5000;
  const Tensor w = tensor({1.f}).set_requires_grad();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < rounds; ++round) sum(w * 1.0f).backward();
    });
  for (int round = 0; round < rounds; ++round) {
    const Tensor seen = w.grad();
    if (seen.defined() && seen.item<float>() != std::floor(seen.item<float>()))
      BOOST_ERROR("a torn gradient");
  }
  for (std::thread& thread : threads) thread.join();
  BOOST_TEST(w.grad().item<float>() == 4.f * rounds);
}

BOOST_AUTO_TEST_CASE(threads_may_drop_replace_and_read_the_gradient_of_one_leaf) {
  const Tensor w = ones({50}).set_requires_grad();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 2000; ++round) {
        if (i == 0) w.zero_grad();
        if (i == 1) w.set_grad(full({50}, round));
        if (i == 2) sum(w * 1.0f).backward({}, {.create_graph = round % 2 == 0});
        if (const Tensor gradient = w.grad(); gradient.defined()) {
          const std::vector<float> seen = gradient.values<float>();
          if (seen.front() != seen.back()) BOOST_ERROR("a torn gradient");
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  w.zero_grad();
  BOOST_TEST(!w.grad().defined());
}

BOOST_AUTO_TEST_CASE(recording_is_off_for_one_thread_alone) {
  const Tensor x = ones({2}).set_requires_grad();
  const NoGradGuard guard;
  bool recorded = false;
  std::thread([&] { recorded = (x * x).requires_grad(); }).join();
  BOOST_TEST(recorded);
  BOOST_TEST(!(x * x).requires_grad());
}

BOOST_AUTO_TEST_SUITE_END()
