// Training steps on several processes, with the same bits for any number of processes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "retort/framework/core/tensor.hpp"
#include "retort/framework/data/row_source.hpp"
#include "retort/framework/distributed/communicator.hpp"

namespace [[RETORT_EXPORT]] retort {

class Module;

struct DataParallelOptions {
  std::int64_t shards =
      8;  ///< number of parts of a batch; results depend on it, but not on the number of processes
  std::int64_t bucket_bytes = 1 << 20;  ///< size of the buckets in which gradients are exchanged
};

/// The data exchanged by this process since the DataParallel was constructed.
struct DataParallelStatistics {
  std::int64_t steps = 0;
  std::int64_t messages = 0;         ///< sums of gradients sent by this process to another
  std::int64_t bytes_sent = 0;       ///< bytes of these messages
  std::int64_t bytes_broadcast = 0;  ///< complete sums, which every process receives
  /// Time between the end of this process's own work and the arrival of the complete sums.
  double seconds_waiting = 0;
};

/// The shards of each batch that this process computes if there are `shards` in all, for a DataLoader that
/// fetches and prepares only their rows; batches are not split if `shards` is less than 1. The same as
/// DataParallel::own_shards(), for programs in which a Training constructs the DataParallel.
[[nodiscard]] OwnShards own_shards(const Communicator& world, std::int64_t shards) noexcept;

/// Computes the gradients of a batch in parts, on all processes of a Communicator.
///
/// backward(batch, f) splits each tensor of the batch into `.shards` contiguous parts whose numbers of rows
/// differ by at most one, as PyTorch's tensor_split. Each process calls f on its own parts in turn and runs
/// backward on their losses. The gradients, weighted by the part's fraction of the rows, are added over a
/// binary tree that depends only on the number of shards. Weights therefore have the same bits for any number
/// of processes up to `.shards`; in one process this is gradient accumulation. f returns the mean loss of its
/// rows.
///
///     rt::DataParallel parallel(model, world, {.shards = 8});
///     for (const rt::Batch& batch : loader) {
///       optimizer.zero_grad();
///       const double loss = parallel.backward(batch, [&](const rt::Batch& shard) {
///         return rt::cross_entropy(model(shard.input), shard.target);
///       });
///       optimizer.step();
///     }
///
/// Buckets of sums are sent while backward of the last part still runs. Every rank must run the same program
/// with the same seeds, so that all construct the same model and load the same batches; both are checked. For
/// batches from a loader with `.shards = parallel.own_shards()`, row numbers are compared, since no process
/// has all values.
///
/// - Random numbers that f draws from the default generator (dropout) come from a generator per shard, whose
///   seed derives from the generator in use, which advances by one block per call.
/// - Buffers: each shard starts from their values before the call. A floating-point buffer changed by a
///   shard becomes the average of the shards' values, weighted by rows. Batch norm thus normalises by the
///   statistics of each shard, and its running statistics are updated once per call, with the mean of the
///   shards' statistics. An int64 buffer gets the value of the first shard that changes it.
/// - Shards without rows are skipped. Parameters that no shard's loss depends on keep their gradient, defined
///   or not; for others the sum is added, as in Tensor::backward.
/// - An exception in f, on any rank, ends the call on all ranks. That rank rethrows it; the others throw an
///   Error that contains the rank and its text. Gradients and buffers are unchanged.
///
/// The model and the Communicator must outlive it, and the model's members must remain the same tensors.
class DataParallel {
 public:
  /// Throws: ValueError if shards < 1 or bucket_bytes is outside [1024, 2^30]; ValueError, with the same text
  /// on every rank, if program, parameters, buffers, their values or shards differ between ranks.
  DataParallel(Module& model, const Communicator& world, DataParallelOptions options = {});
  ~DataParallel();
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  /// Adds the gradients of the batch to those of the parameters and returns the loss of the batch: the mean
  /// of the shards' losses, weighted by rows.
  /// Throws: ValueError if the batch has no rows, if its shards were loaded for a different number of shards
  /// or rank, or, on every rank, if the batches differ; ShapeError if the tensors of the batch differ in
  /// their number of rows, or f's loss does not have one element; ValueError if the loss depends on a tensor
  /// that requires a gradient but is not a parameter of the model.
  double backward(const Batch& batch, const std::function<Tensor(const Batch&)>& f);

  /// The shards that this process computes, for a DataLoader that fetches and prepares only their rows:
  /// `rt::DataLoader loader(data, {.batch_size = 64, .shuffle = true, .shards = parallel.own_shards()})`.
  OwnShards own_shards() const noexcept;

  /// The totals of this process over all calls so far.
  const DataParallelStatistics& statistics() const { return statistics_; }

 private:
  class Step;
  struct State;

  const Communicator& world_;
  DataParallelOptions options_;
  DataParallelStatistics statistics_;
  State* state_;  // owned
};

}  // namespace retort
