#include "retort/framework/data/data_loader.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <limits>
#include <set>
#include <stdexcept>
#include <thread>

#include "retort/framework/base/error.hpp"
#include "retort/framework/base/threads.hpp"
#include "tests_support.hpp"

using namespace retort;
using retort::tests::thrown_text;

namespace {

using Integers = std::vector<std::int64_t>;
using Batches = std::vector<Integers>;

// Row i has the input i and the target -i.
Dataset numbered(std::int64_t n) {
  const Tensor targets = arange(n);
  for (std::int64_t& target : targets.mutable_data<std::int64_t>()) target = -target;
  return Dataset(arange(n, DType::float32), targets);
}

Integers rows_of(const Batch& batch) {
  BOOST_TEST(batch.input.size() == batch.target.size());
  for (std::int64_t i = 0; i < batch.input.size(); ++i)
    BOOST_TEST(batch.input.values<std::int64_t>()[i] == -batch.target.data<std::int64_t>()[i]);
  return batch.input.values<std::int64_t>();
}

Batches epoch(DataLoader& loader) {
  Batches batches;
  for (const Batch& batch : loader) batches.push_back(rows_of(batch));
  return batches;
}

Integers flat(const Batches& batches) {
  Integers rows;
  for (const Integers& batch : batches) rows.insert(rows.end(), batch.begin(), batch.end());
  return rows;
}

// Adds a random number to every input of a batch.
Batch add_noise(const Batch& batch, Generator& generator) {
  const Tensor noisy = batch.input.clone();
  for (float& value : noisy.mutable_data<float>()) value += static_cast<float>(generator.uniform());
  return {noisy, batch.target};
}

std::size_t threads_alive() {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                                                std::filesystem::directory_iterator()));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(data_loader)

static_assert(std::input_iterator<DataLoader::Iterator>);

BOOST_AUTO_TEST_CASE(batches_cover_the_data_in_order) {
  DataLoader loader(numbered(7), {.batch_size = 3});
  BOOST_TEST(loader.size() == 3);
  BOOST_TEST((epoch(loader) == Batches{{0, 1, 2}, {3, 4, 5}, {6}}));
  BOOST_TEST((epoch(loader) == Batches{{0, 1, 2}, {3, 4, 5}, {6}}));

  DataLoader whole(numbered(7), {.batch_size = 3, .drop_last = true});
  BOOST_TEST(whole.size() == 2);
  BOOST_TEST((epoch(whole) == Batches{{0, 1, 2}, {3, 4, 5}}));

  DataLoader one(numbered(2));
  BOOST_TEST((epoch(one) == Batches{{0}, {1}}));
  DataLoader large(numbered(2), {.batch_size = std::numeric_limits<std::int64_t>::max()});
  BOOST_TEST((epoch(large) == Batches{{0, 1}}));
}

BOOST_AUTO_TEST_CASE(nothing_gives_no_batch) {
  DataLoader empty(numbered(0), {.batch_size = 2, .shuffle = true});
  BOOST_TEST(empty.size() == 0);
  BOOST_TEST(epoch(empty).empty());
  BOOST_TEST(empty.position().epoch == 1);
  DataLoader undefined(Dataset{});
  BOOST_TEST(epoch(undefined).empty());
  DataLoader dropped(numbered(2), {.batch_size = 3, .drop_last = true});
  BOOST_TEST(epoch(dropped).empty());
}

