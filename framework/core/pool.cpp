#include "retort/framework/core/pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "retort/framework/core/node.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define RETORT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RETORT_ASAN 1
#endif
#endif
#ifdef RETORT_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace retort {
namespace {

// Blocks up to small_limit are carved from slabs and have classes of 64 bytes; larger ones come from the system
// one by one, in four classes per doubling. Blocks from shared_limit on always go through the shared lists: a
// lock costs nothing beside touching them.
constexpr std::size_t granule = 64;
constexpr std::size_t small_limit = 1024;
constexpr std::size_t shared_limit = std::size_t{256} << 10;
constexpr std::size_t slab_size = std::size_t{64} << 10;
constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::size_t small_classes = small_limit / granule;
constexpr std::size_t class_count = small_classes + 4 * (47 - 10);
constexpr std::int64_t thread_limit = std::int64_t{8} << 20;  // cached by one thread before it hands back

struct SizeClass {
  std::size_t index;
  std::size_t bytes;
};

SizeClass size_class(std::size_t bytes) {
  if (bytes <= small_limit) {
    const std::size_t granules = std::max<std::size_t>((bytes + granule - 1) / granule, 1);
    return {granules - 1, granules * granule};
  }
  const auto log = static_cast<std::size_t>(std::bit_width(bytes - 1)) - 1;  // 2^log < bytes <= 2^(log+1)
  const std::size_t step = std::size_t{1} << (log - 2);
  const std::size_t steps = (bytes - (std::size_t{1} << log) + step - 1) / step;  // 1 … 4
  const std::size_t index = small_classes + 4 * (log - 10) + steps - 1;
  if (index >= class_count) throw std::bad_alloc();
  return {index, (std::size_t{1} << log) + steps * step};
}

struct Block {
  Block* next;
};

struct FreeList {
  Block* head = nullptr;
  std::int64_t count = 0;

