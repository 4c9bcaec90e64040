#include "retort/framework/distributed/exchange_impl.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <thread>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/array_ops.hpp"
#include "retort/framework/core/engine_ops.hpp"

namespace retort::detail {

namespace {

// The value of a bucket's progress once its sum is complete.
constexpr std::uint32_t complete = std::numeric_limits<std::uint32_t>::max();

// add_nodes for values of which null is an undefined one. Returns false if both are.
template <class T>
bool combine(const T* left, const T* right, T* out, std::int64_t n) {
  if (left && right && std::is_floating_point_v<T>) {
    parallel_for(n, 65536, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = left[i] + right[i];
    });
  } else if (const T* const from = left ? left : right; from && from != out) {
    std::copy_n(from, n, out);
  }
  return left || right;
}

}  // namespace

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
  std::vector<std::size_t> locals(static_cast<std::size_t>(transport.size()));
  find_local_nodes({0, shards_}, locals);
  fill_buckets(bucket_bytes);
  const std::size_t most = std::max<std::size_t>(1, std::ranges::max(locals));
  std::size_t end = buckets_.size() * 64;
  for (Bucket& bucket : buckets_) {
    bucket.begin = end;
    end += most * slot_bytes(bucket);
  }
  shared_ = SharedMemory::make(transport_, end);
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    Bucket& bucket = buckets_[i];
    for (std::size_t slot = 0; slot < std::max<std::size_t>(1, local_nodes_.size()); ++slot)
      add_slot(bucket, {transport_.rank(), slot});
    Counts counts{std::vector<std::size_t>(locals.size()), std::vector<std::uint32_t>(locals.size())};
    const Place root = plan(bucket, i, {0, shards_}, 0, counts);
    bucket.root = root.rank;
    if (root.rank == transport_.rank()) {
      bucket.result = root.slot;
    } else if (shared_) {
      bucket.result = bucket.slots.size();
      add_slot(bucket, root);
    }
  }
}

// Appends the slot at `place` to this rank's; without shared memory, a new one of its own.
void Exchange::add_slot(Bucket& bucket, const Place& place) {
  if (shared_) {
    bucket.slots.push_back(shared_->part(place.rank) + bucket.begin + place.slot * slot_bytes(bucket));
    return;
  }
  own_memory_.push_back(empty({static_cast<std::int64_t>(slot_bytes(bucket) / 8)}, DType::float64));
  bucket.slots.push_back(static_cast<std::byte*>(detail::Access::array(own_memory_.back()).write()));
}

