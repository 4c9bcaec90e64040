#include "retort/framework/base/threads.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "retort/framework/base/error.hpp"

namespace retort {
namespace detail {
namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// A value of RETORT_NUM_THREADS that was ignored, until the warning.
std::atomic<const char*> ignored{nullptr};

int default_threads() {
  if (const char* text = std::getenv("RETORT_NUM_THREADS")) {
    int threads = 0;
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), threads);
    if (error == std::errc() && *end == '\0' && threads >= 1) return threads;
    if (*text != '\0') ignored = text;
  }
  cpu_set_t processors;
  if (sched_getaffinity(0, sizeof(processors), &processors) == 0) return std::max(1, CPU_COUNT(&processors));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{default_threads()};
  // Not while `count` is initialised: a warning handler may use the library or throw.
  if (ignored.load(std::memory_order_relaxed) != nullptr)
    if (const char* const text = ignored.exchange(nullptr))
      warn_once(
          "RETORT_NUM_THREADS",
          message("RETORT_NUM_THREADS is '{}'; it is ignored, since it must be an integer of at least 1",
                  text));
  return count;
}

/// True on a thread that is running a chunk: nested loops stay on that thread.
thread_local bool inside = false;

/// Runs one job at a time. The caller opens it, works, closes it and waits for the workers that entered. A
/// worker that wakes too late finds it closed and is not waited for.
class Pool {
 public:
  void run(std::int64_t n, std::int64_t chunk, RangeFunction f, int threads) {
    resize(threads - 1);
    n_ = n;
    chunk_ = chunk;
    function_ = &f;
    next_.store(0, std::memory_order_relaxed);
    state_.store(open, std::memory_order_release);
    ticket_.fetch_add(1, std::memory_order_release);
    ticket_.notify_all();
    work();
    state_.fetch_and(~open, std::memory_order_acquire);
    for (int spins = 0; state_.load(std::memory_order_acquire) != 0; ++spins) {
      pause();
      if (spins > 1000) std::this_thread::yield();
    }
  }

  std::mutex mutex;  // held by the caller that runs a job

 private:
  static constexpr unsigned open = 1u << 31;
  static constexpr int spins_before_sleep = 2000;  // about ten microseconds

  void work() {
    const bool outer = inside;
    inside = true;
    const std::int64_t chunks = (n_ + chunk_ - 1) / chunk_;
    for (std::int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < chunks;)
      (*function_)(i* chunk_, std::min(n_, (i + 1) * chunk_));
    inside = outer;
  }

  void wait_for_jobs(unsigned seen) {
    for (;;) {
      for (int spins = 0; spins < spins_before_sleep && ticket_.load(std::memory_order_acquire) == seen;
           ++spins)
        pause();
      ticket_.wait(seen, std::memory_order_acquire);
      seen = ticket_.load(std::memory_order_acquire);
      if (stop_.load(std::memory_order_relaxed)) return;
      unsigned state = state_.load(std::memory_order_relaxed);
      while ((state & open) != 0 &&
             !state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire)) {
      }
      if ((state & open) == 0) continue;
      work();
      state_.fetch_sub(1, std::memory_order_release);
    }
  }

  void resize(int workers) {
    if (static_cast<int>(workers_.size()) == workers) return;
    stop_.store(true, std::memory_order_relaxed);
    ticket_.fetch_add(1, std::memory_order_release);
    ticket_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stop_.store(false, std::memory_order_relaxed);
    const unsigned seen = ticket_.load(std::memory_order_relaxed);
    for (int i = 0; i < workers; ++i) workers_.emplace_back([this, seen] { wait_for_jobs(seen); });
  }

  alignas(64) std::atomic<unsigned> ticket_{0};  // incremented for each job
  alignas(64) std::atomic<unsigned> state_{0};   // `open`, and the number of workers that entered
  alignas(64) std::atomic<std::int64_t> next_{0};
  alignas(64) std::atomic<bool> stop_{false};
  std::int64_t n_ = 0;
  std::int64_t chunk_ = 1;
  const RangeFunction* function_ = nullptr;
  std::vector<std::thread> workers_;
};

/// Never destroyed, so that it outlives code that runs at exit. A forked child has none of the workers and
/// gets a new pool.
Pool*& pool() {
  static Pool* instance = [] {
    pthread_atfork(nullptr, nullptr, [] { pool() = new Pool; });
    return new Pool;
  }();
  return instance;
}

}  // namespace

void run_chunks(std::int64_t n, std::int64_t chunk, RangeFunction f) {
  const int count = get_num_threads();
  if (count > 1 && !inside) {
    Pool& shared = *pool();
    if (std::unique_lock lock(shared.mutex, std::try_to_lock); lock) return shared.run(n, chunk, f, count);
  }
  for (std::int64_t begin = 0; begin < n; begin += chunk) f(begin, std::min(n, begin + chunk));
}

}  // namespace detail

void set_num_threads(int threads) {
  if (threads < 1) throw ValueError(message("set_num_threads: got {}; pass 1 or more", threads));
  detail::thread_count().store(threads, std::memory_order_relaxed);
}

int get_num_threads() { return detail::thread_count().load(std::memory_order_relaxed); }

}  // namespace retort
