// Communicator and DataParallel in one process; tests/distributed runs several.
#include <numeric>
#include <vector>

#include "retort/framework/core/node.hpp"
#include "retort/framework/distributed/exchange_impl.hpp"
#include "retort/retort.hpp"
#include "tests_support.hpp"

namespace {

namespace rt = retort;
using rt::tests::contains;
using rt::tests::thrown_text;

struct OneProcess {
  rt::Communicator world{0, nullptr};
};

rt::Batch batch_of(std::int64_t rows, std::int64_t features) {
  return rt::Batch{.input = rt::randn({rows, features}, rt::DType::float64),
                   .target = rt::randn({rows, 1}, rt::DType::float64)};
}

struct Net : rt::Module {
  rt::Linear first{4, 6}, unused{3, 3}, last{6, 1};
  RETORT_MEMBERS(first, unused, last)
  Net() { to(rt::DType::float64); }
  rt::Tensor operator()(const rt::Tensor& x) { return last(rt::tanh(first(x))); }
};

void check_close(const rt::Tensor& a, const rt::Tensor& b) {
  const std::vector<double> x = a.values<double>(), y = b.values<double>();
  BOOST_REQUIRE_EQUAL(x.size(), y.size());
  for (std::size_t i = 0; i < x.size(); ++i) BOOST_CHECK_SMALL(x[i] - y[i], 1e-12);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(distributed, OneProcess)

BOOST_AUTO_TEST_CASE(one_process_needs_no_mpi) {
  BOOST_CHECK_EQUAL(world.rank(), 0);
  BOOST_CHECK_EQUAL(world.size(), 1);
  world.barrier();
  const rt::Tensor x = rt::tensor({1.0, 2.0});
  BOOST_CHECK(world.all_reduce(x).values<double>() == x.values<double>());
  BOOST_CHECK(world.broadcast(x).values<double>() == x.values<double>());
  BOOST_CHECK(world.all_gather(x).shape() == (rt::Shape{1, 2}));
  BOOST_CHECK(!rt::interrupted(world));
  BOOST_CHECK(contains(thrown_text<rt::ValueError>([&] { world.broadcast(x, 1); }),
                       "rank 1 does not exist; the ranks are 0 to 0"));
  BOOST_CHECK(
      contains(thrown_text<rt::Error>([] { rt::Communicator second(0, nullptr); }), "there is one already"));
}

BOOST_AUTO_TEST_CASE(shards_accumulate_to_the_gradient_of_the_batch) {
  for (const std::int64_t rows : {1, 3, 8, 13, 16})
    for (const std::int64_t shards : {1, 2, 3, 5, 8}) {
      Net net;
      rt::DataParallel parallel(net, world, {.shards = shards});
      const rt::Batch batch = batch_of(rows, 4);
      const rt::Tensor whole = rt::mse_loss(net(batch.input), batch.target);
      whole.backward();
      rt::Tensors expected;
      for (const rt::Tensor& parameter : net.parameters()) expected.push_back(parameter.grad());
      net.zero_grad();
      std::vector<std::int64_t> sizes;
      const double loss = parallel.backward(batch, [&](const rt::Batch& shard) {
        sizes.push_back(shard.input.size(0));
        return rt::mse_loss(net(shard.input), shard.target);
      });
      BOOST_CHECK_CLOSE(loss, whole.item<double>(), 1e-9);
      BOOST_CHECK_EQUAL(sizes.size(), std::min(rows, shards));
      BOOST_CHECK_EQUAL(std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0}), rows);
      BOOST_CHECK(sizes.front() - sizes.back() <= 1 && sizes.front() >= sizes.back());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const rt::Tensor gradient = net.parameters()[i].grad();
        BOOST_CHECK_EQUAL(gradient.defined(), expected[i].defined());
        if (gradient.defined()) check_close(gradient, expected[i]);
      }
      // A second call adds, as Tensor::backward does.
      parallel.backward(batch,
                        [&](const rt::Batch& shard) { return rt::mse_loss(net(shard.input), shard.target); });
      check_close(net.last.weight.grad(), expected[4] * 2);
    }
}

