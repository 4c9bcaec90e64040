#include "retort/framework/data/data_loader.hpp"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>
#include <vector>

#include "retort/framework/base/error.hpp"
#include "retort/framework/base/threads.hpp"

namespace retort {
namespace {

// Copying less than this takes less time than handing it to another thread and back.
constexpr std::size_t prefetch_bytes = 1 << 20;

// A well-spread function of both numbers: the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a + (b + 1) * 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

std::uint64_t draw_seed() {
  Generator generator = detail::take_from_default(2);
  const std::uint64_t high = generator.below(std::uint64_t{1} << 32);
  return high << 32 | generator.below(std::uint64_t{1} << 32);
}

// A thread that prepares one batch at a time; it is started with the first. One other thread uses it.
class Worker {
 public:
  ~Worker() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  // Whether a fork has left this process without the thread.
  bool lost() const { return thread_.joinable() && process_ != ::getpid(); }
  // Whether there is something to finish.
  bool busy() const { return busy_; }
  // std::system_error when there is no thread to be had.
  void start(std::function<Batch()> task) {
    if (!thread_.joinable()) {
      thread_ = std::thread([this] { loop(); });
      process_ = ::getpid();
    }
    {
      const std::lock_guard lock(mutex_);
      task_ = std::move(task);
    }
    busy_ = true;
    changed_.notify_one();
  }
  // Waits for the batch; throws what the task threw.
  Batch finish() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !task_; });
    busy_ = false;
    const std::exception_ptr error = std::exchange(error_, nullptr);
    Batch batch = std::exchange(batch_, {});
    if (error) std::rethrow_exception(error);
    return batch;
  }
  void discard() noexcept {
    try {
      if (busy_) finish();
    } catch (...) {  // of a batch that nobody asks for
    }
  }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stop_ || task_; });
      if (stop_) return;
      lock.unlock();
      Batch batch;
      std::exception_ptr error;
      try {
        batch = task_();
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      batch_ = std::move(batch);
      error_ = std::move(error);
      task_ = nullptr;
      changed_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<Batch()> task_;  // empty once it is done
  Batch batch_;
  std::exception_ptr error_;
  bool stop_ = false;
  bool busy_ = false;  // of the other thread alone
  std::thread thread_;
  pid_t process_ = 0;  // that the thread belongs to
};

}  // namespace

struct DataLoader::State {
  State(const Dataset& of, DataLoaderOptions how) : dataset(of), options(std::move(how)) {}

  Dataset dataset;
  DataLoaderOptions options;
  std::int64_t size = 0;
  LoaderPosition position;
  bool in_pass = false;    // a pass has begun and not come to its end
  std::uint64_t pass = 0;  // its number, so that iterators of an earlier one are found out
  Batch current;

  std::vector<std::int64_t> order;  // of the epoch that order_of names
  LoaderPosition order_of{0, -1, 0};
  LoaderPosition prepared;  // which batch the worker is busy with
  std::unique_ptr<Worker> worker =
      std::make_unique<Worker>();  // last: its thread ends before what it reads goes

  ~State() {
    if (worker->lost()) static_cast<void>(worker.release());
  }

  // The thread may have held the lock or have been writing anywhere when the process forked: its worker is leaked.
  void forget_lost_worker() {
    if (!worker->lost()) return;
    static_cast<void>(worker.release());
    worker = std::make_unique<Worker>();
  }

  // Reads nothing that changes while it may run on the worker.
  Batch prepare(const LoaderPosition& at) const {
    const auto rows = static_cast<std::int64_t>(order.size());
    const std::int64_t begin = at.batch * options.batch_size;
    const std::int64_t count = std::min(options.batch_size, rows - begin);
    Batch batch = dataset.rows(
        std::span(order).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)));
    if (!options.transform) return batch;
    Generator generator(mix(epoch_key(at), static_cast<std::uint64_t>(at.batch) + 1));
    return options.transform(std::move(batch), generator);
  }

  static std::uint64_t epoch_key(const LoaderPosition& at) {
    return mix(at.seed, static_cast<std::uint64_t>(at.epoch));
  }

  void make_order() {
    const LoaderPosition wanted{options.shuffle ? position.seed : 0, options.shuffle ? position.epoch : 0, 0};
    if (order_of == wanted) return;
    if (options.shuffle) {
      Generator generator(mix(epoch_key(position), 0));
      order = random_permutation(dataset.size(), generator);
    } else {
      order.resize(static_cast<std::size_t>(dataset.size()));
      std::iota(order.begin(), order.end(), std::int64_t{0});
    }
    order_of = wanted;
  }

  bool prefetch() const {
    if (options.prefetch) return *options.prefetch;
    if (get_num_threads() < 2) return false;
    return options.transform || current.input.array().byte_size() >= prefetch_bytes;
  }

  // Makes the batch at the position the current one.
  void take() {
    current = {};
    forget_lost_worker();
    if (worker->busy() && prepared == position) {
      current = worker->finish();
    } else {
      worker->discard();  // it may be reading the order
      make_order();
      current = prepare(position);
    }
    ++position.batch;
    if (position.batch < size && prefetch()) {
      prepared = position;
      try {
        worker->start([this, at = prepared] { return prepare(at); });
      } catch (const std::system_error&) {
        options.prefetch = false;  // no thread to be had
      }
    }
  }

  void finish_pass() {
    current = {};
    in_pass = false;
    position = {position.seed, position.epoch + 1, 0};
  }
};

DataLoader::DataLoader(const Dataset& dataset, DataLoaderOptions options) {
  const std::int64_t batch_size = options.batch_size;
  if (batch_size < 1)
    throw ValueError(message("DataLoader: batch_size is {}; it must be at least 1", batch_size));
  const std::int64_t rows = dataset.size();
  const std::uint64_t seed = options.seed ? *options.seed : draw_seed();
  state_ = new State(dataset, std::move(options));
  state_->size = rows / batch_size + (rows % batch_size != 0 && !state_->options.drop_last ? 1 : 0);
  state_->position.seed = seed;
}

DataLoader::~DataLoader() { delete state_; }

std::int64_t DataLoader::size() const { return state_->size; }

const Dataset& DataLoader::dataset() const { return state_->dataset; }

LoaderPosition DataLoader::position() const { return state_->position; }

void DataLoader::set_position(const LoaderPosition& position) {
  if (position.epoch < 0 || position.batch < 0 || position.batch > state_->size)
    throw ValueError(message("DataLoader: position is batch {} of epoch {}, but an epoch has {} batches",
                             position.batch, position.epoch, state_->size));
  state_->position = position;
  state_->in_pass = false;
}

DataLoader::Iterator DataLoader::begin() {
  State& state = *state_;
  if (state.in_pass) state.finish_pass();
  state.in_pass = true;
  Iterator first(state_, ++state.pass);
  if (state.position.batch == state.size) {
    state.finish_pass();
    return end();
  }
  state.take();
  return first;
}

DataLoader::Iterator DataLoader::end() { return Iterator(); }

void DataLoader::Iterator::check_pass() const {
  if (!state_ || pass_ != state_->pass)
    throw Error("DataLoader: an iterator is used after its end, or after begin() was called again");
}

const Batch& DataLoader::Iterator::operator*() const {
  check_pass();
  return state_->current;
}

DataLoader::Iterator& DataLoader::Iterator::operator++() {
  check_pass();
  if (state_->position.batch == state_->size) {
    state_->finish_pass();
    state_ = nullptr;
  } else {
    state_->take();
  }
  return *this;
}

}  // namespace retort
