#include "retort/framework/data/row_source.hpp"

#include <boost/test/unit_test.hpp>
#include <set>

#include "retort/framework/base/error.hpp"
#include "retort/framework/data/data_loader.hpp"
#include "tests_support.hpp"

using namespace retort;
using retort::tests::contains;
using retort::tests::thrown_text;

namespace {

// Row i is computed: input (i, i²), target i mod 3.
class Squares : public RowSource {
 public:
  explicit Squares(std::int64_t n) : n_(n) {}
  std::int64_t size() const override { return n_; }
  Batch fetch(std::span<const std::int64_t> rows) const override {
    std::vector<float> inputs;
    std::vector<std::int64_t> targets;
    for (const std::int64_t row : rows) {
      inputs.push_back(static_cast<float>(row));
      inputs.push_back(static_cast<float>(row * row));
      targets.push_back(row % 3);
    }
    return {.input = tensor(inputs, {static_cast<std::int64_t>(rows.size()), 2}), .target = tensor(targets)};
  }

 private:
  std::int64_t n_;
};

// Row i is a sequence of i + 1 numbers.
class Sequences : public RowSource {
 public:
  std::int64_t size() const override { return 6; }
  Batch fetch(std::span<const std::int64_t> rows) const override {
    const std::int64_t length = rows.front() + 1;
    return {.input = ones({1, length, 2}),
            .target = full({1, length}, 5, DType::int64),
            .others = {{"id", tensor({rows.front()})}}};
  }
};

std::vector<float> values(const Tensor& x) { return x.values<float>(); }

}  // namespace

BOOST_AUTO_TEST_SUITE(row_source)

// A process fetches the rows of its own shards; together they are the batch, with the same random numbers.
BOOST_AUTO_TEST_CASE(a_loader_prepares_the_shards_of_its_process) {
  class Counted : public Squares {
   public:
    using Squares::Squares;
    Batch fetch(std::span<const std::int64_t> rows) const override {
      fetched.insert(fetched.end(), rows.begin(), rows.end());
      return Squares::fetch(rows);
    }
    mutable std::vector<std::int64_t> fetched = {};
  };
  const auto noise = [](Batch batch, Generator& generator) {
    for (float& value : batch.input.mutable_data<float>()) value += static_cast<float>(generator.uniform());
    return batch;
  };
  const auto pass = [&](const Counted& source, OwnShards shards) {
    DataLoader loader(
        source,
        {.batch_size = 7, .shuffle = true, .seed = 3, .transform = noise, .prefetch = 0, .shards = shards});
    std::vector<Batch> batches;
    for (const Batch& batch : loader) batches.push_back(batch);
    return batches;
  };
  const Counted all(17), first(17), second(17), none(17);
  const std::vector<Batch> whole = pass(all, {4, 0, 4}), left = pass(first, {4, 0, 3}),
                           right = pass(second, {4, 3, 4}), idle = pass(none, {4, 4, 4});
  BOOST_TEST(all.fetched.size() == 17U);
  BOOST_TEST(first.fetched.size() + second.fetched.size() == 17U);
  BOOST_TEST(none.fetched.empty());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    BOOST_TEST(!whole[i].input.defined());
    BOOST_TEST(whole[i].rows == left[i].rows);
    BOOST_TEST(whole[i].rows == idle[i].rows);
    BOOST_REQUIRE_EQUAL(whole[i].shards.size(), 4U);
    BOOST_REQUIRE_EQUAL(left[i].shards.size(), 3U);
    BOOST_REQUIRE_EQUAL(right[i].shards.size(), 1U);
    std::vector<std::int64_t> rows;
    for (std::size_t shard = 0; shard < 4; ++shard) {
      const Batch &expected = whole[i].shards[shard],
                  &own = shard < 3 ? left[i].shards[shard] : right[i].shards[0];
      BOOST_TEST(own.rows == expected.rows);
      BOOST_TEST(own.key == whole[i].key);
      BOOST_TEST(own.input.defined() == !own.rows.empty());
      if (own.input.defined()) BOOST_TEST(values(own.input) == values(expected.input));
      rows.insert(rows.end(), own.rows.begin(), own.rows.end());
    }
    BOOST_TEST(rows == whole[i].rows);
  }
  for (const OwnShards& wrong : {OwnShards{4, -1, 2}, OwnShards{4, 3, 2}, OwnShards{4, 0, 5}})
    BOOST_TEST(contains(thrown_text<ValueError>([&] { DataLoader(all, {.shards = wrong}); }), "of 4"));
}

