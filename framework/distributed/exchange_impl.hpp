// Adds tensors over the tree of shards, wherever the shards were computed, while others are still being
// computed. Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "retort/framework/core/tensor.hpp"
#include "retort/framework/distributed/shard_tree_impl.hpp"
#include "retort/framework/distributed/transport_impl.hpp"

namespace retort::detail {

/// left + right, in this order; one of them if the other is undefined, and `left` for int64. May write into
/// `left` where nobody else holds it.
Tensor add_nodes(Tensor left, const Tensor& right);

/// One tensor of each item per shard is to be added. The items are packed into buckets of a bounded size, in
/// order; an item may span several buckets. A bucket whose items are complete leaves at once.
///
/// The processes of both children of a node have a sum; one of them sends it to the other, which adds. Which
/// one depends on the bucket, so that the work is spread, and the sum's bits do not depend on it. The process
/// that has the sum of the root broadcasts it, in the order of the buckets.
class Exchange {
 public:
  struct Item {
    Shape shape;
    DType dtype = DType::float32;
    bool late = false;  ///< begins a bucket, if the item before it is not late
  };
  struct Traffic {
    std::int64_t messages = 0;   ///< sent by this process to one other
    std::int64_t sent = 0;       ///< their bytes
    std::int64_t broadcast = 0;  ///< bytes of the sums that every process gets
  };

  Exchange(Transport& transport, std::int64_t shards, std::vector<Item> items, std::int64_t bucket_bytes);

  /// The largest nodes whose shards this process computes, in order.
  const std::vector<ShardRange>& local_nodes() const { return local_nodes_; }

  /// Gets ready to receive. The calls between start() and finish() are made once per item, in any order.
  void start();
  /// Gives an item's sum at each local node; undefined where no shard has one.
  void put(std::size_t item, std::span<const Tensor> sums);
  /// Whether put() was called for the item since start().
  bool has(std::size_t item) const { return given_[item]; }
  /// Waits for all buckets and returns the items' sums over all shards, undefined where no shard has one.
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
    std::size_t slot = 0;   // what is sent or received, or the left operand
    std::size_t right = 0;  // the right operand
    std::size_t out = 0;    // where the sum goes
    int peer = 0;
    Transport::Request request = 0;
  };
  struct Bucket {
    DType dtype;
    std::int64_t elements = 0;
    std::vector<Piece> pieces = {};
    std::vector<Step> steps = {};
    Tensors slots = {};  // memory for the values at nodes: the local ones first, then those received
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
