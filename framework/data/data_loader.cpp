#include "retort/framework/data/data_loader.hpp"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>
#include <vector>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/draws.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/state_checks.hpp"
#include "retort/framework/data/shards_impl.hpp"

namespace retort {
namespace {

// Copying less than this is faster than passing the work to another thread.
constexpr std::size_t prefetch_bytes = 1 << 20;

std::uint64_t draw_seed() {
  Generator generator = detail::take_from_default(2);
  const std::uint64_t high = generator.below(std::uint64_t{1} << 32);
  return high << 32 | generator.below(std::uint64_t{1} << 32);
}

// Threads that prepare batches, which are returned in the order of the requests. Used by one other thread.
class Workers {
 public:
  explicit Workers(std::function<Batch(const LoaderPosition&)> prepare) : prepare_(std::move(prepare)) {}
  ~Workers() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // True in a forked process, which does not have the threads.
  bool lost() const { return !threads_.empty() && process_ != ::getpid(); }
  // Number of requested batches; other threads do not change it.
  std::size_t count() const { return tasks_.size(); }
  const LoaderPosition& first() const { return tasks_.front().at; }
  const LoaderPosition& last() const { return tasks_.back().at; }

  // Requests one more batch. Throws std::system_error if no thread can be started.
  void add(const LoaderPosition& at, std::size_t most_threads) {
    if (threads_.size() < std::min(most_threads, tasks_.size() + 1)) add_thread();
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back({at});
    }
    changed_.notify_all();
  }
  // Waits for the first batch. Rethrows the exception of its preparation.
  Batch take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return tasks_.front().stage == Stage::done; });
    const Task task = std::move(tasks_.front());
    tasks_.pop_front();
    if (task.error) std::rethrow_exception(task.error);
    return task.batch;
  }
  // Drops all batches, after those in preparation have finished.
  void discard() {
    std::unique_lock lock(mutex_);
    for (Task& task : tasks_)
      if (task.stage == Stage::waiting) task.stage = Stage::done;
    changed_.wait(lock, [this] {
      return std::ranges::none_of(tasks_, [](const Task& task) { return task.stage == Stage::running; });
    });
    tasks_.clear();
  }

 private:
  enum class Stage : std::uint8_t { waiting, running, done };
  struct Task {
    LoaderPosition at;
    Stage stage = Stage::waiting;
    Batch batch = {};
    std::exception_ptr error = {};
  };

  void add_thread() {
    try {
      threads_.emplace_back([this] { loop(); });
      process_ = ::getpid();
    } catch (const std::system_error&) {
      if (threads_.empty()) throw;
    }
  }

  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      auto task = tasks_.end();
      changed_.wait(lock, [&] {
        task = std::ranges::find(tasks_, Stage::waiting, &Task::stage);
        return stop_ || task != tasks_.end();
      });
      if (stop_) return;
      Task& own = *task;  // its address is stable while others are added and taken
      own.stage = Stage::running;
      lock.unlock();
      Batch batch;
      std::exception_ptr error;
      try {
        batch = prepare_(own.at);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      own.batch = std::move(batch);
      own.error = std::move(error);
      own.stage = Stage::done;
      changed_.notify_all();
    }
  }

  const std::function<Batch(const LoaderPosition&)> prepare_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
  pid_t process_ = 0;  // the process to which the threads belong
};

}  // namespace

struct DataLoader::State {
  State(detail::SourceHandle of, DataLoaderOptions how) : source(std::move(of)), options(std::move(how)) {
    make_workers();
  }

  detail::SourceHandle source;
  DataLoaderOptions options;
  std::int64_t rows = 0;  // per epoch
  std::int64_t size = 0;
  LoaderPosition position;
  bool in_pass = false;    // a pass has begun and not ended
  std::uint64_t pass = 0;  // its number, for detecting iterators of earlier passes
  Batch current;

  std::vector<std::int64_t> order;  // of epoch order_of; unused for the order of the source
  LoaderPosition order_of{0, -1, 0};
  std::unique_ptr<Workers> workers;  // last, so that its threads end before the data they read is destroyed

  ~State() {
    if (workers->lost()) static_cast<void>(workers.release());
  }

  void make_workers() {
    workers = std::make_unique<Workers>([this](const LoaderPosition& at) { return prepare(at); });
  }

  // When the process forked, a thread may have held the lock or been writing anywhere, so the workers are
  // leaked.
  void forget_lost_workers() {
    if (!workers->lost()) return;
    static_cast<void>(workers.release());
    make_workers();
  }

  bool in_order() const { return !options.shuffle && !options.sampler.order; }

