// Random numbers: the counter-based generator Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", 2011). A draw depends only on seed and position, so results are independent of the number of
// threads and of the compiler.
#pragma once

#include <cstdint>
#include <vector>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A stream of random numbers, defined by a seed and a position. Not thread-safe, except for the default
/// generator.
class Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) : seed_(seed) {}

  /// Sets the seed and rewinds to the beginning of its stream.
  void manual_seed(std::uint64_t seed) {
    seed_ = seed;
    position_ = 0;
  }
  /// The seed.
  std::uint64_t seed() const { return seed_; }
  /// Number of blocks of four 32-bit words drawn so far. Seed and position are the whole state.
  std::uint64_t position() const { return position_; }
  /// Continues with the block of that number.
  void set_position(std::uint64_t position) { position_ = position; }
  /// Reserves `blocks` blocks and returns the position of the first.
  std::uint64_t advance(std::uint64_t blocks) {
    const std::uint64_t first = position_;
    position_ += blocks;
    return first;
  }

  /// Draws an unbiased uniform integer from [0, bound): x mod bound, where the block's first two words are
  /// the upper and the lower half of x. Blocks with x >= ⌊2^64 / bound⌋ · bound are skipped.
  /// Throws: ValueError if bound is 0.
  std::uint64_t below(std::uint64_t bound);
  /// Draws a uniform number from [0, 1): the upper 53 bits of x, as in below(), times 2^-53.
  double uniform();

 private:
  std::uint64_t seed_;
  std::uint64_t position_ = 0;
};

/// For its lifetime, replaces the default generator on this thread: rand, randn, dropout, initialisers and
/// loaders without a seed draw from `generator`. Other threads are not affected. Guards may be nested. A
/// Checkpoint saves and restores the generator in use on its thread. The generator must outlive the guard.
/// manual_seed(), generator_state() and set_generator_state() act on the default generator, even within
/// a guard.
///
///     rt::Generator noise(7);
///     const rt::GeneratorGuard guard(noise);
class GeneratorGuard {
 public:
  explicit GeneratorGuard(Generator& generator);
  ~GeneratorGuard();
  GeneratorGuard(const GeneratorGuard&) = delete;
  GeneratorGuard& operator=(const GeneratorGuard&) = delete;

 private:
  Generator* previous_;
};

/// Seeds the default generator of rand, randn, dropout, initialisers and shuffling loaders.
void manual_seed(std::uint64_t seed);
/// The default generator's seed and position.
Generator generator_state();
/// Sets the default generator's seed and position.
void set_generator_state(const Generator& state);

/// Returns 0 … n-1 in random order (Fisher–Yates).
/// Throws: ValueError if n is negative; std::bad_alloc, before anything is drawn.
std::vector<std::int64_t> random_permutation(std::int64_t n, Generator& generator);

}  // namespace retort
