// Batches of a dataset, epoch by epoch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "retort/framework/data/dataset.hpp"
#include "retort/framework/data/transforms.hpp"

namespace retort {

struct DataLoaderOptions {
  std::int64_t batch_size = 1;
  bool shuffle = false;    ///< a new order in every epoch
  bool drop_last = false;  ///< leave out a last batch that is smaller than the others
  std::optional<std::uint64_t> seed =
      {};                             ///< absent: drawn from the default generator, so manual_seed decides it
  BatchTransform transform = {};      ///< applied to each batch
  std::optional<bool> prefetch = {};  ///< prepare a batch ahead on a second thread; absent: when it pays
};

/// Where a loader stands: enough to go on with exactly the batches that would have come.
struct LoaderPosition {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::int64_t batch = 0;  ///< the next one to be taken; a batch that was only prepared counts as not taken

  friend bool operator==(const LoaderPosition&, const LoaderPosition&) = default;
};

/// A range of batches; each pass over it is an epoch. The order of an epoch is a function of seed and epoch
/// alone. `for (const Batch& batch : loader)`: inside the loop position() counts the current batch as taken,
/// so that a run saved there and restored goes on with the one after it; saved at the last, with a loop of no
/// batch, behind which what a run does after each epoch is done as ever. A loop that was left early isn't
/// continued: the next is the next epoch, unless set_position() says otherwise. One pass at a time; a loader
/// belongs to one thread.
///
/// With a second thread (by default with a transform, or for large batches, when there is more than one
/// thread) the transform runs on that thread; what it throws comes out of the loop, at the batch that it
/// belongs to.
class DataLoader {
 public:
  /// ValueError for a batch size below 1.
  explicit DataLoader(const Dataset& dataset, DataLoaderOptions options = {});
  ~DataLoader();
  DataLoader(DataLoader&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  DataLoader& operator=(DataLoader&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }

  /// Number of batches in an epoch.
  std::int64_t size() const;
  const Dataset& dataset() const;

  /// The position after the batches taken so far.
  LoaderPosition position() const;
  /// Makes the next pass begin there. ValueError for a batch beyond size() or a negative number.
  void set_position(const LoaderPosition& position);

  class Iterator;
  /// Begins a pass and takes its first batch.
  Iterator begin();
  Iterator end();

 private:
  struct State;
  State* state_;  // owned; a raw pointer since <memory> would double what a user's file parses
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