  void push(Block* block) {
    block->next = head;
    head = block;
    ++count;
  }
  Block* pop() {
    Block* block = head;
    head = block->next;
    --count;
    return block;
  }
};

// The first granule of a slab; its blocks are all of one class. A slab is aligned to its size.
struct Slab {
  std::size_t blocks;
  std::size_t swept;  // free blocks seen by release_memory
};
Slab* slab_of(Block* block) {
  return reinterpret_cast<Slab*>(reinterpret_cast<std::uintptr_t>(block) & ~(slab_size - 1));
}

void poison([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) {
#ifdef RETORT_ASAN
  __asan_poison_memory_region(static_cast<char*>(block) + sizeof(Block), bytes - sizeof(Block));
#endif
}
void unpoison([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) {
#ifdef RETORT_ASAN
  __asan_unpoison_memory_region(block, bytes);
#endif
}

using Lists = std::array<FreeList, class_count>;

// Counters of one thread: it alone writes, others only read.
class Counter {
 public:
  void add(std::int64_t amount) {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  std::int64_t read() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

struct ThreadCache {
  Lists lists;
  Counter cached;
  Counter in_use;
  Counter nodes;
};

class Pool {
 public:
  static Pool& instance() {
    static Pool* const pool = new Pool;  // never destroyed: tensors may outlive every static object
    return *pool;
  }

  void* take(SizeClass size) {
    const std::lock_guard lock(mutex_);
    if (size.bytes >= shared_limit) {
      large_in_use_ += static_cast<std::int64_t>(size.bytes);
      peak_ = std::max(peak_, large_in_use_);
    }
    if (lists_[size.index].head) {
      cached_ -= static_cast<std::int64_t>(size.bytes);
      return lists_[size.index].pop();
    }
    return request(size);
  }

  // Moves up to `most` cached blocks of a class to a thread; makes a slab's worth of small ones when there are none.
  void refill(FreeList& list, SizeClass size, std::int64_t most, Counter& cached) {
    const std::lock_guard lock(mutex_);
    FreeList& shared = lists_[size.index];
    if (!shared.head && size.bytes <= small_limit) carve(size);
    std::int64_t moved = 0;
    for (; moved < most && shared.head; ++moved) list.push(shared.pop());
    if (moved == 0) {
      list.push(static_cast<Block*>(request(size)));
      cached.add(static_cast<std::int64_t>(size.bytes));
      return;
    }
    cached_ -= moved * static_cast<std::int64_t>(size.bytes);
    cached.add(moved * static_cast<std::int64_t>(size.bytes));
  }

  void give(Block* block, SizeClass size) {
    const std::lock_guard lock(mutex_);
    if (size.bytes >= shared_limit) large_in_use_ -= static_cast<std::int64_t>(size.bytes);
    put(block, size);
  }

  void hand_back(FreeList& list, SizeClass size, std::int64_t keep, Counter& cached) {
    const std::lock_guard lock(mutex_);
    while (list.count > keep) {
      put(list.pop(), size);
      cached.add(-static_cast<std::int64_t>(size.bytes));
    }
  }

  void enter(ThreadCache* cache) {
    const std::lock_guard lock(mutex_);
    threads_.push_back(cache);
  }

  void leave(ThreadCache* cache) {
    hand_back_all(*cache);
    const std::lock_guard lock(mutex_);
    gone_in_use_ += cache->in_use.read();
    gone_nodes_ += cache->nodes.read();
    std::erase(threads_, cache);
  }

  void hand_back_all(ThreadCache& cache) {
    for (std::size_t i = 0; i < class_count; ++i)
      if (cache.lists[i].head) hand_back(cache.lists[i], {i, bytes_of(i)}, 0, cache.cached);
  }

  void release() {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = small_classes; i < class_count; ++i)
      while (lists_[i].head) {
        cached_ -= static_cast<std::int64_t>(bytes_of(i));
        return_to_system(lists_[i].pop(), bytes_of(i));
      }
    for (std::size_t i = 0; i < small_classes; ++i) release_slabs(lists_[i], bytes_of(i));
  }

  void set_cap(std::int64_t bytes) {
    const std::lock_guard lock(mutex_);
    cap_ = bytes;
  }

  // A thread that has no cache any more (it is ending) counts here.
  void count_gone(std::int64_t bytes, std::int64_t nodes) {
    const std::lock_guard lock(mutex_);
    gone_in_use_ += bytes;
    gone_nodes_ += nodes;
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    MemoryStats stats{gone_in_use_, cached_, peak_, requests_};
    for (const ThreadCache* cache : threads_) {
      stats.in_use += cache->in_use.read();
      stats.cached += cache->cached.read();
    }
    return stats;
  }

  std::int64_t nodes() {
    const std::lock_guard lock(mutex_);
    std::int64_t count = gone_nodes_;
    for (const ThreadCache* cache : threads_) count += cache->nodes.read();
    return count;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = large_in_use_;
  }

  static std::size_t bytes_of(std::size_t index) {
    if (index < small_classes) return (index + 1) * granule;
    const std::size_t log = 10 + (index - small_classes) / 4;
    const std::size_t steps = (index - small_classes) % 4 + 1;
    return (std::size_t{1} << log) + steps * (std::size_t{1} << (log - 2));
  }

 private:
  void put(Block* block, SizeClass size) {
    if (size.bytes > small_limit && cached_ + static_cast<std::int64_t>(size.bytes) > cap_) {
      return_to_system(block, size.bytes);
      return;
    }
    cached_ += static_cast<std::int64_t>(size.bytes);
    lists_[size.index].push(block);
  }

  void* request(SizeClass size) {
    ++requests_;
    const bool huge = size.bytes >= 2 * huge_page;
    void* block = std::aligned_alloc(huge ? huge_page : granule,
                                     huge ? (size.bytes + huge_page - 1) / huge_page * huge_page : size.bytes);
    if (!block) throw std::bad_alloc();
    if (huge) madvise(block, size.bytes, MADV_HUGEPAGE);  // fewer page faults; no harm where it is refused
    return block;
  }

  static void return_to_system(Block* block, std::size_t bytes) {
    unpoison(block, bytes);
    std::free(block);
  }

  void carve(SizeClass size) {
    ++requests_;
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(slab_size, slab_size));
    if (!memory) throw std::bad_alloc();
    const std::size_t blocks = (slab_size - granule) / size.bytes;
    new (memory) Slab{blocks, 0};
    for (std::size_t i = blocks; i-- > 0;) {
      auto* block = reinterpret_cast<Block*>(memory + granule + i * size.bytes);
      lists_[size.index].push(block);
      poison(block, size.bytes);
    }
    cached_ += static_cast<std::int64_t>(blocks * size.bytes);
  }

  // Frees the slabs of which every block is in `list`.
  void release_slabs(FreeList& list, std::size_t bytes) {
    std::vector<Slab*> empty;
    for (Block* block = list.head; block; block = block->next)
      if (++slab_of(block)->swept == slab_of(block)->blocks) empty.push_back(slab_of(block));
    FreeList kept;
    while (list.head) {
      Block* block = list.pop();
      if (slab_of(block)->swept != slab_of(block)->blocks) kept.push(block);
    }
    for (Block* block = kept.head; block; block = block->next) slab_of(block)->swept = 0;
    list = kept;
    for (Slab* slab : empty) {
      cached_ -= static_cast<std::int64_t>(slab->blocks * bytes);
      unpoison(slab, slab_size);
      std::free(slab);
    }
  }

  std::mutex mutex_;
  Lists lists_;
  std::vector<ThreadCache*> threads_;
  std::int64_t cached_ = 0;
  std::int64_t cap_ = std::int64_t{1} << 30;
  std::int64_t large_in_use_ = 0;
  std::int64_t peak_ = 0;
  std::int64_t requests_ = 0;
  std::int64_t gone_in_use_ = 0;
  std::int64_t gone_nodes_ = 0;
};

thread_local constinit ThreadCache* thread_cache __attribute__((tls_model("initial-exec"))) = nullptr;
thread_local constinit bool thread_is_ending __attribute__((tls_model("initial-exec"))) = false;

struct ThreadEnd {
  ~ThreadEnd() {
    thread_is_ending = true;
    if (!thread_cache) return;
    Pool::instance().leave(thread_cache);
    delete std::exchange(thread_cache, nullptr);
  }
};

// The calling thread's cache; null while the thread ends.
ThreadCache* cache_of_thread() {
  if (!thread_cache && !thread_is_ending) {
    static thread_local ThreadEnd end;
    thread_cache = new ThreadCache;
    Pool::instance().enter(thread_cache);
  }
  return thread_cache;
}

}  // namespace

namespace detail {

void* pool_allocate(std::size_t bytes) {
  const SizeClass size = size_class(bytes);
  ThreadCache* cache = cache_of_thread();
  void* block = nullptr;
  if (size.bytes >= shared_limit || !cache) {
    block = Pool::instance().take(size);
  } else {
    FreeList& list = cache->lists[size.index];
    if (!list.head) {
      const auto most = static_cast<std::int64_t>(std::max<std::size_t>(slab_size / size.bytes, 1));
      Pool::instance().refill(list, size, most, cache->cached);
    }
    block = list.pop();
    cache->cached.add(-static_cast<std::int64_t>(size.bytes));
  }
  if (cache) {
    cache->in_use.add(static_cast<std::int64_t>(size.bytes));
  } else {
    Pool::instance().count_gone(static_cast<std::int64_t>(size.bytes), 0);
  }
  unpoison(block, size.bytes);
  return block;
}

void pool_free(void* memory, std::size_t bytes) noexcept {
  const SizeClass size = size_class(bytes);
  auto* block = static_cast<Block*>(memory);
  ThreadCache* cache = cache_of_thread();
  if (cache) {
    cache->in_use.add(-static_cast<std::int64_t>(size.bytes));
  } else {
    Pool::instance().count_gone(-static_cast<std::int64_t>(size.bytes), 0);
  }
  poison(block, size.bytes);
  if (size.bytes >= shared_limit || !cache) {
    Pool::instance().give(block, size);
    return;
  }
  FreeList& list = cache->lists[size.index];
  list.push(block);
  cache->cached.add(static_cast<std::int64_t>(size.bytes));
  if (cache->cached.read() > thread_limit) {
    // A thread that only frees hands the blocks back in bulk, so that the threads that allocate find them.
    Pool::instance().hand_back(list, size, list.count / 2, cache->cached);
  }
}

void count_nodes(std::int64_t change) noexcept {
  if (ThreadCache* cache = cache_of_thread()) {
    cache->nodes.add(change);
  } else {
    Pool::instance().count_gone(0, change);
  }
}

}  // namespace detail

MemoryStats memory_stats() { return Pool::instance().stats(); }
void reset_peak_memory() { Pool::instance().reset_peak(); }
void set_memory_cap(std::int64_t bytes) { Pool::instance().set_cap(bytes); }
std::int64_t live_nodes() { return Pool::instance().nodes(); }

void release_memory() {
  if (ThreadCache* cache = cache_of_thread()) Pool::instance().hand_back_all(*cache);
  Pool::instance().release();
}

}  // namespace retort