BOOST_AUTO_TEST_CASE(batches_of_named_tensors) {
  const Tensor x = arange(6, DType::float32);
  const Dataset data({{"input", x}, {"target", arange(6)}, {"mask", full({6, 2}, 1)}});
  BOOST_TEST(data.size() == 6);
  BOOST_TEST(data["mask"].shape() == (Shape{6, 2}));
  DataLoader loader(data, {.batch_size = 4});
  for (const Batch& batch : loader) {
    BOOST_TEST(batch["mask"].size(0) == batch.input.size(0));
    BOOST_TEST(retort::detail::Access::same(batch["input"], batch.input));
    BOOST_TEST(retort::detail::Access::same(batch["target"], batch.target));
    BOOST_TEST(thrown_text<IndexError>([&] { batch["masks"]; }).find("input, target, mask") !=
               std::string::npos);
    const auto& [input, target] = batch;
    BOOST_TEST(retort::detail::Access::same(input, batch.input));
    BOOST_TEST(retort::detail::Access::same(target, batch.target));
  }
  BOOST_TEST(data.slice(1, 3)["mask"].size(0) == 2);
  const Dataset other({{"ids", x}});
  BOOST_TEST(!other.inputs().defined());
  BOOST_TEST(DataLoader(other, {.batch_size = 6}).begin()->others.size() == 1U);
  BOOST_CHECK_THROW(Dataset({{"a", x}, {"b", arange(5)}}), ShapeError);
  BOOST_CHECK_THROW(Dataset({{"a", x}, {"a", x}}), ValueError);
  BOOST_CHECK_THROW(Dataset({{"a", Tensor()}}), ValueError);
}

