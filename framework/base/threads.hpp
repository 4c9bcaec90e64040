// The thread pool shared by all kernels.
#pragma once

#include <cstdint>
#include <type_traits>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Sets the number of threads that kernels use, including the calling thread. The default is the environment
/// variable RETORT_NUM_THREADS, or else the number of processors available to this process. Results have the
/// same bits for any number of threads.
/// Throws: ValueError if threads < 1.
void set_num_threads(int threads);
/// The number of threads that kernels use, including the calling thread.
int get_num_threads();

namespace detail {
/// A reference to a callable f(begin, end) for a range of items.
class RangeFunction {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, RangeFunction>)
  RangeFunction(F& f)  // NOLINT: implicit by design
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, std::int64_t begin, std::int64_t end) {
          (*static_cast<F*>(object))(begin, end);
        }) {}
  void operator()(std::int64_t begin, std::int64_t end) const { call_(object_, begin, end); }

 private:
  void* object_;
  void (*call_)(void*, std::int64_t, std::int64_t);
};

void run_chunks(std::int64_t n, std::int64_t chunk, RangeFunction f);
}  // namespace detail

/// Calls f(begin, end) on all threads, for ranges of `grain` items (the last may be shorter) that cover 0 …
/// n-1. The ranges depend only on n and grain. If n <= grain, f runs on the calling thread. f must not throw.
/// A parallel_for inside f runs on f's thread.
template <class F>
void parallel_for(std::int64_t n, std::int64_t grain, F&& f) {
  if (n <= grain) {
    if (n > 0) f(std::int64_t{0}, n);
    return;
  }
  detail::run_chunks(n, grain, detail::RangeFunction(f));
}

}  // namespace retort