  std::vector<std::int64_t> rows_of(const LoaderPosition& at) const {
    const std::int64_t begin = at.batch * options.batch_size;
    std::vector<std::int64_t> chosen(static_cast<std::size_t>(std::min(options.batch_size, rows - begin)));
    if (in_order()) {
      std::iota(chosen.begin(), chosen.end(), begin);
    } else {
      std::copy_n(order.begin() + begin, chosen.size(), chosen.begin());
    }
    return chosen;
  }

  // Reads nothing that changes while workers may run.
  Batch prepare(const LoaderPosition& at) const {
    std::vector<std::int64_t> chosen = rows_of(at);
    const std::uint64_t key = epoch_key(at);
    const std::uint64_t seed = detail::mix(key, static_cast<std::uint64_t>(at.batch) + 1);
    if (options.shards.count == 0) return prepare(std::move(chosen), key, seed);
    Batch batch;
    for (std::int64_t shard = options.shards.begin; shard < options.shards.end; ++shard) {
      const detail::ShardRange range =
          detail::rows_of_shard(static_cast<std::int64_t>(chosen.size()), options.shards.count, shard);
      batch.shards.emplace_back();
      if (range.size() > 0)
        batch.shards.back() = prepare({chosen.begin() + range.begin, chosen.begin() + range.end}, key,
                                      detail::mix(seed, static_cast<std::uint64_t>(shard)));
    }
    batch.rows = std::move(chosen);
    batch.key = key;
    return batch;
  }

  Batch prepare(std::vector<std::int64_t> chosen, std::uint64_t key, std::uint64_t seed) const {
    Batch batch;
    if (options.collate) {
      std::vector<Batch> single;
      for (const std::int64_t& row : chosen)
        single.push_back(detail::fetch_checked("DataLoader", *source, {&row, 1}));
      batch = options.collate(single);
    } else {
      batch = detail::fetch_checked("DataLoader", *source, chosen);
    }
    batch.rows = std::move(chosen);
    batch.key = key;
    if (!options.transform) return batch;
    Generator generator(seed);
    const std::vector<std::int64_t> drawn = batch.rows;
    batch = options.transform(std::move(batch), generator);
    if (batch.rows.empty()) {  // the transform may have created a new batch without these
      batch.rows = drawn;
      batch.key = key;
    }
    check_rows(batch);
    return batch;
  }

  // All tensors that a transform returns have the same number of rows. A further tensor may also be a number.
  static void check_rows(const Batch& batch) {
    const auto rows = [](const Tensor& x) { return x.dim() == 0 ? -1 : x.size(0); };
    NamedTensors all = batch.others;
    std::erase_if(all, [](const auto& other) { return !other.second.defined() || other.second.dim() == 0; });
    for (const Tensor& own : {batch.input, batch.target})
      if (own.defined()) all.emplace_back("", own);
    for (const auto& [name, tensor] : all)
      if (rows(tensor) < 0 || rows(tensor) != rows(all.front().second))
        throw ShapeError(message("DataLoader: .transform returned {}; they must have the same number of rows",
                                 detail::shapes_of(batch)));
  }

  static std::uint64_t epoch_key(const LoaderPosition& at) {
    return detail::mix(at.seed, static_cast<std::uint64_t>(at.epoch));
  }

  void make_order() {
    const LoaderPosition wanted{position.seed, position.epoch, 0};
    if (in_order() || order_of == wanted) return;
    Generator generator(detail::mix(epoch_key(position), 0));
    order_of = {0, -1, 0};
    order = options.shuffle ? random_permutation(rows, generator) : options.sampler.order(generator);
    if (static_cast<std::int64_t>(order.size()) != rows)
      throw ValueError(message("DataLoader: the sampler chose {}, but its size is {}",
                               detail::counted(order.size(), "row"), rows));
    const std::int64_t most = source->size();
    for (const std::int64_t row : order)
      if (row < 0 || row >= most)
        throw IndexError(
            message("DataLoader: the sampler chose row {}, which is out of range [0, {})", row, most));
    order_of = wanted;
  }

  static std::size_t bytes_of(const Batch& batch) {
    return batch.input.defined() ? detail::Access::array(batch.input).byte_size() : 0;
  }

  // Number of batches to prepare ahead.
  std::int64_t ahead() const {
    if (options.prefetch) return *options.prefetch;
    if (options.num_workers) return 2 * *options.num_workers;
    if (get_num_threads() < 2) return 0;
    std::size_t bytes = bytes_of(current);
    for (const Batch& shard : current.shards) bytes += bytes_of(shard);
    return options.transform || options.collate || bytes >= prefetch_bytes ? 1 : 0;
  }

