// How many threads the kernels use.
#pragma once

namespace retort {

/// Threads that kernels use, the caller's included. Default: the processors this process may run on, or the
/// environment variable RETORT_NUM_THREADS. Results have the same bits for any number. ValueError for less than 1.
void set_num_threads(int threads);
int get_num_threads();

}  // namespace retort
