// Draws for whole arrays, and the generator in use. Internal.
#pragma once

#include <cstdint>
#include <span>

#include "retort/framework/base/dtype.hpp"
#include "retort/framework/base/random.hpp"

namespace retort::detail {

/// Reserves blocks of the generator in use on this thread for one draw. Thread-safe.
Generator take_from_default(std::uint64_t blocks);
/// The generator of this thread's innermost GeneratorGuard, or null.
Generator* guarded_generator();
/// Number of blocks used by n draws of an element type.
std::uint64_t blocks_for(std::int64_t n, DType dtype);
/// Fill `out` from the generator's position: uniform draws from [low, high), never `high` itself if low <
/// high; standard normal draws; `scale` with probability `keep_probability` and otherwise 0 (four draws per
/// block for every type).
template <class T>
void fill_uniform(std::span<T> out, const Generator& generator, double low, double high);
template <class T>
void fill_normal(std::span<T> out, const Generator& generator);
/// Uniform integers from [low, high), from one block per element.
template <class T>
void fill_integers(std::span<T> out, const Generator& generator, std::int64_t low, std::int64_t high);
template <class T>
void fill_kept(std::span<T> out, const Generator& generator, double keep_probability, double scale);
/// Fills `out` with 0 … n-1 in random order, from n-1 blocks and one more per rejected draw.
void fill_permutation(std::span<std::int64_t> out, Generator& generator);

}  // namespace retort::detail