  // Makes the batch at the position the current one.
  void take() {
    current = {};
    forget_lost_workers();
    if (workers->count() > 0 && workers->first() == position) {
      current = workers->take();
    } else {
      workers->discard();  // they may be reading the order
      make_order();
      current = prepare(position);
    }
    ++position.batch;
    const std::int64_t most = ahead();
    const auto threads = static_cast<std::size_t>(options.num_workers.value_or(1));
    if (most == 0 || threads == 0) return;
    LoaderPosition next = position;
    if (workers->count() > 0) next.batch = workers->last().batch + 1;
    try {
      for (; next.batch < size && next.batch - position.batch < most; ++next.batch)
        workers->add(next, threads);
    } catch (const std::system_error&) {
      options.prefetch = 0;  // no thread can be started
    }
  }

  void finish_pass() {
    current = {};
    in_pass = false;
    position = {position.seed, position.epoch + 1, 0};
  }
};

DataLoader::DataLoader(detail::SourceHandle source, DataLoaderOptions options) {
  const std::int64_t batch_size = options.batch_size;
  if (batch_size < 1)
    throw ValueError(message("DataLoader: batch_size is {}; it must be at least 1", batch_size));
  for (const auto& [name, value] :
       {std::pair("prefetch", options.prefetch), {"num_workers", options.num_workers}})
    if (value.value_or(0) < 0)
      throw ValueError(message("DataLoader: {} is {}; it must not be negative", name, *value));
  if (options.shuffle && options.sampler.order)
    throw ValueError("DataLoader: a sampler is given together with shuffle; it decides the order itself");
  const Sampler& sampler = options.sampler;
  if (sampler.order && sampler.rows.value_or(source->size()) != source->size())
    throw ValueError(message("DataLoader: the sampler is for a source of {}, but this source has {}",
                             detail::counted(*sampler.rows, "row"), source->size()));
  if (sampler.order && sampler.batch_size.value_or(batch_size) != batch_size)
    throw ValueError(message("DataLoader: the sampler is for batch_size {}, but batch_size is {}",
                             *sampler.batch_size, batch_size));
  const OwnShards& shards = options.shards;
  if (shards.begin < 0 || shards.end < shards.begin || shards.count < shards.end)
    throw ValueError(message("DataLoader: shards {} to {} of {}; it must be that 0 <= begin <= end <= count",
                             shards.begin, shards.end, shards.count));
  const std::int64_t rows = options.sampler.order ? options.sampler.size : source->size();
  const std::uint64_t seed = options.seed ? *options.seed : draw_seed();
  state_ = new State(std::move(source), std::move(options));
  state_->rows = rows;
  state_->size = rows / batch_size + (rows % batch_size != 0 && !state_->options.drop_last ? 1 : 0);
  state_->position.seed = seed;
}

DataLoader::~DataLoader() { delete state_; }

std::int64_t DataLoader::size() const { return state_->size; }

const DataLoaderOptions& DataLoader::options() const { return state_->options; }

const RowSource& DataLoader::source() const { return *state_->source; }

const Dataset& DataLoader::dataset() const {
  if (const auto* dataset = dynamic_cast<const Dataset*>(&source())) return *dataset;
  throw TypeError("DataLoader: the source is not a Dataset; use source()");
}

LoaderPosition DataLoader::position() const { return state_->position; }

void DataLoader::set_position(const LoaderPosition& position) {
  if (position.epoch < 0 || position.batch < 0 || position.batch > state_->size)
    throw ValueError(message("DataLoader: position is batch {} of epoch {}, but an epoch has {}",
                             position.batch, position.epoch, detail::counted(state_->size, "batch")));
  state_->position = position;
  state_->in_pass = false;
}

StateDict DataLoader::state_dict() const {
  const LoaderPosition at = position();
  return {{"seed", tensor({std::bit_cast<std::int64_t>(at.seed)})},
          {"epoch", tensor({at.epoch})},
          {"batch", tensor({at.batch})},
          {"batches", tensor({size()})}};
}

void DataLoader::load_state_dict(const StateDict& state) {
  detail::check_state("DataLoader::load_state_dict", state,
                      {{"seed", {1}}, {"epoch", {1}}, {"batch", {1}}, {"batches", {1}}});
  const auto number = [&](std::string_view name) { return state.at(name).item<std::int64_t>(); };
  if (number("batches") != size())
    throw ValueError(message("DataLoader::load_state_dict: the state is that of a loader with {}, not {}",
                             detail::counted(number("batches"), "batch"), size()));
  set_position({std::bit_cast<std::uint64_t>(number("seed")), number("epoch"), number("batch")});
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