BOOST_AUTO_TEST_CASE(a_loader_may_prepare_the_shards) {
  Net net;
  rt::DataParallel parallel(net, world, {.shards = 3});
  const rt::Batch all = batch_of(7, 4);
  const rt::Dataset data(all.input, all.target);
  rt::DataLoader whole(data, {.batch_size = 5, .shuffle = true, .seed = 1});
  rt::DataLoader cut(data, {.batch_size = 5, .shuffle = true, .seed = 1, .shards = parallel.own_shards()});
  const auto loss = [&](const rt::Batch& shard) { return rt::mse_loss(net(shard.input), shard.target); };
  auto batch = cut.begin();
  for (const rt::Batch& expected : whole) {  // of 5 rows and of 2: the third shard is empty
    BOOST_CHECK_EQUAL(parallel.backward(*batch, loss), parallel.backward(expected, loss));
    ++batch;
  }
  rt::DataLoader other(data, {.batch_size = 5, .shards = {3, 0, 2}});
  BOOST_CHECK(contains(thrown_text<rt::ValueError>([&] { parallel.backward(*other.begin(), loss); }),
                       "loaded for other shards"));
  rt::DataLoader finer(data, {.batch_size = 5, .shards = {5, 0, 3}});
  BOOST_CHECK(contains(thrown_text<rt::ValueError>([&] { parallel.backward(*finer.begin(), loss); }),
                       "give the loader .shards = own_shards(world, 3)"));
}

BOOST_AUTO_TEST_CASE(one_shard_is_an_ordinary_step) {
  struct Normed : rt::Module {
    rt::Linear linear{4, 3};
    rt::BatchNorm1d norm{3};
    RETORT_MEMBERS(linear, norm)
  } net;
  const rt::Tensor x = rt::randn({6, 4});
  const rt::StateDict before = net.state_dict();
  rt::sum(rt::exp(net.norm(net.linear(x)))).backward();
  const std::vector<double> gradient = net.linear.weight.grad().values<double>();
  const std::vector<double> mean = net.norm.running_mean.values<double>();
  net.zero_grad();
  net.load_state_dict(before);
  rt::DataParallel parallel(net, world, {.shards = 1});
  parallel.backward(
      {.input = x, .target = {}, .others = {}, .rows = {}, .key = 0},
      [&](const rt::Batch& shard) { return rt::sum(rt::exp(net.norm(net.linear(shard.input)))); });
  BOOST_CHECK(net.linear.weight.grad().values<double>() == gradient);
  BOOST_CHECK(net.norm.running_mean.values<double>() == mean);
}

BOOST_AUTO_TEST_CASE(running_statistics_are_the_mean_of_the_shards) {
  rt::BatchNorm1d norm(2);
  rt::DataParallel parallel(norm, world, {.shards = 4});
  rt::Batch batch{.input = rt::randn({10, 2})};
  const auto loss = [&](const rt::Batch& shard) { return rt::mean(norm(shard.input)); };
  parallel.backward(batch, loss);
  BOOST_CHECK_EQUAL(norm.num_batches_tracked.item<int>(), 1);
  // The mean of the shards' means, weighted by rows, is the mean of the batch.
  const std::vector<double> mean = rt::mean(batch.input, {0}).values<double>();
  for (std::size_t c = 0; c < 2; ++c)
    BOOST_CHECK_SMALL(norm.running_mean.values<double>()[c] - 0.1 * mean[c], 1e-6);
  // In evaluation nothing changes, to the bit.
  norm.eval();
  const std::vector<double> held = norm.running_var.values<double>();
  parallel.backward(batch, loss);
  BOOST_CHECK(norm.running_var.values<double>() == held);
  BOOST_CHECK_EQUAL(norm.num_batches_tracked.item<int>(), 1);
}

