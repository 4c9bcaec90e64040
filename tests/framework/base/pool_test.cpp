// The caching pool: counts, reuse, the cap, and no request to the system after the first training steps.
#include <boost/test/unit_test.hpp>
#include <thread>
#include <vector>

#include "retort/retort.hpp"

using namespace retort;

BOOST_AUTO_TEST_SUITE(pool)

BOOST_AUTO_TEST_CASE(counts_what_is_handed_out_and_what_is_kept) {
  release_memory();
  const MemoryStats before = memory_stats();
  {
    const Tensor t = zeros({1000, 1000});
    BOOST_TEST(memory_stats().in_use >= before.in_use + 4'000'000);
    BOOST_TEST(memory_stats().system_requests > before.system_requests);
  }
  const MemoryStats after = memory_stats();
  BOOST_TEST(after.in_use == before.in_use);
  BOOST_TEST(after.cached >= before.cached + 4'000'000);
  const std::int64_t requests = after.system_requests;
  { const Tensor again = zeros({1000, 1000}); }
  BOOST_TEST(memory_stats().system_requests == requests);
  release_memory();
  BOOST_TEST(memory_stats().cached <= after.cached - 4'000'000);
}

BOOST_AUTO_TEST_CASE(the_peak_is_the_most_since_its_reset) {
  reset_peak_memory();
  const std::int64_t before = memory_stats().peak_in_use;
  { const Tensor t = zeros({1 << 20}); }
  BOOST_TEST(memory_stats().peak_in_use >= before + (4 << 20));
  reset_peak_memory();
  BOOST_TEST(memory_stats().peak_in_use == memory_stats().in_use);
}

BOOST_AUTO_TEST_CASE(what_is_freed_beyond_the_cap_goes_back) {
  release_memory();
  set_memory_cap(1 << 20);
  { const Tensor t = zeros({4 << 20}); }
  BOOST_TEST(memory_stats().cached <= 2 << 20);
  set_memory_cap(std::int64_t{1} << 30);
}

BOOST_AUTO_TEST_CASE(a_block_may_be_freed_by_another_thread) {
  const std::int64_t before = memory_stats().in_use;
  for (int round = 0; round < 20; ++round) {
    std::vector<Tensor> made;
    std::thread([&] {
      for (int i = 0; i < 50; ++i) made.push_back(full({i + 1}, i));
    }).join();
    BOOST_TEST(made[7].data<float>()[3] == 7.f);
  }
  BOOST_TEST(memory_stats().in_use == before);
}

BOOST_AUTO_TEST_CASE(a_training_step_after_the_first_asks_the_system_for_nothing) {
  manual_seed(1);
  const Tensor x = randn({32, 20}), labels = zeros({32}, DType::int64);
  const Tensor w1 = randn({16, 20}).set_requires_grad(), b1 = zeros({16}).set_requires_grad();
  const Tensor w2 = randn({10, 16}).set_requires_grad();
  SGD optimizer({w1, b1, w2}, {.lr = 0.01, .momentum = 0.9});
  std::int64_t requests = 0;
  for (int step = 0; step < 30; ++step) {
    if (step == 10) requests = memory_stats().system_requests;
    optimizer.zero_grad();
    cross_entropy(linear(relu(linear(x, w1, b1)), w2, Tensor()), labels).backward();
    optimizer.step();
  }
  BOOST_TEST(memory_stats().system_requests == requests);
}

BOOST_AUTO_TEST_SUITE_END()
