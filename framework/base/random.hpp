// Random numbers: the counter-based generator Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", 2011). A draw is a function of seed and position alone, so results depend neither on the
// number of threads nor on the compiler.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "retort/framework/base/dtype.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A stream of random numbers: a seed and a position in it. Not shared between threads, except the default
/// one.
class Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) : seed_(seed) {}

  /// Starts the stream of another seed at its beginning.
  void manual_seed(std::uint64_t seed) {
    seed_ = seed;
    position_ = 0;
  }
  /// The seed.
  std::uint64_t seed() const { return seed_; }
  /// Blocks of four 32-bit words drawn so far; with the seed, the whole state.
  std::uint64_t position() const { return position_; }
  void set_position(std::uint64_t position) { position_ = position; }
  /// Sets `blocks` blocks aside and returns the position of the first.
  std::uint64_t advance(std::uint64_t blocks) {
    const std::uint64_t first = position_;
    position_ += blocks;
    return first;
  }

  /// A uniform integer in [0, bound), without bias. ValueError for bound 0.
  std::uint64_t below(std::uint64_t bound);
  /// A uniform number in [0, 1) with 53 random bits.
  double uniform();

 private:
  std::uint64_t seed_;
  std::uint64_t position_ = 0;
};

/// For its lifetime, rand, randn, dropout, initialisers and loaders without a seed draw from `generator` on
/// this thread, instead of the default one; other threads are not affected. Guards may be nested. A
/// Checkpoint keeps and restores the generator that is in force on its thread. The generator must outlive the
/// guard.
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
/// The default generator's seed and position, to keep and to restore.
Generator generator_state();
void set_generator_state(const Generator& state);

/// 0 … n-1 in random order (Fisher–Yates).
std::vector<std::int64_t> random_permutation(std::int64_t n, Generator& generator);

namespace detail {
/// Sets blocks of the generator in force on this thread aside, for one draw; safe to call from several
/// threads.
Generator take_from_default(std::uint64_t blocks);
/// The generator of this thread's innermost GeneratorGuard, or null.
Generator* guarded_generator();
/// Blocks that n draws of an element type use up.
std::uint64_t blocks_for(std::int64_t n, DType dtype);
/// Fill `out` from the generator's position on, with draws uniform in [low, high), never high itself if
/// low < high; standard normal ones; `scale`
/// with probability `keep_probability` and 0 otherwise (four draws a block for every type).
template <class T>
void fill_uniform(std::span<T> out, const Generator& generator, double low, double high);
template <class T>
void fill_normal(std::span<T> out, const Generator& generator);
template <class T>
void fill_kept(std::span<T> out, const Generator& generator, double keep_probability, double scale);
}  // namespace detail

}  // namespace retort
