// Batches of rows from a source, in epochs.
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

namespace [[RETORT_EXPORT]] retort {

/// Combines batches of one row each into one batch.
using Collate = std::function<Batch(const std::vector<Batch>&)>;

struct PadOptions {
  double value = 0;         ///< padding value for inputs and further tensors
  double target_value = 0;  ///< padding value for targets, such as a loss's ignore_index
};

/// A `.collate` for rows of unequal lengths: each tensor [1, L_i, …] is padded at the end of dimension 1 to
/// the longest of the batch. The tensor "lengths", int64 [B], contains the L_i of the inputs.
/// Edge cases: tensors [1] are joined without padding.
/// Throws: when called, ShapeError if other dimensions differ; TypeError if element types differ.
[[nodiscard]] Collate pad_sequences(const PadOptions& options = {});

struct DataLoaderOptions {
  std::int64_t batch_size = 1;
  bool shuffle = false;    ///< a new random order in every epoch
  bool drop_last = false;  ///< skip a last batch that is smaller than the others
  /// If absent, drawn from the default generator, so manual_seed determines it.
  std::optional<std::uint64_t> seed = {};
  BatchTransform transform = {};  ///< applied to each batch; the tensors must keep equal numbers of rows
  /// Number of batches prepared ahead on other threads; `true` is 1 and `false` 0. If absent: two per worker
  /// if `.num_workers` is given, otherwise 1 where it pays off.
  std::optional<std::int64_t> prefetch = {};
  /// Number of threads that prepare batches; 1 if absent. With more, the source, `.collate` and `.transform`
  /// are called from several threads at the same time.
  std::optional<std::int64_t> num_workers = {};
  Collate collate = {};  ///< called with single rows; if absent, the source's fetch makes the batch
  Sampler sampler = {};  ///< selects the rows of an epoch; cannot be combined with shuffle
  /// Usually `parallel.own_shards()` of a DataParallel: only the rows of these shards of each batch are
  /// fetched and prepared, as Batch::shards. `.collate` and `.transform` are called per shard, so the number
  /// of processes does not matter: padding and mixup stay within a shard.
  OwnShards shards = {};
};

/// A position of a loader, which determines the remaining batches.
struct LoaderPosition {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::int64_t batch = 0;  ///< the next batch to take; batches prepared ahead are not yet taken

  friend bool operator==(const LoaderPosition&, const LoaderPosition&) = default;
};

/// A range of batches; each pass over it is an epoch. The order of an epoch depends only on the seed and the
/// epoch. In `for (const Batch& batch : loader)`, position() counts the current batch as taken: a run saved
/// there and restored resumes with the next batch. If the position was saved at the last batch, the next loop
/// yields no batches and the epoch ends normally. Leaving a loop early abandons that epoch, unless
/// set_position() is called. Only one pass at a time is possible, and a loader must be used from one thread.
///
/// Batches have the same bits for any number of workers and of batches prepared ahead. By default, one worker
/// is used with a transform or for large batches, if there is more than one thread. The loop rethrows an
/// exception of a worker at the batch to which it belongs. It throws a ShapeError if fetch does not return
/// the requested number of rows, or if the tensors that the transform returns differ in their number of rows.
class DataLoader {
 public:
  /// Copies a Dataset, whose values are shared, and takes ownership of a temporary source; any other source
  /// must outlive the loader.
  /// Throws: ValueError if the batch size is less than 1, the number of batches ahead or of workers is
  /// negative, a sampler is combined with shuffle or is for a different source or batch size, or the shards
  /// do not satisfy 0 <= begin <= end <= count.
  explicit DataLoader(detail::SourceHandle source, DataLoaderOptions options = {});
  explicit DataLoader(const Dataset& dataset, DataLoaderOptions options = {})
      : DataLoader(detail::SourceHandle(dataset), std::move(options)) {}
  ~DataLoader();
  DataLoader(DataLoader&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  DataLoader& operator=(DataLoader&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }

  std::int64_t size() const;                 ///< Number of batches per epoch.
  const DataLoaderOptions& options() const;  ///< As given; `.seed` is absent if it was drawn.
  const RowSource& source() const;           ///< The source of the rows.
  /// The source as a Dataset.
  /// Throws: TypeError if it is not a Dataset.
  const Dataset& dataset() const;

  LoaderPosition position() const;  ///< The position after the batches taken so far.
  /// Starts the next pass at `position`.
  /// Throws: ValueError if it is negative or beyond size().
  void set_position(const LoaderPosition& position);
  StateDict state_dict() const;  ///< The position as tensors, with the number of batches.
  /// Starts the next pass at the saved position.
  /// Throws: ValueError if the entries differ or the state is from a loader with a different number of
  /// batches.
  void load_state_dict(const StateDict& state);

  class Iterator;
  Iterator begin();  ///< Starts a pass and takes its first batch.
  Iterator end();

 private:
  struct State;
  State* state_;  // owned; <memory> would add a third to the lines that a user's file parses
};

/// An input iterator: copies advance together.
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
