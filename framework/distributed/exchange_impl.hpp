// Adds tensors over the tree of shards, across processes, while other tensors are still being computed.
// Internal.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "retort/framework/core/tensor.hpp"
#include "retort/framework/distributed/shard_tree_impl.hpp"
#include "retort/framework/distributed/shared_memory_impl.hpp"
#include "retort/framework/distributed/transport_impl.hpp"

namespace retort::detail {

/// left + right, in this order; the defined one if the other is undefined, and `left` for int64. May write
/// into `left` if it is the sole owner of its buffer.
Tensor add_nodes(Tensor left, const Tensor& right);

/// Adds one tensor per item and shard. The items are packed, in order, into buckets of a bounded size; an
/// item may span several buckets. A bucket is sent as soon as its items are complete.
///
/// The processes of both children of a node have a sum; one of them sends it to the other, which adds. The
/// receiver depends on the bucket, so that the work is distributed; the sum's bits do not depend on it. The
/// process with the root's sum broadcasts it, in the order of the buckets.
///
/// If all processes run on one machine, the buckets are in shared memory: nothing is sent, and a receiver
/// reads the value in place.
class Exchange {
 public:
  struct Item {
    Shape shape;
    DType dtype = DType::float32;
    bool late = false;  ///< starts a bucket unless the previous item is late too
  };
  struct Traffic {
    std::int64_t messages = 0;   ///< sent by this process to another
    std::int64_t sent = 0;       ///< their bytes
    std::int64_t broadcast = 0;  ///< bytes of the sums that every process receives
  };

  Exchange(Transport& transport, std::int64_t shards, std::vector<Item> items, std::int64_t bucket_bytes);

  /// The largest nodes whose shards this process computes, in order.
  const std::vector<ShardRange>& local_nodes() const { return local_nodes_; }

  /// Prepares to receive. Between start() and finish(), call put() once per item, in any order.
  void start();
  /// Provides an item's sum at each local node; undefined if no shard has one. At the last of them the sum is
  /// add_nodes(sums.back(), last).
  void put(std::size_t item, std::span<const Tensor> sums, const Tensor& last = {});
  /// True if put() was called for the item since start().
  bool has(std::size_t item) const { return given_[item]; }
  /// Waits for all buckets and returns the items' sums over all shards; undefined if no shard has one.
  Tensors finish();

  const Traffic& traffic() const { return traffic_; }

 private:
  struct Piece {
    std::size_t item;
    std::int64_t offset, count;  // elements within the item
    std::int64_t begin;          // element within the bucket
  };
  struct Step {
    enum class Kind { send, receive, add } kind;
    std::size_t slot = 0;   // the value to send or receive, or the left operand
    std::size_t right = 0;  // the right operand
    std::size_t out = 0;    // the sum
    int peer = 0;
    std::uint32_t count = 0;  // of the values of this bucket that the sender has sent, this one included
    Transport::Request request = 0;
  };
  struct Bucket {
    DType dtype;
    std::int64_t elements = 0;
    std::vector<Piece> pieces = {};
    std::vector<Step> steps = {};
    std::size_t begin = 0;               // of its slots within a rank's shared part
    std::vector<std::byte*> slots = {};  // for values at nodes: first the local ones, then those received
    std::size_t result = 0;
    int root = 0;
    // State of the current round.
    std::size_t missing = 0;
    std::size_t next_step = 0;
    std::vector<Transport::Request> sends = {};
    Transport::Request broadcast = 0;
  };
  struct Place {
    int rank = 0;
    std::size_t slot = 0;  // on that rank
  };
  // Per rank, while a bucket is planned.
  struct Counts {
    std::vector<std::size_t> local;  // local nodes seen
    std::vector<std::uint32_t> sent;
  };

  void find_local_nodes(const ShardRange& node, std::vector<std::size_t>& counts);
  void fill_buckets(std::int64_t bucket_bytes);
  Place plan(Bucket& bucket, std::size_t number, const ShardRange& node, int depth, Counts& counts);
  void add_slot(Bucket& bucket, const Place& place);
  std::size_t data_bytes(const Bucket& bucket) const;
  std::size_t bytes(const Bucket& bucket) const { return data_bytes(bucket) + bucket.pieces.size(); }
  // The data and, per piece, a byte that is nonzero if there is a value.
  std::size_t slot_bytes(const Bucket& bucket) const { return (bytes(bucket) + 63) / 64 * 64; }
  std::byte* flags(const Bucket& bucket, std::size_t slot) const {
    return bucket.slots[slot] + data_bytes(bucket);
  }
  // The progress of a rank with a bucket: the round and how many values it has sent.
  std::atomic_ref<std::uint64_t> progress(int rank, std::size_t number) const {
    return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(shared_->part(rank) + number * 64));
  }
  bool has_sent(int rank, std::size_t number, std::uint32_t count) const {
    return progress(rank, number).load(std::memory_order_acquire) >= (round_ << 32 | count);
  }
  void set_sent(std::size_t number, std::uint32_t count) const {
    progress(transport_.rank(), number).store(round_ << 32 | count, std::memory_order_release);
  }
  bool is_complete(std::size_t number) const;
  void pack(const Bucket& bucket, std::size_t which, std::size_t slot, const Tensor& value,
            const Tensor& other);
  void add(const Bucket& bucket, const Step& step);
  void advance();
  void advance(std::size_t number);

  Transport& transport_;
  std::int64_t shards_;
  std::vector<Item> items_;
  std::vector<int> owners_;
  std::vector<ShardRange> local_nodes_;
  std::vector<Bucket> buckets_;
  std::vector<std::vector<std::size_t>> buckets_of_item_;
  std::vector<bool> given_;
  std::unique_ptr<SharedMemory> shared_;  // null if buckets are sent in messages
  Tensors own_memory_;                    // of the slots, in that case
  std::uint64_t round_ = 0;               // calls of start()
  std::size_t next_broadcast_ = 0;
  Traffic traffic_;
};

}  // namespace retort::detail
