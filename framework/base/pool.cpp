#include "retort/framework/base/pool.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "retort/framework/base/out_of_memory_impl.hpp"

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

// Blocks up to small_limit are carved from slabs, in classes of 64 bytes. Larger ones are allocated
// individually, in four classes per doubling. Blocks of shared_limit or more always go through the shared
// lists: the lock is cheap compared with writing the block.
constexpr std::size_t granule = 64;
constexpr std::size_t small_limit = 1024;
constexpr std::size_t shared_limit = std::size_t{256} << 10;
constexpr std::size_t slab_size = std::size_t{64} << 10;
constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::size_t small_classes = small_limit / granule;
constexpr std::size_t class_count = small_classes + 4 * (47 - 10);
constexpr std::int64_t list_limit = std::int64_t{2} << 20;  // bytes that a thread keeps per class

struct SizeClass {
  std::size_t index;
  std::size_t bytes;
};

SizeClass large_class(std::size_t bytes) {
  const auto log = static_cast<std::size_t>(std::bit_width(bytes - 1)) - 1;  // 2^log < bytes <= 2^(log+1)
  const std::size_t step = std::size_t{1} << (log - 2);
  const std::size_t steps = (bytes - (std::size_t{1} << log) + step - 1) / step;  // 1 … 4
  const std::size_t index = small_classes + 4 * (log - 10) + steps - 1;
  if (index >= class_count) detail::out_of_memory("a block", bytes);
  return {index, (std::size_t{1} << log) + steps * step};
}

inline SizeClass size_class(std::size_t bytes) {
  if (bytes > small_limit) return large_class(bytes);
  const std::size_t last = (bytes - (bytes > 0)) / granule;
  return {last, (last + 1) * granule};
}

struct Block {
  Block* next;
};

// The free blocks of one class. Only its owner changes it; other threads only read its length.
class FreeList {
 public:
  bool empty() const { return head_ == nullptr; }
  Block* head() const { return head_; }
  std::int64_t count() const { return count_.load(std::memory_order_relaxed); }
  void push(Block* block) {
    block->next = head_;
    head_ = block;
    count_.store(count() + 1, std::memory_order_relaxed);
  }
  Block* pop() {
    Block* block = head_;
    head_ = block->next;
    count_.store(count() - 1, std::memory_order_relaxed);
    return block;
  }

 private:
  Block* head_ = nullptr;
  std::atomic<std::int64_t> count_{0};
};

// The first granule of a slab. A slab is aligned to its size, and its blocks are all of one class.
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

struct ThreadCache {
  Lists lists;
  std::atomic<std::int64_t> nodes{0};  // written only by its own thread
};

