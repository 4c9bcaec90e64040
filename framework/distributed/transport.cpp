#include <algorithm>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/distributed/transport_impl.hpp"

namespace retort::detail {
namespace {

const char* name(Announcement::Call call) {
  using enum Announcement::Call;
  switch (call) {
    case barrier: return "calls barrier";
    case broadcast: return "calls broadcast";
    case all_reduce: return "calls all_reduce";
    case all_gather: return "calls all_gather";
    case destructor: return "destroys its Communicator";
    case step: return "calls DataParallel::backward";
    case internal: break;
  }
  return "is in a Training, RunFolder, Checkpoint, interrupted() or DataParallel's constructor";
}

}  // namespace

std::string call_difference(std::span<const Announcement> all) {
  const auto other = std::ranges::find_if(all, [&](const auto& each) { return each.call != all[0].call; });
  if (other == all.end()) return {};
  return message(
      "Communicator: rank {} {}, but rank 0 {}; all ranks must make the same calls in the same order",
      other - all.begin(), name(other->call), name(all[0].call));
}

std::vector<Announcement> Transport::announce(const Announcement& own) {
  std::vector<Announcement> all(static_cast<std::size_t>(size()));
  do_announce(own, all.data());
  if (const std::string difference = call_difference(all); !difference.empty()) throw Error(difference);
  if (own.call != Announcement::Call::internal) return all;
  for (std::size_t rank = 1; rank < all.size(); ++rank)
    if (all[rank] != all[0])
      throw Error(message(
          "Communicator: rank {} is in another call of a Training, RunFolder, Checkpoint or DataParallel "
          "than rank 0 ({}, not {}); all ranks must make the same calls in the same order",
          rank, counted(all[rank].details[0], "byte"), all[0].details[0]));
  return all;
}

void Transport::broadcast(void* bytes, std::size_t count, int root) {
  announce({.details = {count, static_cast<std::uint64_t>(root)}});
  do_broadcast(bytes, count, root);
}

void Transport::all_gather(const void* own, void* all, std::size_t count) {
  announce({.details = {count, static_cast<std::uint64_t>(size())}});
  do_all_gather(own, all, count);
}

}  // namespace retort::detail