// Counts the local nodes of every rank, and lists those of this one.
void Exchange::find_local_nodes(const ShardRange& node, std::vector<std::size_t>& counts) {
  const int first = owners_[static_cast<std::size_t>(node.begin)];
  const int last = owners_[static_cast<std::size_t>(node.end - 1)];
  if (first == last) {
    ++counts[static_cast<std::size_t>(first)];
    if (first == transport_.rank()) local_nodes_.push_back(node);
    return;
  }
  find_local_nodes({node.begin, middle(node)}, counts);
  find_local_nodes({middle(node), node.end}, counts);
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
Exchange::Place Exchange::plan(Bucket& bucket, std::size_t number, const ShardRange& node, int depth,
                               Counts& counts) {
  const int me = transport_.rank();
  const int first = owners_[static_cast<std::size_t>(node.begin)];
  if (first == owners_[static_cast<std::size_t>(node.end - 1)])
    return {first, counts.local[static_cast<std::size_t>(first)]++};
  Place left = plan(bucket, number, {node.begin, middle(node)}, depth + 1, counts);
  Place right = plan(bucket, number, {middle(node), node.end}, depth + 1, counts);
  const bool to_right = depth < 32 && (number >> depth & 1) != 0;
  const Place target = to_right ? right : left;
  Place& source = to_right ? left : right;
  if (source.rank != target.rank) {
    const std::uint32_t count = ++counts.sent[static_cast<std::size_t>(source.rank)];
    if (me == source.rank)
      bucket.steps.push_back(
          {.kind = Step::Kind::send, .slot = source.slot, .peer = target.rank, .count = count});
    if (me == target.rank) {
      const std::size_t slot = bucket.slots.size();
      add_slot(bucket, source);
      bucket.steps.push_back(
          {.kind = Step::Kind::receive, .slot = slot, .peer = source.rank, .count = count});
      source.slot = slot;
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

void Exchange::start() {
  ++round_;
  next_broadcast_ = 0;
  given_.assign(items_.size(), false);
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    Bucket& bucket = buckets_[i];
    bucket.missing = bucket.pieces.size();
    bucket.next_step = 0;
    bucket.sends.clear();
    if (shared_) continue;
    for (Step& step : bucket.steps)
      if (step.kind == Step::Kind::receive)
        step.request = transport_.start_receive(bucket.slots[step.slot], bytes(bucket), step.peer,
                                                static_cast<int>(i % 32000));
  }
}

void Exchange::pack(const Bucket& bucket, std::size_t which, std::size_t slot, const Tensor& value,
                    const Tensor& other) {
  visit_dtype(bucket.dtype, [&]<class T>(T) {
    const Piece& piece = bucket.pieces[which];
    const auto values = [&](const Tensor& tensor) {
      return tensor.defined() ? tensor.data<T>().data() + piece.offset : nullptr;
    };
    T* const out = reinterpret_cast<T*>(bucket.slots[slot]) + piece.begin;
    flags(bucket, slot)[which] = std::byte{combine<T>(values(value), values(other), out, piece.count)};
  });
}

void Exchange::put(std::size_t item, std::span<const Tensor> sums, const Tensor& last) {
  given_[item] = true;
  for (const std::size_t number : buckets_of_item_[item]) {
    Bucket& bucket = buckets_[number];
    for (std::size_t which = 0; which < bucket.pieces.size(); ++which) {
      if (bucket.pieces[which].item != item) continue;
      for (std::size_t slot = 0; slot < sums.size(); ++slot)
        pack(bucket, which, slot, sums[slot], slot + 1 == sums.size() ? last : Tensor());
      --bucket.missing;
    }
    advance();
  }
  transport_.progress(false);
  advance();
}

// Adds the sums at a node piece by piece.
void Exchange::add(const Bucket& bucket, const Step& step) {
  visit_dtype(bucket.dtype, [&]<class T>(T) {
    for (std::size_t which = 0; which < bucket.pieces.size(); ++which) {
      const Piece& piece = bucket.pieces[which];
      const auto values = [&](std::size_t slot) {
        return flags(bucket, slot)[which] == std::byte{0}
                   ? nullptr
                   : reinterpret_cast<const T*>(bucket.slots[slot]) + piece.begin;
      };
      T* const out = reinterpret_cast<T*>(bucket.slots[step.out]) + piece.begin;
      flags(bucket, step.out)[which] =
          std::byte{combine<T>(values(step.slot), values(step.right), out, piece.count)};
    }
  });
}

void Exchange::advance(std::size_t number) {
  Bucket& bucket = buckets_[number];
  for (; bucket.next_step < bucket.steps.size(); ++bucket.next_step) {
    const Step& step = bucket.steps[bucket.next_step];
    if (step.kind == Step::Kind::receive &&
        !(shared_ ? has_sent(step.peer, number, step.count) : transport_.done(step.request)))
      return;
    if (step.kind == Step::Kind::add) add(bucket, step);
    if (step.kind == Step::Kind::send) {
      if (shared_)
        set_sent(number, step.count);
      else
        bucket.sends.push_back(transport_.start_send(bucket.slots[step.slot], bytes(bucket), step.peer,
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
    if (!shared_)
      bucket.broadcast = transport_.start_broadcast(bucket.slots[bucket.result], bytes(bucket), bucket.root);
    else if (bucket.root == transport_.rank())
      set_sent(next_broadcast_, complete);
    traffic_.broadcast += static_cast<std::int64_t>(bytes(bucket));
  }
}

bool Exchange::is_complete(std::size_t number) const {
  const Bucket& bucket = buckets_[number];
  return next_broadcast_ > number &&
         (shared_ ? has_sent(bucket.root, number, complete) : transport_.done(bucket.broadcast));
}

Tensors Exchange::finish() {
  Tensors sums(items_.size());
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    const Bucket& bucket = buckets_[i];
    advance();
    for (int polls = 0; !is_complete(i); ++polls) {
      transport_.progress(!shared_);
      if (shared_ && polls > 1000) std::this_thread::yield();  // the processor may be another rank's too
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
                  bucket.slots[bucket.result] + static_cast<std::size_t>(piece.begin) * width,
                  static_cast<std::size_t>(piece.count) * width);
    }
  }
  return sums;
}

}  // namespace retort::detail