BOOST_AUTO_TEST_CASE(a_failure_changes_nothing) {
  rt::BatchNorm1d norm(2);
  rt::DataParallel parallel(norm, world, {.shards = 4});
  rt::Batch batch{.input = rt::randn({12, 2})};
  const std::vector<double> before = norm.running_mean.values<double>();
  int calls = 0;
  const auto loss = [&](const rt::Batch& shard) {
    const rt::Tensor y = rt::mean(norm(shard.input));
    if (++calls == 3) throw rt::ValueError("third");
    return y;
  };
  BOOST_CHECK_EQUAL(thrown_text<rt::ValueError>([&] { parallel.backward(batch, loss); }), "third");
  BOOST_CHECK(norm.running_mean.values<double>() == before);
  BOOST_CHECK(!norm.weight.grad().defined());
  parallel.backward(batch, loss);
  BOOST_CHECK(norm.weight.grad().defined());
}

BOOST_AUTO_TEST_CASE(random_numbers_belong_to_the_shard) {
  Net net;
  rt::DataParallel parallel(net, world, {.shards = 3});
  const rt::Batch batch = batch_of(6, 4);
  const auto draws = [&] {
    std::vector<double> numbers;
    parallel.backward(batch, [&](const rt::Batch& shard) {
      numbers.push_back(rt::rand({1}).item<double>());
      return rt::mse_loss(net(shard.input), shard.target);
    });
    return numbers;
  };
  rt::manual_seed(4);
  const std::vector<double> first = draws(), second = draws();
  BOOST_CHECK_EQUAL(rt::generator_state().position(), 2);
  BOOST_CHECK(first[0] != first[1] && first[1] != first[2] && first != second);
  rt::manual_seed(4);
  BOOST_CHECK(draws() == first);
}

