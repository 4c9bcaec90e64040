// Random numbers: Philox against its published vectors, the same draws everywhere, and their distributions.
#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;
using tests::thrown_text;

namespace {

using Words = std::array<std::uint32_t, 4>;

/// One block of Philox4x32-10, as the paper writes it.
Words philox(Words counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t left = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t right = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<std::uint32_t>(right >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(right),
        static_cast<std::uint32_t>(left >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(left)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

/// sup |F_n - F| of the sample against a distribution function.
template <class F>
double kolmogorov(std::vector<double> sample, F&& distribution) {
  std::sort(sample.begin(), sample.end());
  double most = 0;
  const auto n = static_cast<double>(sample.size());
  for (std::size_t i = 0; i < sample.size(); ++i) {
    const double f = distribution(sample[i]);
    most = std::max({most, f - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - f});
  }
  return most;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(random_numbers)

BOOST_AUTO_TEST_CASE(the_reference_gives_the_published_vectors) {
  // Random123's kat_vectors, the lines "philox4x32 10".
  BOOST_TEST((philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  BOOST_TEST(
      (philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  BOOST_TEST((philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
              Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

BOOST_AUTO_TEST_CASE(randint_draws_each_integer_of_the_range_equally) {
  manual_seed(4);
  std::array<double, 6> counts{};
  const Tensor dice = randint(1, 7, {60, 1000});
  for (const std::int64_t die : dice.values<std::int64_t>()) ++counts.at(static_cast<std::size_t>(die - 1));
  double chi_squared = 0;  // 99.9 % of samples have less than 20.5
  for (const double count : counts) chi_squared += (count - 10'000) * (count - 10'000) / 10'000;
  BOOST_TEST(chi_squared < 20.5);

  // ⌊range · u / 2^128⌋ for the block's words as one number u; here by its first 64 bits.
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min(), most = -(least + 1);
  Generator generator(7), same(7), below(7);
  const Tensor wide = randint(least, most, {3}, DType::int64, generator);
  BOOST_TEST(generator.position() == 3U);
  for (const std::int64_t value : wide.values<std::int64_t>()) {
    const std::uint64_t place = static_cast<std::uint64_t>(value) - static_cast<std::uint64_t>(least);
    const Words block = philox({static_cast<std::uint32_t>(below.advance(1)), 0, 0, 0}, {7, 0});
    BOOST_TEST((place >> 32) == block[0]);
  }
  BOOST_TEST(
      (randint(least, most, {3}, DType::int64, same).values<std::int64_t>() == wide.values<std::int64_t>()));
  BOOST_TEST(randint(5, 6, {2}, DType::float32).values<float>() == (std::vector<float>{5, 5}));
  BOOST_TEST(randint(0, 5, {0, 3}).size() == 0);
  BOOST_TEST(randint(0, 1 << 24, {2}, DType::float32).dtype() == DType::float32);
  BOOST_CHECK_THROW(randint(0, (1 << 24) + 1, {2}, DType::float32), ValueError);
  BOOST_CHECK_THROW(randint(3, 3, {2}), ValueError);
  BOOST_CHECK_THROW(randint(4, 3, {2}), ValueError);
}

BOOST_AUTO_TEST_CASE(randperm_is_a_permutation_of_the_default_or_a_given_generator) {
  manual_seed(8);
  const Tensor first = randperm(50), second = randperm(50);
  Generator generator(8);
  const std::vector<std::int64_t> expected = random_permutation(50, generator);
  BOOST_TEST(first.values<std::int64_t>() == expected);
  BOOST_TEST(second.values<std::int64_t>() != expected);
  Generator again(8);
  BOOST_TEST(randperm(50, again).values<std::int64_t>() == expected);
  BOOST_TEST(sort(second, 0).values.values<std::int64_t>() == arange(50).values<std::int64_t>());
  BOOST_TEST(randperm(0).size() == 0);
  BOOST_TEST(randperm(1).item<std::int64_t>() == 0);
  // Both take the same number of blocks, and none if they fail.
  BOOST_TEST(again.position() == 49);
  manual_seed(8);
  randperm(50);
  BOOST_TEST(generator_state().position() == 49);
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min(), huge = std::int64_t{1} << 50;
  BOOST_TEST(thrown_text<ValueError>([] { randperm(-1); }) == "randperm: n is -1; it must not be negative");
  BOOST_CHECK_THROW(randperm(least), ValueError);
  BOOST_TEST(thrown_text<std::bad_alloc>([] { randperm(huge); }).starts_with("randperm: out of memory: "));
  BOOST_TEST(thrown_text<ValueError>([&] { random_permutation(-1, again); }) ==
             "random_permutation: n is -1; it must not be negative");
  BOOST_CHECK_THROW(random_permutation(least, again), ValueError);
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  // AddressSanitizer ends the program when an allocation fails; `most` fails before.
  for (const std::int64_t n : {tests::sanitized ? most : huge, most})
    BOOST_TEST(thrown_text<std::bad_alloc>([&] { random_permutation(n, again); }) ==
               message("random_permutation: out of memory: a permutation of {} numbers", n));
  BOOST_TEST(again.position() == 49);
  BOOST_TEST(generator_state().position() == 49);
}

BOOST_AUTO_TEST_CASE(draws_are_the_words_of_philox_by_seed_and_position) {
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{0xFEDCBA9876543210}}) {
    for (const std::uint64_t position :
         {std::uint64_t{0}, std::uint64_t{12345}, (std::uint64_t{1} << 32) - 2}) {
      Generator generator(seed);
      generator.set_position(position);
      const std::vector<float> singles = rand({33}, DType::float32, generator).values<float>();
      BOOST_TEST(generator.position() == position + 9);
      generator.set_position(position);
      const std::vector<double> doubles = rand({9}, DType::float64, generator).values<double>();
      for (std::uint64_t block = 0; block < 9; ++block) {
        const std::uint64_t counter = position + block;
        const Words words =
            philox({static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), 0, 0},
                   {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
        for (std::size_t i = 0; i < 4 && 4 * block + i < singles.size(); ++i)
          BOOST_TEST(singles[4 * block + i] == static_cast<float>(words[i] >> 8) * 0x1p-24f);
        for (std::size_t i = 0; i < 2 && 2 * block + i < doubles.size(); ++i) {
          const std::uint64_t bits = std::uint64_t{words[2 * i]} << 32 | words[2 * i + 1];
          BOOST_TEST(doubles[2 * block + i] == static_cast<double>(bits >> 11) * 0x1p-53);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(single_numbers_take_one_block_each) {
  for (const std::uint64_t seed : {std::uint64_t{1}, std::uint64_t{0xFEDCBA9876543210}})
    for (const std::uint64_t position : {std::uint64_t{0}, (std::uint64_t{1} << 32) - 20}) {
      const auto first_words = [seed](std::uint64_t counter) {
        const Words words =
            philox({static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), 0, 0},
                   {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
        return std::uint64_t{words[0]} << 32 | words[1];
      };
      Generator generator(seed);
      generator.set_position(position);
      for (std::uint64_t i = 0; i < 40; ++i)
        BOOST_TEST(generator.uniform() == static_cast<double>(first_words(position + i) >> 11) * 0x1p-53);
      // Values in the incomplete last multiple of the bound below 2^64 are drawn again: none, few and nearly
      // half of all.
      for (const std::uint64_t bound :
           {std::uint64_t{1} << 63, std::uint64_t{10}, ~std::uint64_t{0}, (std::uint64_t{1} << 63) + 1}) {
        const bool divides = (bound & (bound - 1)) == 0;
        const std::uint64_t end = ~std::uint64_t{0} / bound * bound;
        generator.set_position(position);
        std::uint64_t counter = position;
        for (int i = 0; i < 40; ++i) {
          while (!divides && first_words(counter) >= end) ++counter;
          BOOST_TEST(generator.below(bound) == first_words(counter++) % bound);
          BOOST_TEST(generator.position() == counter);
        }
      }
    }
}

BOOST_AUTO_TEST_CASE(the_same_seed_gives_the_same_draws) {
  manual_seed(42);
  const Tensor a = randn({1000}), b = rand({1000}, DType::float64);
  manual_seed(42);
  BOOST_TEST(randn({1000}).values<float>() == a.values<float>(), boost::test_tools::per_element());
  BOOST_TEST(rand({1000}, DType::float64).values<double>() == b.values<double>(),
             boost::test_tools::per_element());
  manual_seed(43);
  BOOST_TEST((randn({1000}).values<float>() != a.values<float>()));
}

BOOST_AUTO_TEST_CASE(draws_do_not_depend_on_the_number_of_threads) {
  const int before = get_num_threads();
  std::vector<std::vector<float>> normal, uniform;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    manual_seed(7);
    normal.push_back(randn({300'001}).values<float>());
    uniform.push_back(dropout(ones({300'001}), 0.3, true).values<float>());
  }
  set_num_threads(before);
  BOOST_TEST((normal[0] == normal[1]));
  BOOST_TEST((normal[0] == normal[2]));
  BOOST_TEST((uniform[0] == uniform[1]));
  BOOST_TEST((uniform[0] == uniform[2]));
}

BOOST_AUTO_TEST_CASE(uniform_draws_are_uniform_and_below_one) {
  manual_seed(1);
  const std::vector<double> sample = rand({200'000}, DType::float64).values<double>();
  BOOST_TEST(*std::min_element(sample.begin(), sample.end()) >= 0.0);
  BOOST_TEST(*std::max_element(sample.begin(), sample.end()) < 1.0);
  // 1.95 / sqrt(n) is the 0.1 % point of the statistic.
  BOOST_TEST(kolmogorov(sample, [](double x) { return x; }) < 1.95 / std::sqrt(200'000.0));
  const std::vector<float> floats = rand({1'000'000}).values<float>();
  BOOST_TEST(*std::max_element(floats.begin(), floats.end()) < 1.f);
}

BOOST_AUTO_TEST_CASE(normal_draws_are_normal) {
  manual_seed(2);
  const auto normal = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  for (const DType dtype : {DType::float32, DType::float64}) {
    const std::vector<double> sample = randn({200'000}, dtype).values<double>();
    BOOST_TEST(kolmogorov(sample, normal) < 1.95 / std::sqrt(200'000.0));
    BOOST_TEST(std::all_of(sample.begin(), sample.end(), [](double x) { return std::isfinite(x); }));
  }
}

BOOST_AUTO_TEST_CASE(neighbouring_draws_are_uncorrelated) {
  manual_seed(3);
  const std::vector<double> x = randn({200'000}, DType::float64).values<double>();
  for (const std::size_t lag : {1, 2, 3, 4}) {
    double product = 0;
    for (std::size_t i = lag; i < x.size(); ++i) product += x[i] * x[i - lag];
    BOOST_TEST(std::abs(product / static_cast<double>(x.size())) < 4 / std::sqrt(200'000.0));
  }
}

BOOST_AUTO_TEST_CASE(a_generator_of_ones_own_does_not_touch_the_default_one) {
  manual_seed(5);
  const Tensor expected = rand({10});
  manual_seed(5);
  Generator own(5);
  const Tensor other = rand({10}, DType::float32, own);
  BOOST_TEST(rand({10}).values<float>() == expected.values<float>(), boost::test_tools::per_element());
  BOOST_TEST(other.values<float>() == expected.values<float>(), boost::test_tools::per_element());
  BOOST_TEST(own.position() > 0u);
}

BOOST_AUTO_TEST_CASE(the_state_can_be_kept_and_restored) {
  manual_seed(6);
  rand({17});
  const Generator state = generator_state();
  const Tensor expected = randn({100});
  rand({3});
  set_generator_state(state);
  BOOST_TEST(randn({100}).values<float>() == expected.values<float>(), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(integers_below_a_bound_are_unbiased_and_permutations_complete) {
  Generator generator(9);
  std::vector<int> counts(7);
  for (int i = 0; i < 70'000; ++i) ++counts[generator.below(7)];
  double chi_squared = 0;
  for (const int count : counts) chi_squared += (count - 10'000.0) * (count - 10'000.0) / 10'000.0;
  BOOST_TEST(chi_squared < 22.46);  // 0.1 % point with 6 degrees of freedom
  BOOST_CHECK_THROW(generator.below(0), ValueError);
  std::vector<std::int64_t> order = random_permutation(1000, generator);
  BOOST_TEST(!std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  std::vector<std::int64_t> all(1000);
  std::iota(all.begin(), all.end(), 0);
  BOOST_TEST(order == all, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(int64_draws_are_refused) {
  BOOST_CHECK_THROW(rand({3}, DType::int64), TypeError);
  BOOST_CHECK_THROW(randn({3}, DType::int64), TypeError);
}

BOOST_AUTO_TEST_SUITE_END()
