// Memory that the processes of a job on one machine share. Internal.
#pragma once

#include <cstddef>
#include <memory>

#include "retort/framework/distributed/transport_impl.hpp"

namespace retort::detail {

/// One part per rank, which every rank can read and write. The processes must synchronise their accesses.
class SharedMemory {
 public:
  /// Returns parts of `bytes` zeroed bytes, aligned to pages; null on every rank if the ranks run on several
  /// machines, if a machine has too little shared memory, or if RETORT_SHARED_MEMORY is 0 on rank 0. All
  /// ranks must call it together.
  static std::unique_ptr<SharedMemory> make(Transport& transport, std::size_t bytes);
  /// The memory is freed once no process uses it.
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  std::byte* part(int rank) const { return begin_ + bytes_ * static_cast<std::size_t>(rank); }

 private:
  SharedMemory(std::byte* begin, std::size_t bytes, std::size_t parts)
      : begin_(begin), bytes_(bytes), parts_(parts) {}

  std::byte* begin_;
  std::size_t bytes_, parts_;
};

}  // namespace retort::detail