BOOST_AUTO_TEST_CASE(a_user_s_source_is_loaded) {
  const Squares source(10);
  DataLoader loader(source, {.batch_size = 4, .shuffle = true, .seed = 1});
  BOOST_TEST(&loader.source() == &source);
  BOOST_CHECK_THROW(loader.dataset(), TypeError);
  DataLoader moved(Squares(10),
                   {.batch_size = 4, .shuffle = true, .seed = 1, .prefetch = 3, .num_workers = 2});
  std::vector<float> first, second;
  for (const Batch& batch : loader)
    for (const float value : values(batch.input)) first.push_back(value);
  for (const Batch& batch : moved)
    for (const float value : values(batch.input)) second.push_back(value);
  BOOST_TEST(first.size() == 20U);
  BOOST_TEST(first == second, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_split_has_every_row_once) {
  const Squares source(101);
  const auto [train, valid] = split(source, {0.9, 0.1}, 3);
  BOOST_TEST(train.size() == 91);
  BOOST_TEST(valid.size() == 10);
  std::set<std::int64_t> all(train.rows().begin(), train.rows().end());
  all.insert(valid.rows().begin(), valid.rows().end());
  BOOST_TEST(all.size() == 101U);
  BOOST_TEST(std::ranges::is_sorted(train.rows()));
  const auto again = split(source, {0.9, 0.1}, 3);
  BOOST_TEST(std::ranges::equal(again[1].rows(), valid.rows()));
  BOOST_TEST(!std::ranges::equal(split(source, {0.9, 0.1}, 4)[1].rows(), valid.rows()));
  const std::int64_t rows[] = {9, 0};
  BOOST_TEST(valid.fetch(rows).input.values<float>()[0] == static_cast<float>(valid.rows()[9]));
  // Parts of a temporary live on.
  DataLoader loader(split(Dataset(arange(8), arange(8)), {0.5, 0.25, 0.25}, 1)[2], {.batch_size = 8});
  BOOST_TEST(loader.begin()->input.size() == 2);
  BOOST_CHECK_THROW(split(source, {0.5, 0.4}, 1), ValueError);
  BOOST_CHECK_THROW(split(source, {1.5, -0.5}, 1), ValueError);
  BOOST_CHECK_THROW(valid.fetch(train.rows()), IndexError);
  for (const std::int64_t n : {0, 1, 2, 3})
    BOOST_TEST(split(Squares(n), {0.5, 0.5}, 1)[0].size() == (n + 1) / 2);
}

BOOST_AUTO_TEST_CASE(sequences_are_padded) {
  DataLoader loader(Sequences(),
                    {.batch_size = 4, .collate = pad_sequences({.value = -1, .target_value = -100})});
  auto batch = loader.begin();
  BOOST_TEST(batch->input.shape() == (Shape{4, 4, 2}));
  BOOST_TEST(batch->target.shape() == (Shape{4, 4}));
  BOOST_TEST((*batch)["lengths"].values<std::int64_t>() == (std::vector<std::int64_t>{1, 2, 3, 4}),
             boost::test_tools::per_element());
  BOOST_TEST((*batch)["id"].values<std::int64_t>() == (std::vector<std::int64_t>{0, 1, 2, 3}),
             boost::test_tools::per_element());
  BOOST_TEST(values(batch->input)[7] == -1);
  BOOST_TEST(values(batch->input)[9] == 1);
  BOOST_TEST(batch->target.values<std::int64_t>()[1] == -100);
  BOOST_CHECK_THROW(pad_sequences()({{.input = ones({1, 2, 3})}, {.input = ones({1, 2, 4})}}), ShapeError);
}

BOOST_AUTO_TEST_CASE(exact_resume_with_several_batches_ahead) {
  const Dataset images(rand({40, 1, 6, 6}), arange(40));
  const BatchTransform transform =
      compose(random_crop(2), random_horizontal_flip(0.5), cutout(2), [](Batch batch, Generator& generator) {
        batch.input = batch.input * generator.uniform();
        return batch;
      });
  const auto make = [&](std::int64_t ahead, std::int64_t workers, std::uint64_t seed) {
    return DataLoader(images, {.batch_size = 3,
                               .shuffle = true,
                               .seed = seed,
                               .transform = transform,
                               .prefetch = ahead,
                               .num_workers = workers});
  };
  std::vector<std::vector<float>> expected;
  DataLoader whole = make(0, 0, 5);
  for (int i = 0; i < 4; ++i)
    for (const Batch& batch : whole) expected.push_back(values(mixup(batch, 0.4).input));
  Generator generator(1);
  for (int trial = 0; trial < 50; ++trial) {
    const std::size_t stop = 1 + generator.below(expected.size() - 1);
    StateDict state;
    std::size_t step = 0;
    {
      DataLoader loader = make(1 + trial % 7, 1 + trial % 3, 5);
      while (step < stop) {
        for (const Batch& batch : loader) {
          BOOST_TEST((values(mixup(batch, 0.4).input) == expected[step]));
          if (++step < stop) continue;
          state = loader.state_dict();
          break;
        }
      }
    }
    DataLoader loader = make(1 + trial % 5, 1 + trial % 4, 77);
    loader.load_state_dict(state);
    while (step < expected.size())
      for (const Batch& batch : loader)
        BOOST_REQUIRE((values(mixup(batch, 0.4).input) == expected.at(step++)));
  }
  StateDict other = make(1, 1, 1).state_dict();
  other["batches"] = tensor({std::int64_t{3}});
  BOOST_CHECK_THROW(whole.load_state_dict(other), ValueError);
}

BOOST_AUTO_TEST_CASE(rows_are_drawn_by_weight) {
  const Tensor labels = tensor<std::int64_t>({0, 0, 0, 0, 0, 0, 1, 1, 3});
  const Tensor counts = class_counts(labels, 4);
  BOOST_TEST(counts.values<std::int64_t>() == (std::vector<std::int64_t>{6, 2, 0, 1}),
             boost::test_tools::per_element());
  const Tensor weights = class_weights(counts);
  BOOST_TEST(weights.values<float>() == (std::vector<float>{0.5, 1.5, 0, 3}),
             boost::test_tools::per_element());
  BOOST_CHECK_THROW(class_counts(labels, 3), ValueError);
  BOOST_CHECK_EXCEPTION(class_counts(ones({2}), 3), TypeError, [](const Error& error) {
    return std::string_view(error.what()) == "class_counts: labels are float32; they must be int64";
  });
  BOOST_CHECK_THROW(class_weights(zeros({2})), ValueError);

  DataLoader loader(Dataset(labels, labels),
                    {.batch_size = 100,
                     .seed = 2,
                     .sampler = weighted_sampler(gather(weights, 0, labels), {.size = 30'000})});
  BOOST_TEST(loader.size() == 300);
  std::vector<double> drawn(4);
  for (const Batch& batch : loader)
    for (const std::int64_t label : batch.target.data<std::int64_t>())
      ++drawn[static_cast<std::size_t>(label)];
  for (const int label : {0, 1, 3}) BOOST_TEST(drawn[label] == 10'000, boost::test_tools::tolerance(0.03));
  BOOST_TEST(drawn[2] == 0);

  DataLoader once(Dataset(labels, labels),
                  {.batch_size = 4,
                   .seed = 2,
                   .sampler = weighted_sampler(ones({9}), {.size = 4, .replacement = false})});
  const Batch batch = *once.begin();
  BOOST_TEST(std::set<std::int64_t>(batch.rows.begin(), batch.rows.end()).size() == 4U);
  BOOST_CHECK_THROW(weighted_sampler(tensor({1.0, -1.0})), ValueError);
  BOOST_CHECK_THROW(weighted_sampler(zeros({2})), ValueError);
  BOOST_CHECK_THROW(weighted_sampler(ones({2}), {.size = 3, .replacement = false}), ValueError);
  BOOST_CHECK_THROW(weighted_sampler(ones({2, 2})), ShapeError);
  BOOST_CHECK_THROW(DataLoader(Squares(3), {.shuffle = true, .sampler = weighted_sampler(ones({3}))}),
                    ValueError);
  BOOST_CHECK_THROW(DataLoader(Squares(2), {.sampler = weighted_sampler(ones({9}))}).begin(), IndexError);
  BOOST_CHECK_THROW(DataLoader(Squares(2), {.prefetch = -1}), ValueError);
}

// A source that returns one row too few of the targets, or of both tensors.
class Short : public RowSource {
 public:
  explicit Short(bool both) : both_(both) {}
  std::int64_t size() const override { return 8; }
  Batch fetch(std::span<const std::int64_t> rows) const override {
    const auto count = static_cast<std::int64_t>(rows.size());
    return {.input = ones({both_ ? count - 1 : count, 2}), .target = arange(count - 1)};
  }

 private:
  bool both_;
};

BOOST_AUTO_TEST_CASE(a_batch_has_the_rows_that_were_asked_for) {
  const auto text_of = [](const DataLoaderOptions& options, auto source) {
    return thrown_text<ShapeError>([&] {
      DataLoader loader(std::move(source), options);
      for (const Batch& batch : loader) (void)batch;
    });
  };
  BOOST_TEST(
      text_of({.batch_size = 4}, Short(true)) ==
      "DataLoader: fetch was asked for 4 rows but returned 'input' of shape (3, 2) and 'target' of shape "
      "(3)");
  BOOST_TEST(
      text_of({.batch_size = 4, .num_workers = 2}, Short(false)) ==
      "DataLoader: fetch was asked for 4 rows but returned 'input' of shape (4, 2) and 'target' of shape "
      "(3)");
  BOOST_TEST(
      text_of({.batch_size = 4, .collate = pad_sequences()}, Short(false)) ==
      "DataLoader: fetch was asked for 1 row but returned 'input' of shape (1, 2) and 'target' of shape "
      "(0)");
  const auto halved = [](Batch batch, Generator&) {
    batch.target = slice(batch.target, 0, 0, 2);
    batch.others.emplace_back("mask", batch.target);
    return batch;
  };
  BOOST_TEST(
      text_of({.batch_size = 4, .transform = halved}, Squares(8)) ==
      "DataLoader: .transform returned 'input' of shape (4, 2), 'target' of shape (2) and 'mask' of shape "
      "(2); they must have the same number of rows");
  // A transform may change the number of rows of all tensors, and add a number.
  const auto twice = [](const Batch& batch, Generator&) {
    return Batch{.input = concat({batch.input, batch.input}),
                 .target = concat({batch.target, batch.target}),
                 .others = {{"lambda", sum(ones({1}))}}};
  };
  DataLoader loader(Squares(8), {.batch_size = 4, .transform = twice});
  BOOST_TEST((*loader.begin()).input.size(0) == 8);
}

BOOST_AUTO_TEST_CASE(all_rows_of_a_source_are_fetched) {
  const auto [most, few] = split(Squares(3000), {0.9, 0.1}, 1);
  const Batch all = fetch_all(most);
  BOOST_TEST(all.input.shape() == (Shape{2700, 2}));
  BOOST_TEST(all.target.size() == 2700);
  BOOST_TEST(fetch_all(most, "target").values<std::int64_t>() == all.target.values<std::int64_t>(),
             boost::test_tools::per_element());
  BOOST_TEST(fetch_all(Squares(0), "input").shape() == (Shape{0, 2}));
  BOOST_CHECK_THROW((void)fetch_all(few, "mask"), IndexError);
  BOOST_CHECK_THROW((void)fetch_all(Short(true)), ShapeError);

  const SequenceDataset sequences({{1, 2, 3}, {4}, {5, 6}});
  const RowSubset part(sequences, {2, 0});
  BOOST_TEST(fetch_all(part, "lengths").values<std::int64_t>() == (std::vector<std::int64_t>{2, 3}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