class Pool {
 public:
  static Pool& instance() {
    // Never destroyed: tensors may outlive all static objects. A fork waits until the lock is free, since the
    // child has none of the threads that would release it.
    static Pool* const pool = [] {
      ::pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                       [] { instance().mutex_.unlock(); });
      return new Pool;
    }();
    return *pool;
  }

  void* take(SizeClass size) {
    const std::lock_guard lock(mutex_);
    void* block = lists_[size.index].empty() ? request(size) : uncache(size);
    if (size.bytes >= shared_limit) peak_ = std::max(peak_, reserved_ - cached_by_all());
    return block;
  }

  // Moves up to one slab's worth of cached blocks of a class to a thread's empty list; allocates them if
  // there are none.
  void refill(FreeList& list, SizeClass size) {
    const std::lock_guard lock(mutex_);
    FreeList& shared = lists_[size.index];
    if (shared.empty() && size.bytes <= small_limit) carve(size);
    const std::size_t most = std::max<std::size_t>(slab_size / size.bytes, 1);
    for (std::size_t i = 0; i < most && !shared.empty(); ++i) list.push(uncache(size));
    if (list.empty()) list.push(static_cast<Block*>(request(size)));
  }

  void give(Block* block, SizeClass size) {
    const std::lock_guard lock(mutex_);
    put(block, size);
  }

  void hand_back(FreeList& list, SizeClass size, std::int64_t keep) {
    const std::lock_guard lock(mutex_);
    while (list.count() > keep) put(list.pop(), size);
  }

  void enter(ThreadCache* cache) {
    const std::lock_guard lock(mutex_);
    threads_.push_back(cache);
  }

  void leave(ThreadCache* cache) {
    hand_back_all(*cache);
    const std::lock_guard lock(mutex_);
    gone_nodes_ += cache->nodes.load(std::memory_order_relaxed);
    std::erase(threads_, cache);
  }

  void hand_back_all(ThreadCache& cache) {
    for (std::size_t i = 0; i < class_count; ++i)
      if (!cache.lists[i].empty()) hand_back(cache.lists[i], {i, bytes_of(i)}, 0);
  }

  void release() {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = small_classes; i < class_count; ++i)
      while (!lists_[i].empty()) return_to_system(uncache({i, bytes_of(i)}), bytes_of(i));
    for (std::size_t i = 0; i < small_classes; ++i) release_slabs(lists_[i], bytes_of(i));
  }

  void set_cap(std::int64_t bytes) {
    const std::lock_guard lock(mutex_);
    cap_ = bytes;
  }

  // Counts for threads that are ending and no longer have a cache.
  void count_gone_nodes(std::int64_t change) {
    const std::lock_guard lock(mutex_);
    gone_nodes_ += change;
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    const std::int64_t cached = cached_by_all();
    const std::int64_t in_use = reserved_ - cached;
    return {in_use, cached, std::max(peak_, in_use), requests_};
  }

  std::int64_t nodes() {
    const std::lock_guard lock(mutex_);
    std::int64_t count = gone_nodes_;
    for (const ThreadCache* cache : threads_) count += cache->nodes.load(std::memory_order_relaxed);
    return count;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = reserved_ - cached_by_all();
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

  std::int64_t cached_by_all() const {
    std::int64_t bytes = cached_;
    for (const ThreadCache* cache : threads_)
      for (std::size_t i = 0; i < class_count; ++i)
        bytes += cache->lists[i].count() * static_cast<std::int64_t>(bytes_of(i));
    return bytes;
  }

  Block* uncache(SizeClass size) {
    cached_ -= static_cast<std::int64_t>(size.bytes);
    return lists_[size.index].pop();
  }

  void* request(SizeClass size) {
    ++requests_;
    const bool huge = size.bytes >= 2 * huge_page;
    void* block = std::aligned_alloc(
        huge ? huge_page : granule, huge ? (size.bytes + huge_page - 1) / huge_page * huge_page : size.bytes);
    if (!block) detail::out_of_memory("a block", size.bytes);
    reserved_ += static_cast<std::int64_t>(size.bytes);
    if (huge) madvise(block, size.bytes, MADV_HUGEPAGE);  // fewer page faults; harmless if refused
    return block;
  }

  void return_to_system(Block* block, std::size_t bytes) {
    reserved_ -= static_cast<std::int64_t>(bytes);
    unpoison(block, bytes);
    std::free(block);
  }

  void carve(SizeClass size) {
    ++requests_;
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(slab_size, slab_size));
    if (!memory) detail::out_of_memory("a block", slab_size);
    const std::size_t blocks = (slab_size - granule) / size.bytes;
    new (memory) Slab{blocks, 0};
    for (std::size_t i = blocks; i-- > 0;) {
      auto* block = reinterpret_cast<Block*>(memory + granule + i * size.bytes);
      lists_[size.index].push(block);
      poison(block, size.bytes);
    }
    cached_ += static_cast<std::int64_t>(blocks * size.bytes);
    reserved_ += static_cast<std::int64_t>(blocks * size.bytes);
  }

  // Frees the slabs whose blocks are all in `list`.
  void release_slabs(FreeList& list, std::size_t bytes) {
    std::vector<Slab*> empty;
    for (Block* block = list.head(); block; block = block->next)
      if (++slab_of(block)->swept == slab_of(block)->blocks) empty.push_back(slab_of(block));
    FreeList kept;
    while (!list.empty()) {
      Block* block = list.pop();
      if (slab_of(block)->swept != slab_of(block)->blocks) kept.push(block);
    }
    while (!kept.empty()) {
      Block* block = kept.pop();
      slab_of(block)->swept = 0;
      list.push(block);
    }
    for (Slab* slab : empty) {
      cached_ -= static_cast<std::int64_t>(slab->blocks * bytes);
      reserved_ -= static_cast<std::int64_t>(slab->blocks * bytes);
      unpoison(slab, slab_size);
      std::free(slab);
    }
  }

  std::mutex mutex_;
  Lists lists_;
  std::vector<ThreadCache*> threads_;
  std::int64_t cached_ = 0;
  std::int64_t cap_ = std::int64_t{1} << 30;
  std::int64_t peak_ = 0;
  std::int64_t requests_ = 0;
  std::int64_t reserved_ = 0;  // bytes obtained from the system and not returned
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

[[gnu::noinline]] ThreadCache* make_cache() {
  if (thread_is_ending) return nullptr;
  static thread_local ThreadEnd end;
  thread_cache = new ThreadCache;
  Pool::instance().enter(thread_cache);
  return thread_cache;
}

// The calling thread's cache; null while the thread is ending.
inline ThreadCache* cache_of_thread() { return thread_cache ? thread_cache : make_cache(); }

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
    if (list.empty()) Pool::instance().refill(list, size);
    block = list.pop();
  }
  unpoison(block, size.bytes);
  return block;
}

void pool_free(void* memory, std::size_t bytes) noexcept {
  const SizeClass size = size_class(bytes);
  auto* block = static_cast<Block*>(memory);
  ThreadCache* cache = cache_of_thread();
  poison(block, size.bytes);
  if (size.bytes >= shared_limit || !cache) {
    Pool::instance().give(block, size);
    return;
  }
  FreeList& list = cache->lists[size.index];
  list.push(block);
  // A thread that only frees returns blocks in bulk, where allocating threads find them.
  if (list.count() * static_cast<std::int64_t>(size.bytes) > list_limit)
    Pool::instance().hand_back(list, size, list.count() / 2);
}

void count_nodes(std::int64_t change) noexcept {
  if (ThreadCache* cache = cache_of_thread()) {
    cache->nodes.store(cache->nodes.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
  } else {
    Pool::instance().count_gone_nodes(change);
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
