#include "retort/framework/base/threads.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "framework/kernels/kernel_test.hpp"

BOOST_AUTO_TEST_SUITE(kernels_parallel)

using kernel_test::Threads;
using retort::parallel_for;

BOOST_AUTO_TEST_CASE(every_item_is_visited_once_in_chunks_that_the_sizes_fix) {
  for (int count : {1, 2, 4}) {
    Threads threads(count);
    for (std::int64_t n : {0, 1, 7, 8, 9, 1000, 4097})
      for (std::int64_t grain : {1, 8, 1000, 5000}) {
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(n));
        std::atomic<bool> fits{true};
        parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
          if (begin % grain != 0 || (end != n && end != begin + grain) || begin >= end) fits = false;
          for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        BOOST_TEST(fits);
        for (const auto& visit : visits) BOOST_TEST(visit == 1);
      }
  }
}

BOOST_AUTO_TEST_CASE(a_call_within_a_call_stays_on_its_thread) {
  Threads threads(4);
  std::atomic<int> strays{0}, sum{0};
  parallel_for(64, 1, [&](std::int64_t, std::int64_t) {
    const auto outer = std::this_thread::get_id();
    parallel_for(16, 1, [&](std::int64_t begin, std::int64_t end) {
      if (std::this_thread::get_id() != outer) ++strays;
      sum += static_cast<int>(end - begin);
    });
  });
  BOOST_TEST(strays == 0);
  BOOST_TEST(sum == 64 * 16);
}

BOOST_AUTO_TEST_CASE(several_threads_may_call_at_once_while_the_number_changes) {
  Threads threads(3);
  std::atomic<std::int64_t> wrong{0};
  const auto user = [&] {
    for (int round = 0; round < 300; ++round) {
      std::vector<std::int64_t> parts(16);
      parallel_for(1600, 100, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) parts[static_cast<std::size_t>(begin / 100)] += i;
      });
      std::int64_t sum = 0;
      for (std::int64_t part : parts) sum += part;
      if (sum != 1600 * 1599 / 2) ++wrong;
    }
  };
  std::vector<std::thread> users;
  for (int i = 0; i < 4; ++i) users.emplace_back(user);
  for (int i = 0; i < 50; ++i) {
    retort::set_num_threads(1 + i % 4);
    std::this_thread::yield();
  }
  for (std::thread& one : users) one.join();
  BOOST_TEST(wrong == 0);
}

#if !defined(__SANITIZE_THREAD__)  // ThreadSanitizer cannot fork a process with threads
BOOST_AUTO_TEST_CASE(a_forked_child_has_threads_of_its_own) {
  Threads threads(2);
  const auto sum = [] {
    std::atomic<std::int64_t> total{0};
    parallel_for(1000, 10, [&](std::int64_t begin, std::int64_t end) { total += end - begin; });
    return total.load();
  };
  BOOST_TEST(sum() == 1000);
  const pid_t child = fork();
  if (child == 0) _exit(sum() == 1000 ? 0 : 1);
  int status = -1;
  BOOST_TEST(waitpid(child, &status, 0) == child);
  BOOST_TEST(status == 0);
  BOOST_TEST(sum() == 1000);
}
#endif

BOOST_AUTO_TEST_SUITE_END()