BOOST_AUTO_TEST_CASE(a_batch_size_below_one_is_refused) {
  for (const std::int64_t size : {std::int64_t{0}, std::int64_t{-3}})
    BOOST_TEST(thrown_text<ValueError>([&] {
                 DataLoader(numbered(2), {.batch_size = size});
               }).find("batch_size is " + std::to_string(size)) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_shuffled_epoch_holds_every_row_once_and_differs_from_the_others) {
  DataLoader loader(numbered(100), {.batch_size = 8, .shuffle = true, .seed = 3});
  std::set<Integers> orders;
  for (int i = 0; i < 5; ++i) {
    const Integers order = flat(epoch(loader));
    orders.insert(order);
    BOOST_TEST((std::set<std::int64_t>(order.begin(), order.end()).size()) == 100U);
    BOOST_TEST(order.size() == 100U);
  }
  BOOST_TEST(orders.size() == 5U);
}

BOOST_AUTO_TEST_CASE(the_order_depends_on_seed_and_epoch_alone) {
  const auto make = [](std::uint64_t seed) {
    return DataLoader(numbered(50), {.batch_size = 8, .shuffle = true, .seed = seed});
  };
  DataLoader first = make(3);
  const Batches epoch0 = epoch(first);
  const Batches epoch1 = epoch(first);
  DataLoader second = make(3);
  second.set_position({3, 1, 0});
  BOOST_TEST((epoch(second) == epoch1));
  second.set_position({3, 0, 0});
  BOOST_TEST((epoch(second) == epoch0));
  DataLoader other = make(4);
  BOOST_TEST((epoch(other) != epoch0));
  // Another batch size cuts the same order.
  DataLoader wider(numbered(50), {.batch_size = 50, .shuffle = true, .seed = 3});
  BOOST_TEST((flat(epoch(wider)) == flat(epoch0)));
}

BOOST_AUTO_TEST_CASE(without_a_seed_manual_seed_decides) {
  const auto orders = [](std::uint64_t seed) {
    manual_seed(seed);
    DataLoader first(numbered(50), {.shuffle = true});
    DataLoader second(numbered(50), {.shuffle = true});
    return std::pair(flat(epoch(first)), flat(epoch(second)));
  };
  const auto [first, second] = orders(1);
  BOOST_TEST((first != second));
  BOOST_TEST((orders(1).second == second));
  BOOST_TEST((orders(2).first != first));
}

BOOST_AUTO_TEST_CASE(a_restored_position_goes_on_with_the_same_batches) {
  for (const bool prefetch : {false, true}) {
    const DataLoaderOptions options{
        .batch_size = 4, .shuffle = true, .seed = 9, .transform = add_noise, .prefetch = prefetch};
    // Three epochs without interruption: the batches taken and the position after each.
    DataLoader whole(numbered(15), options);
    std::vector<std::vector<float>> batches;
    std::vector<LoaderPosition> positions{whole.position()};
    for (int i = 0; i < 3; ++i) {
      for (const Batch& batch : whole) {
        batches.push_back(batch.input.values<float>());
        positions.push_back(whole.position());
      }
    }
    BOOST_TEST(batches.size() == 12U);
    BOOST_TEST((positions[2] == LoaderPosition{9, 0, 2}));
    BOOST_TEST((positions[4] == LoaderPosition{9, 0, 4}));  // the epoch's end is still to come
    BOOST_TEST((positions[5] == LoaderPosition{9, 1, 1}));
    for (std::size_t stop = 0; stop < positions.size(); ++stop) {
      DataLoader rest(
          numbered(15),
          {.batch_size = 4, .shuffle = true, .seed = 1, .transform = add_noise, .prefetch = prefetch});
      rest.set_position(positions[stop]);
      BOOST_TEST((rest.position() == positions[stop]));
      std::size_t next = stop;
      while (rest.position().epoch < 3) {
        const std::int64_t this_epoch = rest.position().epoch;
        for (const Batch& batch : rest) {
          BOOST_TEST((batch.input.values<float>() == batches.at(next)),
                     "batch " << next << " after " << stop);
          ++next;
        }
        BOOST_TEST(rest.position().epoch == this_epoch + 1);
      }
      BOOST_TEST(next == batches.size());
    }
  }
}

BOOST_AUTO_TEST_CASE(a_loop_that_was_left_is_followed_by_the_next_epoch) {
  for (const bool prefetch : {false, true}) {
    DataLoader loader(numbered(20), {.batch_size = 4, .shuffle = true, .seed = 2, .prefetch = prefetch});
    const Batches epoch0 = epoch(loader);
    const Batches epoch1 = epoch(loader);
    loader.set_position({2, 0, 0});
    Integers seen;
    for (const Batch& batch : loader) {
      seen = rows_of(batch);
      if (loader.position().batch == 2) break;
    }
    BOOST_TEST((seen == epoch0[1]));
    BOOST_TEST((loader.position() == LoaderPosition{2, 0, 2}));  // a batch ahead does not count
    BOOST_TEST((epoch(loader) == epoch1));

    // Unless set_position() asks for it.
    loader.set_position({2, 0, 2});
    BOOST_TEST((epoch(loader) == Batches(epoch0.begin() + 2, epoch0.end())));
    BOOST_TEST((epoch(loader) == epoch1));
  }
}

BOOST_AUTO_TEST_CASE(positions_that_cannot_be_are_refused) {
  DataLoader loader(numbered(10), {.batch_size = 4, .seed = 1});
  BOOST_CHECK_THROW(loader.set_position({1, 0, 4}), ValueError);
  BOOST_CHECK_THROW(loader.set_position({1, 0, -1}), ValueError);
  BOOST_CHECK_THROW(loader.set_position({1, -1, 0}), ValueError);
  BOOST_TEST((loader.position() == LoaderPosition{1, 0, 0}));
  loader.set_position({1, 0, 3});
  BOOST_TEST(epoch(loader).empty());
  BOOST_TEST(epoch(loader).size() == 3U);
}

BOOST_AUTO_TEST_CASE(transforms_run_on_a_second_thread_only_when_asked_or_worth_it) {
  std::atomic<int> elsewhere{0};
  std::atomic<int> here{0};
  const auto caller = std::this_thread::get_id();
  const BatchTransform count = [&](Batch batch, Generator&) {
    ++(std::this_thread::get_id() == caller ? here : elsewhere);
    return batch;
  };
  const auto run = [&](std::optional<bool> prefetch) {
    here = elsewhere = 0;
    DataLoader loader(numbered(12), {.batch_size = 2, .transform = count, .prefetch = prefetch});
    BOOST_TEST(epoch(loader).size() == 6U);
  };
  run(false);
  BOOST_TEST(here == 6);
  run(true);
  BOOST_TEST(elsewhere == 5);  // the first one nobody could know of
  const int threads = get_num_threads();
  set_num_threads(2);
  run({});
  BOOST_TEST(elsewhere == 5);
  set_num_threads(1);
  run({});
  BOOST_TEST(here == 6);
  set_num_threads(threads);
}

BOOST_AUTO_TEST_CASE(one_batch_is_prepared_ahead_and_no_more) {
  std::atomic<int> prepared{0};
  DataLoader loader(numbered(12), {.batch_size = 2,
                                   .transform =
                                       [&](Batch batch, Generator&) {
                                         ++prepared;
                                         return batch;
                                       },
                                   .prefetch = true});
  int taken = 0;
  for ([[maybe_unused]] const Batch& batch : loader) {
    ++taken;
    BOOST_TEST(prepared.load() <= taken + 1);
  }
  BOOST_TEST(prepared == 6);
}

BOOST_AUTO_TEST_CASE(what_a_transform_throws_reaches_the_loop) {
  for (const bool prefetch : {false, true}) {
    DataLoader loader(numbered(12), {.batch_size = 2,
                                     .transform =
                                         [](Batch batch, Generator&) {
                                           if (batch.input.data<float>()[0] == 4)
                                             throw std::runtime_error("third");
                                           return batch;
                                         },
                                     .prefetch = prefetch});
    int taken = 0;
    const std::string text = thrown_text<std::runtime_error>([&] {
      for ([[maybe_unused]] const Batch& batch : loader) ++taken;
    });
    BOOST_TEST(text == "third");
    BOOST_TEST(taken == 2);
    BOOST_TEST(loader.position().batch == 2);  // the third was not taken
    loader.set_position({0, 0, 3});
    BOOST_TEST(epoch(loader).size() == 3U);
  }
}

BOOST_AUTO_TEST_CASE(no_thread_outlives_its_loader) {
  const std::size_t before = threads_alive();
  for (int i = 0; i < 20; ++i) {
    DataLoader loader(numbered(12), {.batch_size = 2, .prefetch = true});
    for ([[maybe_unused]] const Batch& batch : loader) {
      BOOST_TEST(threads_alive() == before + 1);
      break;
    }
    DataLoader moved = std::move(loader);
    BOOST_TEST(epoch(moved).size() == 6U);
  }
  BOOST_TEST(threads_alive() == before);
}

BOOST_AUTO_TEST_CASE(an_iterator_of_an_earlier_pass_is_found_out) {
  DataLoader loader(numbered(12), {.batch_size = 2});
  DataLoader::Iterator first = loader.begin();
  const DataLoader::Iterator second = loader.begin();
  BOOST_CHECK_THROW(++first, Error);
  BOOST_CHECK_THROW(*first, Error);
  BOOST_TEST(second->input.size() == 2);
  BOOST_CHECK_THROW(*loader.end(), Error);
}

BOOST_AUTO_TEST_CASE(a_taken_batch_outlives_the_loop) {
  DataLoader loader(numbered(6), {.batch_size = 2});
  std::vector<Batch> kept;
  for (const auto& [input, target] : loader) kept.push_back({input, target});
  BOOST_TEST((rows_of(kept[0]) == Integers{0, 1}));
  BOOST_TEST((rows_of(kept[2]) == Integers{4, 5}));
}

#if !defined(__SANITIZE_THREAD__)  // which does not take a fork of a process with threads
BOOST_AUTO_TEST_CASE(a_forked_child_goes_on_with_the_next_batch) {
  for (const bool slow : {false, true}) {
    DataLoader loader(numbered(12), {.batch_size = 2,
                                     .transform =
                                         [slow](Batch batch, Generator&) {
                                           if (slow)
                                             std::this_thread::sleep_for(std::chrono::milliseconds(20));
                                           return batch;
                                         },
                                     .prefetch = true});
    auto batch = loader.begin();
    ++batch;
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(30);
      bool right = true;
      for (std::int64_t row = 2; batch != loader.end(); ++batch, row += 2)
        right = right && rows_of(*batch) == Integers{row, row + 1};
      right = right && epoch(loader).size() == 6;
      { const DataLoader gone = std::move(loader); }
      ::_exit(right ? 0 : 1);
    }
    int status = -1;
    BOOST_TEST(::waitpid(child, &status, 0) == child);
    BOOST_TEST(status == 0);
    std::size_t left = 0;
    for (; batch != loader.end(); ++batch) ++left;
    BOOST_TEST(left == 5U);
  }
}

BOOST_AUTO_TEST_CASE(a_forked_child_can_destroy_a_loader_in_use) {
  auto* const loader = new DataLoader(numbered(12), {.batch_size = 2, .prefetch = true});
  loader->begin();
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);
    delete loader;
    ::_exit(0);
  }
  int status = -1;
  BOOST_TEST(::waitpid(child, &status, 0) == child);
  BOOST_TEST(status == 0);
  delete loader;
}
#endif

BOOST_AUTO_TEST_SUITE_END()
