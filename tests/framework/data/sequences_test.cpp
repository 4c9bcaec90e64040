#include "retort/framework/data/sequences.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <set>

#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;

namespace {

using Numbers = std::vector<std::int64_t>;

Numbers numbers(const Tensor& x) { return x.values<std::int64_t>(); }

SequenceDataset three() {
  return SequenceDataset({{5, 6, 7}, {}, {8, 9}}, {{"target", tensor(Numbers{0, 1, 2})}}, -1);
}

BOOST_AUTO_TEST_SUITE(sequence_data)

BOOST_AUTO_TEST_CASE(a_batch_is_padded_to_its_longest_sequence) {
  const SequenceDataset data = three();
  BOOST_TEST(data.size() == 3);
  BOOST_TEST(data.tokens() == 5);
  const Batch batch = data.fetch(Numbers{2, 0, 1});
  BOOST_TEST(batch.input.shape() == (Shape{3, 3}));
  BOOST_TEST(numbers(batch.input) == (Numbers{8, 9, -1, 5, 6, 7, -1, -1, -1}));
  BOOST_TEST(numbers(batch["lengths"]) == (Numbers{2, 3, 0}));
  BOOST_TEST(numbers(batch["mask"]) == (Numbers{1, 1, 0, 1, 1, 1, 0, 0, 0}));
  BOOST_TEST(numbers(batch["positions"]) == (Numbers{3, 4, 0, 0, 1, 2, 0, 0, 0}));
  BOOST_TEST(numbers(batch.target) == (Numbers{2, 0, 1}));
  BOOST_TEST(numbers(data["target"]) == (Numbers{0, 1, 2}));
  BOOST_CHECK_THROW(data["mask"], IndexError);
  BOOST_TEST(data.fetch(Numbers{1}).input.shape() == (Shape{1, 0}));
  BOOST_TEST(data.fetch(Numbers{}).input.shape() == (Shape{0, 0}));
}

BOOST_AUTO_TEST_CASE(a_subset_counts_positions_of_its_own) {
  const SequenceDataset part = three().subset(Numbers{2, 2});
  const Batch batch = part.fetch(Numbers{1});
  BOOST_TEST(numbers(batch.input) == (Numbers{8, 9}));
  BOOST_TEST(numbers(batch["positions"]) == (Numbers{2, 3}));
  BOOST_TEST(numbers(batch.target) == (Numbers{2}));
}

BOOST_AUTO_TEST_CASE(rows_and_names_that_do_not_fit_are_refused) {
  BOOST_CHECK_THROW(three().fetch(Numbers{3}), IndexError);
  BOOST_CHECK_THROW(three().subset(Numbers{-1}), IndexError);
  BOOST_CHECK_THROW(SequenceDataset({{1}}, {{"mask", ones({1})}}), ValueError);
  BOOST_CHECK_THROW(SequenceDataset({{1}}, {{"input", ones({1})}}), ValueError);
  const auto text_of = [](const NamedTensors& others) {
    return tests::thrown_text<Error>([&] { SequenceDataset({{1}, {2}, {3}}, others); });
  };
  BOOST_TEST(text_of({{"mask", ones({3})}}) == "SequenceDataset: the name 'mask' is reserved");
  BOOST_TEST(text_of({{"a", ones({3})}, {"a", ones({3})}}) ==
             "SequenceDataset: the name 'a' is empty or given twice");
  BOOST_TEST(text_of({{"target", ones({1})}}) == "SequenceDataset: 'target' has 1 row for 3 sequences");
  BOOST_TEST(text_of({{"target", sum(ones({1}))}}) ==
             "SequenceDataset: 'target' has shape () for 3 sequences");
  BOOST_TEST(text_of({{"target", {}}}) == "SequenceDataset: the tensor 'target' is undefined");
  BOOST_TEST(tests::thrown_text<IndexError>([] { (void)three().fetch(Numbers{3}); }) ==
             "SequenceDataset: row 3 is out of range [0, 3)");
}

BOOST_AUTO_TEST_CASE(sequences_may_be_written_out) {
  const SequenceDataset two({{1}, {2}}), one({{5, 3, 8}}), padded({{1, 2}, {}}, {{"target", ones({2})}}, 7);
  BOOST_TEST(two.lengths().values<std::int64_t>() == (Numbers{1, 1}));
  BOOST_TEST(one.lengths().values<std::int64_t>() == (Numbers{3}));
  BOOST_TEST(padded.fetch(Numbers{1, 0}).input.values<std::int64_t>() == (Numbers{7, 7, 1, 2}));
  BOOST_TEST(SequenceDataset(std::vector<Numbers>{}).size() == 0);
}

BOOST_AUTO_TEST_CASE(batches_of_similar_lengths) {
  std::vector<Numbers> sequences;
  Generator generator(3);
  for (int i = 0; i < 203; ++i) sequences.emplace_back(generator.below(60) + 1, i);
  const SequenceDataset data(sequences);
  DataLoader loader(data, {.batch_size = 8, .seed = 4, .sampler = length_sampler(data.lengths(), 8, 10)});
  DataLoader plain(data, {.batch_size = 8, .shuffle = true, .seed = 4});
  const auto cells = [](DataLoader& batches, std::multiset<std::int64_t>* seen) {
    std::int64_t count = 0;
    for (const Batch& batch : batches) {
      count += batch.input.size();
      if (seen) seen->insert(batch.rows.begin(), batch.rows.end());
    }
    return count;
  };
  std::multiset<std::int64_t> seen;
  BOOST_TEST(cells(loader, &seen) * 4 < cells(plain, nullptr) * 3);
  BOOST_TEST(seen.size() == 203U);
  BOOST_TEST((std::set(seen.begin(), seen.end()).size() == 203U));

  const Sampler sampler = length_sampler(data.lengths(), 8, 10);
  Generator a(1), b(1), c(2);
  const Numbers first = sampler.order(a);
  BOOST_TEST((first == sampler.order(b)));
  BOOST_TEST((first != sampler.order(c)));
  // Batches are not in the order of their lengths, and the last three rows are the smaller batch.
  Numbers longest;
  for (std::size_t i = 0; i + 8 <= first.size(); i += 8)
    longest.push_back(static_cast<std::int64_t>(sequences[static_cast<std::size_t>(first[i + 7])].size()));
  BOOST_TEST(longest.size() == 25U);
  BOOST_TEST(!std::is_sorted(longest.begin(), longest.end()));

  // The sampler is refused for other batches and for other data, before any batch is made.
  const auto refusal = [&](const SequenceDataset& source, std::int64_t batch_size) {
    return tests::thrown_text<ValueError>(
        [&] { DataLoader(source, {.batch_size = batch_size, .sampler = sampler}); });
  };
  BOOST_TEST(refusal(data, 4) == "DataLoader: the sampler is for batch_size 8, but batch_size is 4");
  BOOST_TEST(refusal(three(), 8) ==
             "DataLoader: the sampler is for a source of 203 rows, but this source has 3");

  BOOST_TEST(length_sampler(zeros({0}, DType::int64), 4).order(a).empty());
  BOOST_CHECK_THROW(length_sampler(data.lengths(), 0), ValueError);
  BOOST_TEST(tests::thrown_text<ValueError>([] {
               length_sampler(tensor({3, -1}), 1);
             }) == "length_sampler: a length is -1; it must be at least 0");
  BOOST_CHECK_THROW(length_sampler(data.lengths(), 1, 0), ValueError);
  BOOST_CHECK_THROW(length_sampler(ones({2}), 1), TypeError);
  BOOST_CHECK_THROW(length_sampler(ones({2, 1}, DType::int64), 1), ShapeError);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
