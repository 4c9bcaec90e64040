// The division of a batch's rows into shards. Internal.
#pragma once

#include <algorithm>
#include <cstdint>

namespace retort::detail {

struct ShardRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
  friend bool operator==(const ShardRange&, const ShardRange&) = default;
};

/// The rows of shard i when `rows` rows are cut into `shards` contiguous parts whose sizes differ by at most
/// one.
inline ShardRange rows_of_shard(std::int64_t rows, std::int64_t shards, std::int64_t i) {
  const std::int64_t size = rows / shards, larger = rows % shards;
  const std::int64_t begin = i * size + std::min(i, larger);
  return {begin, begin + size + (i < larger ? 1 : 0)};
}

}  // namespace retort::detail
