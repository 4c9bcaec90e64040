#include "retort/framework/distributed/exchange_impl.hpp"

#include <algorithm>
#include <cstring>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/array_ops.hpp"
#include "retort/framework/core/engine_ops.hpp"

namespace retort::detail {

Tensor add_nodes(Tensor left, const Tensor& right) {
  if (!left.defined()) return right;
  if (!right.defined() || left.dtype() == DType::int64) return left;
  if (!detail::Access::unique(left)) return retort::add(left, right);
  add_in_place(detail::Access::array(left), detail::Access::array(right));
  return left;
}

Exchange::Exchange(Transport& transport, std::int64_t shards, std::vector<Item> items,
                   std::int64_t bucket_bytes)
    : transport_(transport),
      shards_(shards),
      items_(std::move(items)),
      owners_(ranks_of_shards(shards, transport.size())),
      buckets_of_item_(items_.size()),
      given_(items_.size()) {
  find_local_nodes({0, shards_});
  fill_buckets(bucket_bytes);
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    Bucket& bucket = buckets_[i];
    const std::int64_t doubles = static_cast<std::int64_t>(bytes(bucket) + 7) / 8;
    const auto add_slot = [&] { bucket.slots.push_back(empty({doubles}, DType::float64)); };
    for (std::size_t k = 0; k < std::max<std::size_t>(1, local_nodes_.size()); ++k) add_slot();
    const Place root = plan(bucket, i, {0, shards_}, 0);
    bucket.root = root.rank;
    bucket.result = root.rank == transport_.rank() ? root.slot : 0;
  }
}

void Exchange::find_local_nodes(const ShardRange& node) {
  const int first = owners_[static_cast<std::size_t>(node.begin)];
  const int last = owners_[static_cast<std::size_t>(node.end - 1)];
  if (first == last) {
    if (first == transport_.rank()) local_nodes_.push_back(node);
    return;
  }
  find_local_nodes({node.begin, middle(node)});
  find_local_nodes({middle(node), node.end});
}

void Exchange::fill_buckets(std::int64_t bucket_bytes) {
  for (std::size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    const std::int64_t capacity = bucket_bytes / static_cast<std::int64_t>(size_of(item.dtype));
    bool fresh = buckets_.empty() || buckets_.back().dtype != item.dtype ||
                 (i > 0 && item.late && !items_[i - 1].late);
    std::int64_t left = element_count(item.shape);
    do {
      if (fresh || (left > 0 && buckets_.back().elements >= capacity))
        buckets_.push_back({.dtype = item.dtype});
      fresh = false;
      Bucket& bucket = buckets_.back();
      const std::int64_t count = std::min(left, capacity - bucket.elements);
      bucket.pieces.push_back({i, element_count(item.shape) - left, count, bucket.elements});
      bucket.elements += count;
      buckets_of_item_[i].push_back(buckets_.size() - 1);
      left -= count;
    } while (left > 0);
  }
}

// Appends this rank's steps for the sum at `node`, and returns the place of that sum.
Exchange::Place Exchange::plan(Bucket& bucket, std::size_t number, const ShardRange& node, int depth) {
  const int me = transport_.rank();
  const int first = owners_[static_cast<std::size_t>(node.begin)];
  if (first == owners_[static_cast<std::size_t>(node.end - 1)]) {
    const auto local = std::ranges::find(local_nodes_, node);
    return {first, static_cast<std::size_t>(local - local_nodes_.begin())};
  }
  Place left = plan(bucket, number, {node.begin, middle(node)}, depth + 1);
  Place right = plan(bucket, number, {middle(node), node.end}, depth + 1);
  const bool to_right = depth < 32 && (number >> depth & 1) != 0;
  Place& target = to_right ? right : left;
  Place& source = to_right ? left : right;
  if (source.rank != target.rank) {
    if (me == source.rank)
      bucket.steps.push_back({.kind = Step::Kind::send, .slot = source.slot, .peer = target.rank});
    if (me == target.rank) {
      bucket.steps.push_back({.kind = Step::Kind::receive, .slot = bucket.slots.size(), .peer = source.rank});
      source.slot = bucket.slots.size();
      bucket.slots.push_back(empty_like(bucket.slots.front()));
    }
  }
  if (me == target.rank)
    bucket.steps.push_back(
        {.kind = Step::Kind::add, .slot = left.slot, .right = right.slot, .out = target.slot});
  return target;
}

std::size_t Exchange::data_bytes(const Bucket& bucket) const {
  return static_cast<std::size_t>(bucket.elements) * size_of(bucket.dtype);
}

std::byte* Exchange::memory(const Bucket& bucket, std::size_t slot) const {
  return static_cast<std::byte*>(detail::Access::array(bucket.slots[slot]).write());
}

void Exchange::start() {
  next_broadcast_ = 0;
  given_.assign(items_.size(), false);
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    Bucket& bucket = buckets_[i];
    bucket.missing = bucket.pieces.size();
    bucket.next_step = 0;
    bucket.sends.clear();
    for (Step& step : bucket.steps)
      if (step.kind == Step::Kind::receive)
        step.request = transport_.start_receive(memory(bucket, step.slot), bytes(bucket), step.peer,
                                                static_cast<int>(i % 32000));
  }
}

