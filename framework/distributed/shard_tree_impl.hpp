// The tree over which the parts of a batch are added, and the assignment of parts to processes. Internal.
//
// A node is a range of shards [begin, end), split at middle(node) into its left and right child; a node of
// one shard is a leaf. The tree depends only on the number of shards.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "retort/framework/data/shards_impl.hpp"

namespace retort::detail {

/// The left child is the largest full binary tree that leaves a shard for the right child.
inline std::int64_t middle(const ShardRange& node) {
  return node.begin + static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(node.size() - 1)));
}

/// Returns true if `range` is a node of the tree over `shards` shards.
inline bool is_node(const ShardRange& range, std::int64_t shards) {
  ShardRange node{0, shards};
  while (node != range) {
    if (node.size() == 1) return false;
    const std::int64_t between = middle(node);
    if (range.end <= between) {
      node.end = between;
    } else if (range.begin >= between) {
      node.begin = between;
    } else {
      return false;
    }
  }
  return true;
}

/// The shards that a rank computes: contiguous, and about equally many per rank.
inline ShardRange shards_of_rank(std::int64_t shards, int ranks, int rank) {
  return {rank * shards / ranks, (rank + 1) * shards / ranks};
}

/// The rank that computes each shard.
inline std::vector<int> ranks_of_shards(std::int64_t shards, int ranks) {
  std::vector<int> owners;
  for (int rank = 0; rank < ranks; ++rank)
    owners.resize(static_cast<std::size_t>(shards_of_rank(shards, ranks, rank).end), rank);
  return owners;
}

}  // namespace retort::detail
