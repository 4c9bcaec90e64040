#include "fuzz.hpp"

#include <sanitizer/allocator_interface.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "retort/framework/base/array.hpp"
#include "retort/framework/base/pool.hpp"

// A smaller quarantine than 256 MB, so that the resident memory that libFuzzer watches is the reader's; and a
// smaller stack for finding uses after return, which is searched at every throw: at its full size that takes
// most of the time.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=16:max_uar_stack_size_log=16"; }

namespace retort::fuzz {
namespace {

std::atomic<std::int64_t> in_use{0};
std::atomic<std::int64_t> peak{0};

// The pool asks aligned_alloc, which goes through these hooks as malloc and new do.
void count_allocation(const volatile void*, std::size_t size) {
  const std::int64_t now = in_use.fetch_add(static_cast<std::int64_t>(size), std::memory_order_relaxed) +
                           static_cast<std::int64_t>(size);
  if (now > peak.load(std::memory_order_relaxed)) peak.store(now, std::memory_order_relaxed);
}

void count_release(const volatile void* block) {
  if (!block) return;
  in_use.fetch_sub(static_cast<std::int64_t>(__sanitizer_get_allocated_size(block)),
                   std::memory_order_relaxed);
}

// Blocks from before the hooks were there are counted as well when they are freed. The counter may thus begin
// below zero; only differences matter.
[[maybe_unused]] const int installed =
    __sanitizer_install_malloc_and_free_hooks(count_allocation, count_release);

// Made at the first use, removed at the end.
class ScratchFolder {
 public:
  ScratchFolder() {
    const std::filesystem::path memory = "/dev/shm";
    std::string name =
        ((std::filesystem::is_directory(memory) ? memory : std::filesystem::temp_directory_path()) /
         "retort-fuzz-XXXXXX")
            .string();
    if (!::mkdtemp(name.data())) fail("cannot make a folder for scratch files");
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

void fail(std::string_view finding) {
  std::fprintf(stderr, "==== finding: %.*s\n", static_cast<int>(finding.size()), finding.data());
  std::abort();
}

Memory memory() {
  const MemoryStats pool = memory_stats();
  return {in_use.load(std::memory_order_relaxed), pool.in_use, pool.cached};
}
std::int64_t peak_memory() { return peak.load(std::memory_order_relaxed); }
void reset_peak() { peak.store(in_use.load(std::memory_order_relaxed), std::memory_order_relaxed); }

Memory tidied_memory() {
  const Memory now = memory();
  if (now.pool_cached <= static_cast<std::int64_t>(megabyte)) return now;
  release_memory();
  return memory();
}

void check_message(std::string_view text) {
  constexpr std::size_t longest = 1000;
  if (text.size() > longest) fail(message("a message of {} bytes", text.size()));
  if (text.find(input_name) == std::string_view::npos)
    fail(message("a message that does not name the input: {}", text));
  if (std::any_of(text.begin(), text.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }))
    fail(message("a message with control characters: {}", text));
}

bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  return a.size() == 0 ||
         std::memcmp(retort::detail::Access::array(a).read(), retort::detail::Access::array(b).read(),
                     retort::detail::Access::array(a).byte_size()) == 0;
}

std::string scratch_file() {
  static const ScratchFolder folder;
  return (folder.path() / "file").string();
}

}  // namespace retort::fuzz
