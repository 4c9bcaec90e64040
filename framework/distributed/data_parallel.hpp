// One training step on several processes, with the same bits on any number of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "retort/framework/core/tensor.hpp"
#include "retort/framework/data/row_source.hpp"
#include "retort/framework/distributed/communicator.hpp"

namespace retort {

class Module;

struct DataParallelOptions {
  std::int64_t shards =
      8;  ///< the number of parts of a batch; results depend on it, and not on the number of processes
  std::int64_t bucket_bytes = 1 << 20;  ///< size of the pieces in which gradients are exchanged
};

/// What this process has exchanged since the DataParallel was constructed.
struct DataParallelStatistics {
  std::int64_t steps = 0;
  std::int64_t messages = 0;         ///< with sums of gradients, sent by this process to another
  std::int64_t bytes_sent = 0;       ///< in these messages
  std::int64_t bytes_broadcast = 0;  ///< of complete sums, which every process gets
  double seconds_waiting = 0;        ///< between the end of this process's own work and the complete sums
};

/// Computes gradients of a batch in parts, on all processes of a Communicator.
///
/// backward(batch, f) cuts each tensor of the batch into `.shards` contiguous parts whose numbers of rows
/// differ by at most one, as PyTorch's tensor_split does. Each process calls f on its own parts, one after
/// the other, and runs backward on their losses. The gradients, weighted by rows / rows of the batch, are
/// added over a binary tree that depends on the number of shards alone. So weights have the same bits for any
/// number of processes up to `.shards`, and in one process this is gradient accumulation. f returns the mean
/// loss of its rows.
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
/// Sums leave in buckets while backward of the last part still runs. Every rank must run the same program
/// with the same seeds, so that all construct the same model and load the same batches; both are checked. Of
/// batches from a loader with `.shards = parallel.own_shards()` the numbers of the rows are compared, since
/// no process has all values.
///
/// - Random numbers that f draws from the default generator (dropout) come from a generator of each shard,
/// whose seed
///   derives from the generator in force; that one advances by one block per call.
/// - Buffers: each shard starts from their values before the call. Floating-point buffers that a shard
/// changes
///   become the average of the shards' values, weighted by rows; so batch norm normalises by the statistics
///   of each shard, and its running statistics move once per call, by the mean of the shards' statistics. An
///   int64 buffer gets the value of the first shard that changes it.
/// - Shards without rows are skipped. Parameters that no shard's loss depends on keep their gradient,
/// undefined or not;
///   others gain the sum, as with Tensor::backward.
/// - An exception in f, on any rank, ends the call on all of them: there it is thrown as it is, elsewhere as
/// an Error
///   that names the rank and has its text. Gradients and buffers are as before.
///
/// The model and the Communicator must outlive it, and the model's members must stay the same tensors.
class DataParallel {
 public:
  /// Throws: ValueError for shards < 1 or bucket_bytes outside [1024, 2^30]; ValueError with the same text on
  /// every rank if program, parameters, buffers, their values or shards differ between ranks.
  DataParallel(Module& model, const Communicator& world, DataParallelOptions options = {});
  ~DataParallel();
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  /// Adds the gradients of the batch to the parameters' and returns the loss of the batch: the mean of the
  /// shards' losses, weighted by rows. Throws: ValueError for a batch without rows, or whose shards were
  /// loaded for another number of shards or rank; on every rank if their batches differ; ShapeError if the tensors of the batch differ in their number of rows, or if f's loss
  /// has more than one element; ValueError if the loss depends on a tensor that requires a gradient and is
  /// not one of the model's parameters.
  double backward(const Batch& batch, const std::function<Tensor(const Batch&)>& f);

  /// The shards that this process computes, for a DataLoader that fetches and prepares their rows alone:
  /// `rt::DataLoader loader(data, {.batch_size = 64, .shuffle = true, .shards = parallel.own_shards()})`.
  OwnShards own_shards() const noexcept;

  /// The sums over all calls so far, of this process.
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
