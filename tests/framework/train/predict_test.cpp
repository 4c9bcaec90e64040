#include "retort/framework/train/predict.hpp"

#include <boost/test/unit_test.hpp>
#include <retort/retort.hpp>
#include <tuple>

#include "tests_support.hpp"

using namespace retort;

namespace {

class Net : public Module {
 public:
  Net() : first(4, 8), dropout(0.5), second(8, 3) {}
  Tensor operator()(const Tensor& x) const { return second(dropout(relu(first(x)))); }

  Linear first;
  Dropout dropout;
  Linear second;
  RETORT_MEMBERS(first, dropout, second)
};

BOOST_AUTO_TEST_SUITE(prediction)

BOOST_AUTO_TEST_CASE(batches_give_what_one_call_gives) {
  Net net;
  const Tensor x = randn({10, 4});
  net.eval();
  const Tensor expected = no_grad([&] { return net(x); });
  net.train();
  for (const std::int64_t batch_size : {1, 3, 10, 1000}) {
    const Tensor y = predict(net, x, {.batch_size = batch_size});
    BOOST_TEST(max(abs(y - expected)).item<float>() < 1e-6F);
    BOOST_TEST(!y.requires_grad());
  }
  BOOST_TEST(predict(net, Dataset(x, zeros({10}))).shape() == (Shape{10, 3}));
}

BOOST_AUTO_TEST_CASE(a_model_of_batches_gets_the_whole_batch) {
  const SequenceDataset rows({{1, 2, 3}, {4}, {5, 6}}, {{"target", arange(3)}});
  const auto means = [](const Batch& batch) {
    return sum(batch.input * batch["mask"], {1}).to(DType::float64) / batch["lengths"].to(DType::float64);
  };
  const std::vector<double> expected{2, 4, 5.5};
  for (const std::int64_t batch_size : {1, 2, 5})
    BOOST_TEST(predict(means, rows, {.batch_size = batch_size}).values<double>() == expected,
               boost::test_tools::per_element());
  const Dataset data({{"input", ones({2, 2})}, {"scale", tensor({2.0, 3.0}, {2, 1})}});
  const auto scaled = [](const Batch& batch) { return batch.input * batch["scale"]; };
  BOOST_TEST(predict(scaled, data).values<double>() == (std::vector<double>{2, 2, 3, 3}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(each_submodule_keeps_its_mode) {
  Net net;
  net.second.eval();
  std::ignore = predict(net, zeros({2, 4}));
  BOOST_TEST(net.is_training());
  BOOST_TEST(net.dropout.is_training());
  BOOST_TEST(!net.second.is_training());
  const auto fails = [](const Tensor&) -> Tensor { throw std::runtime_error("stop"); };
  BOOST_CHECK_THROW(std::ignore = predict(fails, zeros({2, 4})), std::runtime_error);
}

BOOST_AUTO_TEST_CASE(empty_inputs_and_refusals) {
  const Net net;
  BOOST_TEST(predict(net, zeros({0, 4})).shape() == (Shape{0, 3}));
  BOOST_CHECK_THROW(std::ignore = predict(net, zeros({2, 4}), {.batch_size = 0}), ValueError);
  BOOST_CHECK_THROW(std::ignore = predict(net, sum(zeros({2}))), ShapeError);
  const auto total = [](const Tensor& x) { return sum(x); };
  BOOST_CHECK_THROW(std::ignore = predict(total, zeros({2, 4})), ShapeError);
}

BOOST_AUTO_TEST_CASE(a_source_is_read_batch_by_batch) {
  manual_seed(1);
  const Dataset data(randn({20, 3}), arange(20));
  const auto [most, few] = split(data, {0.7, 0.3}, 4);
  Linear model(3, 2);
  const Tensor all = predict(model, data);
  for (const RowSubset& part : {most, few}) {
    const std::vector<std::int64_t> rows(part.rows().begin(), part.rows().end());
    const Tensor expected = index_select(all, 0, tensor(rows));
    BOOST_TEST(predict(model, part, {.batch_size = 4}).values<float>() == expected.values<float>(),
               boost::test_tools::tolerance(1e-5F) << boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(inputs_are_transformed_as_in_training) {
  manual_seed(1);
  const Dataset data(randn({20, 3}), arange(20));
  Linear model(3, 2);
  const PredictOptions options{.batch_size = 6, .transform = normalize(0.5, 2)};
  const std::vector<float> expected = predict(model, (data.inputs() - 0.5) / 2).values<float>();
  const auto check = [&](const Tensor& got) {
    BOOST_TEST(got.values<float>() == expected, boost::test_tools::tolerance(1e-5F)
                                                    << boost::test_tools::per_element());
  };
  check(predict(model, data, options));
  check(predict(model, data.inputs(), options));
  std::vector<std::int64_t> rows(20);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
  check(predict(model, RowSubset(data, rows), options));

  const auto half = [](Batch batch, Generator&) {
    batch.input = slice(batch.input, 0, 0, batch.input.size(0) / 2);
    return batch;
  };
  BOOST_TEST(tests::contains(
      tests::thrown_text<ShapeError>([&] { (void)predict(model, data.inputs(), {.transform = half}); }),
      "predict: .transform returned 'input' of shape (10, 3) for 20 rows"));
}

BOOST_AUTO_TEST_CASE(batches_with_outputs_of_different_shapes_are_refused) {
  const SequenceDataset data({{1, 2, 3}, {4, 5}, {6}});
  const auto model = [](const Batch& batch) { return batch.input; };
  BOOST_TEST(predict(model, data, {.batch_size = 3}).shape() == (Shape{3, 3}));
  BOOST_TEST(
      tests::contains(tests::thrown_text<ShapeError>([&] { (void)predict(model, data, {.batch_size = 2}); }),
                      "predict: the model returned (2, 3) for one batch and (1, 1) for another"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
