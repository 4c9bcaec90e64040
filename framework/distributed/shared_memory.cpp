#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>
#include <vector>

#include "retort/framework/distributed/shared_memory_impl.hpp"

namespace retort::detail {
namespace {

bool is_allowed() {
  const char* const value = std::getenv("RETORT_SHARED_MEMORY");
  return value == nullptr || std::string_view(value) != "0";
}

// True if it is true on every rank.
bool on_every_rank(Transport& transport, bool own) {
  std::vector<char> all(static_cast<std::size_t>(transport.size()));
  const char answer = own ? 1 : 0;
  transport.all_gather(&answer, all.data(), 1);
  return std::ranges::all_of(all, [](char each) { return each != 0; });
}

// Allocates the pages of a range of the file now, since a failure at their first use would end the process.
bool allocate(int file, std::size_t begin, std::size_t count) {
  int error = EINTR;
  while (error == EINTR)
    error = ::posix_fallocate(file, static_cast<off_t>(begin), static_cast<off_t>(count));
  return error == 0;
}

}  // namespace

std::unique_ptr<SharedMemory> SharedMemory::make(Transport& transport, std::size_t bytes) {
  const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  bytes = (bytes + page - 1) / page * page;
  const auto rank = static_cast<std::size_t>(transport.rank()),
             parts = static_cast<std::size_t>(transport.size());
  // Rank 0 makes a file in memory under a random name, which does not exist on another machine. The name is
  // removed as soon as every rank has opened the file, so that a killed job leaves nothing.
  std::array<char, 64> name{};
  int file = -1;
  if (rank == 0 && is_allowed()) {
    std::random_device random;
    std::snprintf(name.data(), name.size(), "/retort-%08x%08x%08x%08x", random(), random(), random(),
                  random());
    file = ::shm_open(name.data(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (file < 0) name[0] = '\0';
  }
  transport.broadcast(name.data(), name.size(), 0);
  if (name[0] == '\0') return nullptr;
  if (rank != 0) file = ::shm_open(name.data(), O_RDWR | O_CLOEXEC, 0);
  bool usable = on_every_rank(transport, file >= 0);
  if (rank == 0) ::shm_unlink(name.data());
  void* memory = MAP_FAILED;
  if (usable && allocate(file, rank * bytes, bytes))
    memory = ::mmap(nullptr, bytes * parts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file >= 0) ::close(file);
  usable = on_every_rank(transport, memory != MAP_FAILED);
  std::unique_ptr<SharedMemory> made;
  if (memory != MAP_FAILED) made.reset(new SharedMemory(static_cast<std::byte*>(memory), bytes, parts));
  return usable ? std::move(made) : nullptr;
}

SharedMemory::~SharedMemory() { ::munmap(begin_, bytes_ * parts_); }

}  // namespace retort::detail
