#include "retort/framework/core/threads.hpp"

#include "retort/framework/core/error.hpp"
#include "retort/framework/kernels/parallel.hpp"

namespace retort {

void set_num_threads(int threads) {
  if (threads < 1) throw ValueError(message("set_num_threads: got ", threads, "; pass 1 or more"));
  kernels::set_threads(threads);
}

int get_num_threads() { return kernels::threads(); }

}  // namespace retort