void Exchange::pack(const Bucket& bucket, const Piece& piece, std::size_t which, std::size_t slot,
                    const Tensor& value) {
  flags(bucket, slot)[which] = std::byte{value.defined()};
  if (!value.defined()) return;
  const std::size_t width = size_of(bucket.dtype);
  std::memcpy(memory(bucket, slot) + static_cast<std::size_t>(piece.begin) * width,
              static_cast<const std::byte*>(detail::Access::array(value).read()) +
                  static_cast<std::size_t>(piece.offset) * width,
              static_cast<std::size_t>(piece.count) * width);
}

void Exchange::put(std::size_t item, std::span<const Tensor> sums) {
  given_[item] = true;
  for (const std::size_t number : buckets_of_item_[item]) {
    Bucket& bucket = buckets_[number];
    for (std::size_t which = 0; which < bucket.pieces.size(); ++which) {
      if (bucket.pieces[which].item != item) continue;
      for (std::size_t slot = 0; slot < sums.size(); ++slot)
        pack(bucket, bucket.pieces[which], which, slot, sums[slot]);
      --bucket.missing;
    }
  }
  transport_.progress(false);
  advance();
}

// Adds the sums at a node piece by piece, as add_nodes does.
void Exchange::add(const Bucket& bucket, const Step& step) {
  visit_dtype(bucket.dtype, [&]<class T>(T) {
    for (std::size_t which = 0; which < bucket.pieces.size(); ++which) {
      const Piece& piece = bucket.pieces[which];
      const auto values = [&](std::size_t slot) {
        return reinterpret_cast<T*>(memory(bucket, slot)) + piece.begin;
      };
      const T *left = values(step.slot), *right = values(step.right);
      T* const out = values(step.out);
      const bool has_left = flags(bucket, step.slot)[which] != std::byte{0};
      const bool has_right = flags(bucket, step.right)[which] != std::byte{0};
      flags(bucket, step.out)[which] = std::byte{has_left || has_right};
      if (has_left && has_right && std::is_floating_point_v<T>) {
        parallel_for(piece.count, 65536, [=](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) out[i] = left[i] + right[i];
        });
      } else if (has_left || has_right) {
        const T* const from = has_left ? left : right;
        if (from != out) std::copy_n(from, piece.count, out);
      }
    }
  });
}

void Exchange::advance(std::size_t number) {
  Bucket& bucket = buckets_[number];
  for (; bucket.next_step < bucket.steps.size(); ++bucket.next_step) {
    const Step& step = bucket.steps[bucket.next_step];
    if (step.kind == Step::Kind::receive && !transport_.done(step.request)) return;
    if (step.kind == Step::Kind::add) add(bucket, step);
    if (step.kind == Step::Kind::send) {
      bucket.sends.push_back(transport_.start_send(memory(bucket, step.slot), bytes(bucket), step.peer,
                                                   static_cast<int>(number % 32000)));
      ++traffic_.messages;
      traffic_.sent += static_cast<std::int64_t>(bytes(bucket));
    }
  }
}

void Exchange::advance() {
  for (std::size_t i = next_broadcast_; i < buckets_.size(); ++i)
    if (buckets_[i].missing == 0) advance(i);
  const auto is_done = [this](Transport::Request request) { return transport_.done(request); };
  for (; next_broadcast_ < buckets_.size(); ++next_broadcast_) {
    Bucket& bucket = buckets_[next_broadcast_];
    // Data being sent must not be overwritten.
    if (bucket.missing > 0 || bucket.next_step < bucket.steps.size() ||
        !std::ranges::all_of(bucket.sends, is_done))
      return;
    bucket.broadcast = transport_.start_broadcast(memory(bucket, bucket.result), bytes(bucket), bucket.root);
    traffic_.broadcast += static_cast<std::int64_t>(bytes(bucket));
  }
}

Tensors Exchange::finish() {
  Tensors sums(items_.size());
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    const Bucket& bucket = buckets_[i];
    advance();
    while (next_broadcast_ <= i || !transport_.done(bucket.broadcast)) {
      transport_.progress(true);
      advance();
    }
    const std::size_t width = size_of(bucket.dtype);
    for (std::size_t which = 0; which < bucket.pieces.size(); ++which) {
      if (flags(bucket, bucket.result)[which] == std::byte{0}) continue;
      const Piece& piece = bucket.pieces[which];
      Tensor& sum = sums[piece.item];
      if (!sum.defined()) sum = empty(items_[piece.item].shape, bucket.dtype);
      std::memcpy(static_cast<std::byte*>(detail::Access::array(sum).write()) +
                      static_cast<std::size_t>(piece.offset) * width,
                  memory(bucket, bucket.result) + static_cast<std::size_t>(piece.begin) * width,
                  static_cast<std::size_t>(piece.count) * width);
    }
  }
  return sums;
}

}  // namespace retort::detail
