// Parameter groups, freezing, Lion and L-BFGS.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "retort/retort.hpp"

namespace rt = retort;

namespace {

rt::Tensor weight(double value = 1) {
  return rt::full({2, 2}, value, rt::DType::float64).set_requires_grad();
}
rt::Tensor bias(double value = 1) { return rt::full({2}, value, rt::DType::float64).set_requires_grad(); }

void give(const rt::Tensors& parameters, double gradient) {
  for (const rt::Tensor& each : parameters) each.set_grad(rt::full(each.shape(), gradient, each.dtype()));
}

double first(const rt::Tensor& x) { return x.values<double>().front(); }

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const rt::Error& error) {
    return error.what();
  }
  return "no error";
}

/// A group of one parameter for each of two rates.
template <class O, class Options>
void check_two_rates(Options low, Options high) {
  low.lr = 0.01, high.lr = 0.02;
  const rt::Tensor a = weight(), b = bias(), alone = bias();
  O grouped({{{a}, low}, {{b}, high}});
  O single({alone}, high);
  for (int step = 0; step < 3; ++step) {
    give({a, b, alone}, 0.5 + step);
    grouped.step();
    single.step();
  }
  BOOST_TEST(grouped.group_count() == 2);
  BOOST_TEST(first(b) == first(alone));
  BOOST_TEST(first(a) != first(b));
  rt::Tensors c{weight(), bias()};
  O resumed({{{c[0]}, low}, {{c[1]}, low}});
  resumed.load_state_dict(grouped.state_dict());
  BOOST_TEST(resumed.lr(1) == 0.02);
  O fewer({a, b}, low);
  BOOST_CHECK_THROW(fewer.load_state_dict(grouped.state_dict()), rt::ValueError);
  BOOST_CHECK_THROW(grouped.load_state_dict(fewer.state_dict()), rt::ValueError);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(parameter_groups)

BOOST_AUTO_TEST_CASE(every_optimizer_takes_groups) {
  check_two_rates<rt::SGD>(rt::SGDOptions{}, rt::SGDOptions{.momentum = 0.9});
  check_two_rates<rt::Adam>(rt::AdamOptions{}, rt::AdamOptions{.amsgrad = true});
  check_two_rates<rt::AdamW>(rt::AdamWOptions{}, rt::AdamWOptions{.weight_decay = 0.3});
  check_two_rates<rt::RMSprop>(rt::RMSpropOptions{}, rt::RMSpropOptions{.centered = true});
  check_two_rates<rt::Adagrad>(rt::AdagradOptions{}, rt::AdagradOptions{.lr_decay = 0.1});
  check_two_rates<rt::Lion>(rt::LionOptions{}, rt::LionOptions{.weight_decay = 0.1});
}

BOOST_AUTO_TEST_CASE(weight_decay_for_weights_alone) {
  rt::Linear layer(3, 2);
  rt::BatchNorm1d norm(2);
  const auto [decayed, others] = rt::decay_groups(layer);
  BOOST_REQUIRE(decayed.size() == 1);
  BOOST_REQUIRE(others.size() == 1);
  BOOST_TEST(retort::detail::Access::same(decayed[0], layer.weight));
  BOOST_TEST(retort::detail::Access::same(others[0], layer.bias));
  rt::AdamW optimizer(
      {{decayed, {.lr = 1e-3, .weight_decay = 0.05}}, {others, {.lr = 1e-3, .weight_decay = 0}}});
  const std::vector<double> before = layer.bias.values<double>(), weights = layer.weight.values<double>();
  layer.weight.set_grad(rt::zeros_like(layer.weight));
  layer.bias.set_grad(rt::zeros_like(layer.bias));
  optimizer.step();
  BOOST_TEST(layer.bias.values<double>() == before, boost::test_tools::per_element());
  BOOST_TEST(layer.weight.values<double>()[0] == weights[0] * (1 - 1e-3 * 0.05),
             boost::test_tools::tolerance(1e-6));
  const auto [none, scales] = rt::decay_groups(norm);
  BOOST_TEST(none.empty());
  BOOST_TEST(scales.size() == 2);
  rt::SGD with_an_empty_group({{none, {}}, {scales, {.lr = 0.5}}});
  BOOST_TEST(with_an_empty_group.lr(1) == 0.5);
  with_an_empty_group.load_state_dict(with_an_empty_group.state_dict());
}

BOOST_AUTO_TEST_CASE(rates_of_groups) {
  rt::SGD optimizer({{{weight()}, {.lr = 0.1, .momentum = 0.5}}, {{bias()}, {.lr = 0.2, .momentum = 0.7}}});
  BOOST_TEST(optimizer.lr() == 0.1);
  BOOST_TEST(optimizer.lr(1) == 0.2);
  BOOST_TEST(*optimizer.momentum(1) == 0.7);
  optimizer.set_lr(0.4, 1);
  BOOST_TEST(optimizer.lr(0) == 0.1);
  BOOST_TEST(optimizer.lr(1) == 0.4);
  optimizer.set_lr(0.3);
  BOOST_TEST(optimizer.lr(0) == 0.3);
  BOOST_TEST(optimizer.lr(1) == 0.3);
  optimizer.set_momentum(0.9);
  BOOST_TEST(*optimizer.momentum(0) == 0.9);
  BOOST_TEST(*optimizer.momentum(1) == 0.9);
  BOOST_CHECK_THROW(optimizer.lr(2), rt::IndexError);
  BOOST_CHECK_THROW(optimizer.lr(-1), rt::IndexError);
  BOOST_CHECK_THROW(optimizer.set_lr(0.1, 2), rt::IndexError);
  BOOST_CHECK_THROW(optimizer.set_lr(-0.1, 1), rt::ValueError);
  BOOST_CHECK_THROW(optimizer.set_lr(-0.1), rt::ValueError);
  BOOST_TEST(optimizer.lr(1) == 0.3);
}

BOOST_AUTO_TEST_CASE(a_group_is_added) {
  const rt::Tensor a = weight(), b = bias();
  rt::SGD optimizer({a}, {.lr = 0.5});
  give({a}, 1);
  optimizer.step();
  optimizer.add_group({{b}, {.lr = 0.25}});
  BOOST_TEST(optimizer.group_count() == 2);
  BOOST_TEST(optimizer.parameters().size() == 2);
  give({a, b}, 1);
  optimizer.step();
  BOOST_TEST(first(a) == 0);
  BOOST_TEST(first(b) == 0.75);
  // Refused groups leave the optimiser as it was.
  BOOST_TEST(message_of([&] {
               optimizer.add_group({{bias(), a}, {}});
             }) == "SGD: parameter 3 of shape (2, 2) is listed twice and would be updated twice");
  BOOST_CHECK_THROW(optimizer.add_group({{bias()}, {.lr = -1}}), rt::ValueError);
  BOOST_CHECK_THROW(optimizer.add_group({{bias()}, {.nesterov = true}}), rt::ValueError);
  BOOST_CHECK_THROW(optimizer.add_group({{b * 2.0}, {}}), rt::ValueError);
  BOOST_TEST(optimizer.group_count() == 2);
  BOOST_TEST(optimizer.parameters().size() == 2);
  give({a, b}, 1);
  optimizer.step();
  BOOST_TEST(first(b) == 0.5);
  BOOST_CHECK_THROW(rt::SGD(std::vector<rt::ParameterGroup<rt::SGDOptions>>{}), rt::ValueError);
  BOOST_CHECK_THROW(rt::SGD(std::vector{rt::ParameterGroup<rt::SGDOptions>{}}), rt::ValueError);
}

BOOST_AUTO_TEST_CASE(each_group_is_checked_by_its_own_options) {
  const rt::Tensor a = weight(), b = bias();
  rt::SGD optimizer({{{a}, {.momentum = 0.9, .nesterov = true}}, {{b}, {.momentum = 0}}});
  BOOST_CHECK_THROW(optimizer.set_momentum(0), rt::ValueError);
  BOOST_TEST(*optimizer.momentum(0) == 0.9);
  BOOST_TEST(*optimizer.momentum(1) == 0);
  rt::StateDict state = optimizer.state_dict();
  state["param_groups.1.nesterov"] = rt::full({}, 1, rt::DType::int64);
  BOOST_CHECK_THROW(optimizer.load_state_dict(state), rt::ValueError);
  BOOST_TEST(optimizer.state_dict().at("param_groups.1.nesterov").item<double>() == 0);
  BOOST_TEST(optimizer.state_dict().at("param_groups.1.params").values<double>() == std::vector<double>{1},
             boost::test_tools::per_element());
}

// Fine-tuning: the head alone first, then everything.
BOOST_AUTO_TEST_CASE(parts_are_frozen_and_thawed) {
  rt::manual_seed(2);
  rt::Sequential model(rt::Linear(3, 4), rt::ReLU(), rt::Linear(4, 1));
  rt::Adam optimizer(model.parameters(), {.lr = 0.05, .weight_decay = 0.1});
  const rt::Tensor x = rt::randn({8, 3});
  const auto train = [&] {
    optimizer.zero_grad();
    rt::mean(rt::pow(model(x) - 1.0, 2)).backward();
    optimizer.step();
  };
  const rt::Tensors parameters = model.parameters();
  const auto snapshot = [&](std::size_t i) { return parameters[i].values<double>(); };
  train();
  // The gradients of the last step are still there: a frozen parameter does not move all the same.
  for (const std::size_t i : {0, 1}) parameters[i].set_requires_grad(false);
  const std::vector<double> body = snapshot(0), head = snapshot(2);
  optimizer.step();
  for (int i = 0; i < 3; ++i) train();
  BOOST_TEST(snapshot(0) == body, boost::test_tools::per_element());
  BOOST_TEST(snapshot(2) != head);
  BOOST_TEST(!parameters[0].grad().defined());
  BOOST_TEST(optimizer.state_dict().at("state.0.step").item<double>() == 1);
  BOOST_TEST(rt::clip_grad_norm(optimizer.parameters(), 1.0) > 0);
  for (const std::size_t i : {0, 1}) parameters[i].set_requires_grad();
  train();
  BOOST_TEST(snapshot(0) != body);
  BOOST_TEST(optimizer.state_dict().at("state.0.step").item<double>() == 2);
}

BOOST_AUTO_TEST_CASE(the_norm_is_that_of_all_groups) {
  const rt::Tensor a = weight(), b = bias();
  rt::SGD optimizer({{{a}, {.lr = 1}}, {{b}, {.lr = 1}}});
  give({a, b}, 2);
  BOOST_TEST(rt::clip_grad_norm(optimizer.parameters(), 1) == std::sqrt(24.0),
             boost::test_tools::tolerance(1e-12));
  BOOST_TEST(first(a.grad()) == first(b.grad()));
}

BOOST_AUTO_TEST_CASE(state_dicts_of_one_group_are_as_before) {
  const rt::Tensor a = weight();
  rt::SGD optimizer({a}, {.lr = 0.5});
  std::vector<std::string> names;
  for (const auto& entry : optimizer.state_dict()) names.push_back(entry.first);
  const std::vector<std::string> expected{"class.SGD",
                                          "state.0.step",
                                          "state.0.momentum_buffer",
                                          "param_groups.0.lr",
                                          "param_groups.0.momentum",
                                          "param_groups.0.dampening",
                                          "param_groups.0.weight_decay",
                                          "param_groups.0.nesterov",
                                          "param_groups.0.maximize",
                                          "param_groups.0.initial_lr",
                                          "param_groups.0.params"};
  BOOST_TEST(names == expected, boost::test_tools::per_element());
}

// A schedule of a chain may leave the rate negative; that state must be readable, too.
BOOST_AUTO_TEST_CASE(a_negative_rate_of_a_chain_is_restored) {
  const rt::Tensor a = weight();
  rt::SGD optimizer({a}, {.lr = 0.5});
  rt::LRScheduler down(optimizer,
                       [](const rt::LRScheduler::Moment& at) { return at.step == 1 ? -at.lr : at.lr; });
  down.step();
  BOOST_TEST(optimizer.lr() == -0.5);
  rt::SGD other({weight()}, {.lr = 0.25});
  other.load_state_dict(optimizer.state_dict());
  BOOST_TEST(other.lr() == -0.5);
  BOOST_CHECK_THROW(other.step(), rt::ValueError);
  rt::LRScheduler resumed(other,
                          [](const rt::LRScheduler::Moment& at) { return at.step == 1 ? -at.lr : at.lr; });
  resumed.load_state_dict(down.state_dict());
  BOOST_TEST(other.lr() == -0.5);
  BOOST_TEST(resumed.last_epoch() == 1);
}

BOOST_AUTO_TEST_CASE(lion_takes_signs) {
  const rt::Tensor p = rt::tensor({1.0, -2.0, 3.0}).set_requires_grad();
  rt::Lion optimizer({p}, {.lr = 0.1, .weight_decay = 0.5});
  p.set_grad(rt::tensor({0.5, -4.0, 0.0}));
  optimizer.step();
  const std::vector<double> expected{0.95 - 0.1, -1.9 + 0.1, 2.85};
  BOOST_TEST(p.values<double>() == expected, boost::test_tools::tolerance(1e-15)
                                                 << boost::test_tools::per_element());
  p.set_grad(rt::tensor({0.0, 0.0, std::numeric_limits<double>::quiet_NaN()}));
  optimizer.step();
  BOOST_TEST(std::isnan(p.values<double>()[2]));
  BOOST_TEST(*optimizer.momentum() == 0.9);
  BOOST_CHECK_THROW(rt::Lion({p}, {.betas = {1.0, 0.9}}), rt::ValueError);
  BOOST_CHECK_THROW(rt::Lion({p}, {.weight_decay = -1}), rt::ValueError);
}

BOOST_AUTO_TEST_CASE(lbfgs_fits_and_resumes_with_the_same_bits) {
  for (const bool search : {false, true})
    for (const rt::DType dtype : {rt::DType::float32, rt::DType::float64}) {
      rt::manual_seed(4);
      const rt::Tensor x = rt::randn({20, 3}, dtype), y = rt::tanh(rt::sum(x, 1, true));
      const auto make_model = [&] {
        rt::manual_seed(5);
        rt::Sequential model(rt::Linear(3, 6), rt::Tanh(), rt::Linear(6, 1));
        model.to(dtype);
        return model;
      };
      rt::LBFGSOptions options{.lr = search ? 1 : 0.1, .max_iter = 4, .history_size = 5};
      if (search) options.line_search_fn = "strong_wolfe";
      rt::Sequential model = make_model(), other = make_model();
      rt::LBFGS optimizer(model.parameters(), options);
      const auto step = [&](rt::LBFGS& with, rt::Sequential& of) {
        return with.step([&] {
          with.zero_grad();
          const rt::Tensor loss = rt::mse_loss(of(x), y);
          loss.backward();
          return loss;
        });
      };
      const double before = step(optimizer, model);
      for (int i = 0; i < 5; ++i) step(optimizer, model);
      rt::LBFGS resumed(other.parameters(), options);
      other.load_state_dict(model.state_dict());
      resumed.load_state_dict(optimizer.state_dict());
      for (int i = 0; i < 4; ++i) BOOST_TEST(step(optimizer, model) == step(resumed, other));
      BOOST_TEST(step(optimizer, model) < 0.2 * before);
      rt::StateDict state = optimizer.state_dict();
      state.erase("lbfgs.ro.0");
      BOOST_CHECK_THROW(resumed.load_state_dict(state), rt::ValueError);
      state = optimizer.state_dict();
      state.erase("lbfgs.pairs");
      BOOST_CHECK_THROW(resumed.load_state_dict(state), rt::ValueError);
      rt::Optimizer& base = optimizer;
      BOOST_CHECK_THROW(base.step(), rt::ValueError);
    }
  const rt::Tensor p = weight();
  BOOST_CHECK_THROW(rt::LBFGS({p}).step({}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LBFGS({p}).step([] { return rt::ones({2}); }), rt::ValueError);
  BOOST_CHECK_THROW(rt::LBFGS({p}).step([] { return rt::Tensor(); }), rt::ValueError);
  BOOST_CHECK_THROW(rt::LBFGS({p}, {.line_search_fn = "armijo"}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LBFGS({p}, {.max_iter = 0}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LBFGS({p}, {.history_size = 0}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LBFGS({p}, {.tolerance_grad = -1}), rt::ValueError);
}

BOOST_AUTO_TEST_SUITE_END()