BOOST_AUTO_TEST_CASE(all_tensors_of_a_batch_are_cut) {
  Net net;
  rt::DataParallel parallel(net, world, {.shards = 2});
  rt::Batch batch = batch_of(5, 4);
  batch.others = {{"id", rt::arange(5)}};
  batch.rows = {10, 11, 12, 13, 14};
  std::vector<std::int64_t> ids, rows;
  parallel.backward(batch, [&](const rt::Batch& shard) {
    for (const auto id : shard["id"].values<std::int64_t>()) ids.push_back(id);
    rows.insert(rows.end(), shard.rows.begin(), shard.rows.end());
    return rt::mse_loss(net(shard.input), shard.target);
  });
  BOOST_CHECK(ids == (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
  BOOST_CHECK(rows == batch.rows);
  BOOST_CHECK_EQUAL(parallel.statistics().steps, 1);
  BOOST_CHECK_EQUAL(parallel.statistics().bytes_sent, 0);
}

BOOST_AUTO_TEST_CASE(mistakes_are_named) {
  Net net;
  BOOST_CHECK(contains(thrown_text<rt::ValueError>([&] { rt::DataParallel(net, world, {.shards = 0}); }),
                       "0 shards; there must be at least 1"));
  BOOST_CHECK(
      contains(thrown_text<rt::ValueError>([&] { rt::DataParallel(net, world, {.bucket_bytes = 8}); }),
               "bucket_bytes is 8"));
  rt::DataParallel parallel(net, world);
  const auto loss = [&](const rt::Batch& shard) { return rt::mse_loss(net(shard.input), shard.target); };
  const auto text = [&](auto error, const rt::Batch& batch, const auto& f) {
    return thrown_text<decltype(error)>([&] { parallel.backward(batch, f); });
  };
  const rt::Batch good = batch_of(8, 4);
  rt::Batch bad = good;
  bad.target = rt::zeros({7, 1}, rt::DType::float64);
  BOOST_CHECK(contains(text(rt::ShapeError(""), bad, loss), "'target' has 7 rows"));
  BOOST_CHECK(contains(text(rt::ValueError(""), rt::Batch{}, loss), "the batch has no rows"));
  bad.target = rt::reshape(rt::ones({1}), {});
  BOOST_CHECK(contains(text(rt::ShapeError(""), bad, loss), "'target' has shape ()"));
  BOOST_CHECK(contains(text(rt::ShapeError(""), good, [&](const rt::Batch&) { return net.first.weight * 2; }),
                       "loss has shape (6, 4)"));
  BOOST_CHECK(contains(text(rt::ShapeError(""), good, [](const rt::Batch&) { return rt::Tensor(); }),
                       "is undefined"));
  BOOST_CHECK(
      contains(text(rt::GraphError(""), good, [](const rt::Batch&) { return rt::ones({}); }), "no history"));
  const rt::Tensor other = rt::ones({3}, rt::DType::float64).set_requires_grad();
  BOOST_CHECK(contains(
      text(rt::ValueError(""), good, [&](const rt::Batch& shard) { return loss(shard) * rt::sum(other); }),
      "is not a parameter of the model"));
}

BOOST_AUTO_TEST_CASE(leaves_are_handed_out_once_and_as_soon_as_possible) {
  const rt::Tensor a = rt::tensor({2.0}).set_requires_grad(), b = rt::tensor({3.0}).set_requires_grad();
  const rt::Tensor c = rt::tensor({5.0}).set_requires_grad(), frozen = rt::tensor({7.0});
  std::vector<const rt::detail::Leaf*> order;
  std::vector<double> gradients;
  const rt::Tensor square = (a * b) * a;
  const rt::Tensor y = (square + c * frozen) * b;
  rt::detail::backward(y, {}, {}, [&](const rt::detail::Leaf& leaf, rt::Tensor gradient) {
    order.push_back(&leaf);
    gradients.push_back(gradient.item<double>());
  });
  BOOST_REQUIRE_EQUAL(order.size(), 3);
  BOOST_CHECK(order[0] == static_cast<rt::detail::Leaf*>(rt::detail::Access::node(c)));
  for (std::size_t i = 0; i < 3; ++i) {
    const bool is_a = order[i] == static_cast<rt::detail::Leaf*>(rt::detail::Access::node(a));
    const bool is_b = order[i] == static_cast<rt::detail::Leaf*>(rt::detail::Access::node(b));
    BOOST_CHECK_EQUAL(gradients[i], is_a ? 36.0 : is_b ? 59.0 : 21.0);
  }
  BOOST_CHECK(!a.grad().defined() && !b.grad().defined() && !c.grad().defined());
  int calls = 0;
  rt::detail::backward(a, {}, {}, [&](const rt::detail::Leaf&, rt::Tensor) { ++calls; });
  BOOST_CHECK_EQUAL(calls, 1);
}

BOOST_AUTO_TEST_CASE(the_tree_depends_on_the_number_of_shards) {
  using rt::detail::ShardRange;
  BOOST_CHECK(rt::detail::is_node({0, 8}, 8) && rt::detail::is_node({4, 6}, 8) &&
              rt::detail::is_node({7, 8}, 8));
  BOOST_CHECK(!rt::detail::is_node({1, 3}, 8) && !rt::detail::is_node({2, 6}, 8));
  BOOST_CHECK(rt::detail::is_node({4, 6}, 6) && rt::detail::is_node({0, 4}, 5) &&
              !rt::detail::is_node({2, 5}, 5));
  for (const int ranks : {1, 2, 3, 5, 8, 11})
    for (const std::int64_t shards : {1, 2, 7, 8}) {
      std::int64_t end = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const ShardRange own = rt::detail::shards_of_rank(shards, ranks, rank);
        BOOST_CHECK_EQUAL(own.begin, end);
        for (std::int64_t i = own.begin; i < own.end; ++i)
          BOOST_CHECK_EQUAL(rt::detail::ranks_of_shards(shards, ranks)[static_cast<std::size_t>(i)], rank);
        end = own.end;
      }
      BOOST_CHECK_EQUAL(end, shards);
    }
}

BOOST_AUTO_TEST_SUITE_END()
