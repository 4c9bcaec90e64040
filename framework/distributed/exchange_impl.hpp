// Adds tensors over the tree of shards, across processes, while other tensors are still being computed.
// Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "retort/framework/core/tensor.hpp"
#include "retort/framework/distributed/shard_tree_impl.hpp"
#include "retort/framework/distributed/transport_impl.hpp"

namespace retort::detail {

/// left + right, in this order; the defined one if the other is undefined, and `left` for int64. May write
/// into `left` if nobody else owns its buffer.
Tensor add_nodes(Tensor left, const Tensor& right);

/// Adds one tensor per item and shard. The items are packed, in order, into buckets of a bounded size; an
/// item may span several buckets. A bucket is sent as soon as its items are complete.
///
/// The processes of both children of a node have a sum; one of them sends it to the other, which adds. The
/// receiver depends on the bucket, so that the work is distributed; the sum's bits do not depend on it. The
/// process with the root's sum broadcasts it, in the order of the buckets.
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
  /// Provides an item's sum at each local node; undefined if no shard has one.
  void put(std::size_t item, std::span<const Tensor> sums);
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
    Transport::Request request = 0;
  };
  struct Bucket {
    DType dtype;
    std::int64_t elements = 0;
    std::vector<Piece> pieces = {};
    std::vector<Step> steps = {};
    Tensors slots = {};  // memory for values at nodes: first the local ones, then those received
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

  void find_local_nodes(const ShardRange& node);
  void fill_buckets(std::int64_t bucket_bytes);
  Place plan(Bucket& bucket, std::size_t number, const ShardRange& node, int depth);
  std::size_t data_bytes(const Bucket& bucket) const;
  std::size_t bytes(const Bucket& bucket) const { return data_bytes(bucket) + bucket.pieces.size(); }
  std::byte* memory(const Bucket& bucket, std::size_t slot) const;
  std::byte* flags(const Bucket& bucket, std::size_t slot) const {
    return memory(bucket, slot) + data_bytes(bucket);
  }
  void pack(const Bucket& bucket, const Piece& piece, std::size_t which, std::size_t slot,
            const Tensor& value);
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
  std::size_t next_broadcast_ = 0;
  Traffic traffic_;
};

}  // namespace retort::detail
