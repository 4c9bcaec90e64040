// Batches of a source of rows, epoch by epoch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "retort/framework/core/state_dict.hpp"
#include "retort/framework/data/dataset.hpp"
#include "retort/framework/data/sampler.hpp"
#include "retort/framework/data/transforms.hpp"

namespace retort {

/// Makes one batch of batches of one row each.
using Collate = std::function<Batch(const std::vector<Batch>&)>;

struct PadOptions {
  double value = 0;         ///< of padding in inputs and further tensors
  double target_value = 0;  ///< of padding in targets, such as a loss's ignore_index
};

/// A `.collate` that joins rows of unequal lengths: each tensor [1, L_i, …] is padded at the end of dimension
/// 1 to the longest of the batch. The tensor "lengths", int64 [B], holds the L_i of the inputs.
/// Edge cases: tensors [1] are joined without padding.
/// Throws: ShapeError, when called, for rows whose other dimensions differ; TypeError for unequal element
/// types.
[[nodiscard]] Collate pad_sequences(const PadOptions& options = {});

struct DataLoaderOptions {
  std::int64_t batch_size = 1;
  bool shuffle = false;    ///< a new order in every epoch
  bool drop_last = false;  ///< leave out a last batch that is smaller than the others
  /// Absent: drawn from the default generator, so that manual_seed decides it.
  std::optional<std::uint64_t> seed = {};
  BatchTransform transform = {};  ///< applied to each batch
  /// The number of batches that are prepared ahead on other threads; `true` is 1 and `false` 0. Absent: two
  /// per worker where `.num_workers` is given, otherwise 1 when that is worth its cost.
  std::optional<std::int64_t> prefetch = {};
  /// The number of threads that prepare batches; absent: 1. With more, the source, `.collate` and
  /// `.transform` are called from several threads at the same time.
  std::optional<std::int64_t> num_workers = {};
  Collate collate = {};  ///< called with single rows; absent: the source's fetch makes the batch
  Sampler sampler = {};  ///< chooses the rows of an epoch; not together with shuffle
  /// Usually `parallel.own_shards()` of a DataParallel: of each batch, only the rows of these shards are
  /// fetched and prepared, as Batch::shards. `.collate` and `.transform` are called for each shard, so that
  /// they do not depend on the number of processes: padding and mixup stay within a shard.
  OwnShards shards = {};
};

/// The position of a loader, from which exactly the remaining batches follow.
struct LoaderPosition {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::int64_t batch = 0;  ///< the next one to be taken; a batch that was only prepared counts as not taken

  friend bool operator==(const LoaderPosition&, const LoaderPosition&) = default;
};

/// A range of batches; each pass over it is an epoch. The order of an epoch is a function of seed and epoch
/// only. In `for (const Batch& batch : loader)`, position() counts the current batch as taken: a run that is
/// saved there and restored resumes with the batch after it. If the position was saved at the last batch, the
/// next loop yields no batches and the epoch ends normally. Leaving a loop early abandons that epoch, unless
/// set_position() is called. There is one pass at a time, and a loader belongs to one thread.
///
/// Batches have the same bits for any number of workers and of batches ahead. By default one worker is used
/// with a transform, or for large batches, when there is more than one thread. An exception in a worker is
/// thrown by the loop, at the batch that it belongs to.
class DataLoader {
 public:
  /// Copies a Dataset, whose values are shared, and takes over a temporary source; any other source must
  /// outlive the loader. Throws: ValueError for a batch size below 1, a negative number of batches ahead or
  /// of workers, a sampler together with shuffle, or shards unless 0 <= begin <= end <= count.
  explicit DataLoader(detail::SourceHandle source, DataLoaderOptions options = {});
  explicit DataLoader(const Dataset& dataset, DataLoaderOptions options = {})
      : DataLoader(detail::SourceHandle(dataset), std::move(options)) {}
  ~DataLoader();
  DataLoader(DataLoader&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  DataLoader& operator=(DataLoader&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }

  /// The number of batches in an epoch.
  std::int64_t size() const;
  const RowSource& source() const;
  /// The source as a Dataset. Throws: TypeError when it is another source.
  const Dataset& dataset() const;

  /// The position after the batches taken so far.
  LoaderPosition position() const;
  /// Makes the next pass begin there. Throws: ValueError for a batch beyond size() or a negative number.
  void set_position(const LoaderPosition& position);
  /// The position as tensors, together with the number of batches.
  StateDict state_dict() const;
  /// Makes the next pass begin there.
  /// Throws: ValueError for other entries, or the state of a loader with another number of batches.
  void load_state_dict(const StateDict& state);

  class Iterator;
  /// Begins a pass and takes its first batch.
  Iterator begin();
  Iterator end();

 private:
  struct State;
  State* state_;  // owned; <memory> would add a third to what a user's file parses
};

/// An input iterator: copies of it advance together.
class DataLoader::Iterator {
 public:
  using value_type = Batch;
  using difference_type = std::ptrdiff_t;
  using pointer = const Batch*;
  using reference = const Batch&;

  Iterator() = default;
  const Batch& operator*() const;
  const Batch* operator->() const { return &**this; }
  Iterator& operator++();
  void operator++(int) { ++*this; }
  friend bool operator==(const Iterator& a, const Iterator& b) { return a.state_ == b.state_; }

 private:
  friend class DataLoader;
  Iterator(State* state, std::uint64_t pass) : state_(state), pass_(pass) {}
  void check_pass() const;

  State* state_ = nullptr;  // null at the end
  std::uint64_t pass_ = 0;
};

}  // namespace retort
