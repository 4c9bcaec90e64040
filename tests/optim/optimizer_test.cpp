#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "package/consumer/extensions/sign_descent.hpp"
#include "retort/framework/base/random.hpp"
#include "retort/framework/nn/linear.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/optim/adagrad.hpp"
#include "retort/optim/adam.hpp"
#include "retort/optim/rmsprop.hpp"
#include "retort/optim/sgd.hpp"

namespace rt = retort;

namespace {

const double infinity = std::numeric_limits<double>::infinity();
const double not_a_number = std::numeric_limits<double>::quiet_NaN();

rt::Tensors two_parameters(rt::DType dtype = rt::DType::float64) {
  rt::Generator generator(5);
  return {rt::randn({3, 7}, dtype, generator).set_requires_grad(),
          rt::randn({5}, dtype, generator).set_requires_grad()};
}

/// Gives every parameter the gradient of that step.
void give_gradients(const rt::Tensors& parameters, std::uint64_t step) {
  rt::Generator generator(100 + step);
  for (const rt::Tensor& each : parameters) each.set_grad(rt::randn(each.shape(), each.dtype(), generator));
}

using MakeOptimizer = std::function<std::unique_ptr<rt::Optimizer>(const rt::Tensors&)>;

template <class O, class Options>
MakeOptimizer maker(Options options) {
  return [options](const rt::Tensors& parameters) { return std::make_unique<O>(parameters, options); };
}

/// Every optimiser, with each piece of state that it may have.
std::vector<MakeOptimizer> all_optimizers() {
  return {
      maker<rt::SGD>(rt::SGDOptions{.lr = 0.1}),
      maker<rt::SGD>(rt::SGDOptions{.lr = 0.1, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.1}),
      maker<rt::SGD>(rt::SGDOptions{.lr = 0.1, .momentum = 0.9, .nesterov = true, .maximize = true}),
      maker<rt::Adam>(rt::AdamOptions{.lr = 0.1}),
      maker<rt::Adam>(rt::AdamOptions{.lr = 0.1, .betas = {0.8, 0.99}, .weight_decay = 0.1, .amsgrad = true}),
      maker<rt::AdamW>(rt::AdamWOptions{.lr = 0.1, .amsgrad = true}),
      maker<rt::RMSprop>(rt::RMSpropOptions{.lr = 0.1}),
      maker<rt::RMSprop>(
          rt::RMSpropOptions{.lr = 0.1, .weight_decay = 0.1, .momentum = 0.5, .centered = true}),
      maker<rt::Adagrad>(rt::AdagradOptions{.lr = 0.1, .lr_decay = 0.1, .initial_accumulator_value = 0.5})};
}

void check_same_bits(const rt::Tensors& a, const rt::Tensors& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    BOOST_TEST(a[i].values<double>() == b[i].values<double>(), boost::test_tools::per_element());
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const rt::Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(optimizer)

BOOST_AUTO_TEST_CASE(first_steps_by_hand) {
  const auto after_one = [](const MakeOptimizer& make) {
    const rt::Tensor p = rt::tensor({1.0, -2.0}).set_requires_grad();
    const auto optimizer = make({p});
    p.set_grad(rt::tensor({0.5, 4.0}));
    optimizer->step();
    return p.values<double>();
  };
  const auto check = [&](const MakeOptimizer& make, double a, double b) {
    const std::vector<double> p = after_one(make);
    BOOST_TEST(p[0] == a, boost::test_tools::tolerance(1e-12));
    BOOST_TEST(p[1] == b, boost::test_tools::tolerance(1e-12));
  };
  check(maker<rt::SGD>(rt::SGDOptions{.lr = 0.1}), 0.95, -2.4);
  check(maker<rt::SGD>(rt::SGDOptions{.lr = 0.1, .maximize = true}), 1.05, -1.6);
  check(maker<rt::SGD>(rt::SGDOptions{.lr = 0.1, .momentum = 0.5, .dampening = 0.9}), 0.95, -2.4);
  check(maker<rt::SGD>(rt::SGDOptions{.lr = 0.1, .momentum = 0.5, .nesterov = true}), 0.925, -2.6);
  check(maker<rt::SGD>(rt::SGDOptions{.lr = 0.1, .weight_decay = 0.5}), 0.9, -2.3);
  check(maker<rt::Adam>(rt::AdamOptions{.lr = 0.1, .eps = 0}), 0.9, -2.1);
  check(maker<rt::AdamW>(rt::AdamWOptions{.lr = 0.1, .eps = 0, .weight_decay = 0.5}), 0.85, -2.0);
  check(maker<rt::RMSprop>(rt::RMSpropOptions{.lr = 0.1, .alpha = 0.75, .eps = 0}), 0.8, -2.2);
  check(maker<rt::Adagrad>(rt::AdagradOptions{.lr = 0.1, .eps = 0}), 0.9, -2.1);
}

BOOST_AUTO_TEST_CASE(defaults_are_those_of_pytorch_2) {
  const rt::Tensors p = two_parameters();
  const auto setting = [](const rt::Optimizer& optimizer, const char* name) {
    return optimizer.state_dict().at(std::string("param_groups.0.") + name).item<double>();
  };
  BOOST_TEST(setting(rt::SGD(p), "lr") == 1e-3);
  BOOST_TEST(setting(rt::SGD(p), "momentum") == 0);
  const rt::Adam adam(p);
  BOOST_TEST(adam.lr() == 1e-3);
  BOOST_TEST(setting(adam, "betas.0") == 0.9);
  BOOST_TEST(setting(adam, "betas.1") == 0.999);
  BOOST_TEST(setting(adam, "eps") == 1e-8);
  BOOST_TEST(setting(adam, "weight_decay") == 0);
  BOOST_TEST(setting(rt::AdamW(p), "weight_decay") == 1e-2);
  const rt::RMSprop rmsprop(p);
  BOOST_TEST(rmsprop.lr() == 1e-2);
  BOOST_TEST(setting(rmsprop, "alpha") == 0.99);
  BOOST_TEST(setting(rmsprop, "eps") == 1e-8);
  const rt::Adagrad adagrad(p);
  BOOST_TEST(adagrad.lr() == 1e-2);
  BOOST_TEST(setting(adagrad, "eps") == 1e-10);
}

BOOST_AUTO_TEST_CASE(a_gradient_is_never_changed) {
  for (const MakeOptimizer& make : all_optimizers()) {
    const rt::Tensors p = two_parameters();
    const auto optimizer = make(p);
    for (std::uint64_t step = 0; step < 3; ++step) {
      give_gradients(p, step);
      const rt::Tensor held = p[0].grad();
      const std::vector<double> before = held.values<double>();
      optimizer->step();
      BOOST_TEST(retort::detail::Access::same(p[0].grad(), held));
      BOOST_TEST(held.values<double>() == before, boost::test_tools::per_element());
    }
  }
}

BOOST_AUTO_TEST_CASE(a_parameter_without_gradient_is_left_alone) {
  for (const MakeOptimizer& make : all_optimizers()) {
    const rt::Tensors p = two_parameters();
    const std::vector<double> before = p[1].values<double>(), moving = p[0].values<double>();
    const auto optimizer = make(p);
    give_gradients(p, 0);
    p[1].zero_grad();
    optimizer->step();
    BOOST_TEST(p[1].values<double>() == before, boost::test_tools::per_element());
    BOOST_TEST(p[0].values<double>() != moving);
    BOOST_TEST(optimizer->state_dict().at("state.0.step").item<double>() == 1);
    BOOST_TEST(optimizer->state_dict().at("state.1.step").item<double>() == 0);
    optimizer->zero_grad();
    BOOST_TEST(!p[0].grad().defined());
    optimizer->step();
    BOOST_TEST(optimizer->state_dict().at("state.0.step").item<double>() == 1);
  }
}

BOOST_AUTO_TEST_CASE(frozen_and_empty_parameters_are_taken) {
  const rt::Tensors p{rt::ones({2}), rt::zeros({0}).set_requires_grad(),
                      rt::full({}, 1.0).set_requires_grad()};
  rt::Adam optimizer(p, {.lr = 0.5});
  p[1].set_grad(rt::zeros({0}));
  p[2].set_grad(rt::full({}, 2.0));
  optimizer.step();
  BOOST_TEST(p[0].values<double>() == (std::vector<double>{1, 1}), boost::test_tools::per_element());
  BOOST_TEST(p[2].item<double>() == 0.5, boost::test_tools::tolerance(1e-6));
  optimizer.load_state_dict(optimizer.state_dict());
}

BOOST_AUTO_TEST_CASE(training_resumes_with_the_same_bits) {
  for (const rt::DType dtype : {rt::DType::float32, rt::DType::float64}) {
    for (const MakeOptimizer& make : all_optimizers()) {
      const rt::Tensors p = two_parameters(dtype);
      const auto optimizer = make(p);
      const auto train = [&](rt::Optimizer& with, const rt::Tensors& parameters, std::uint64_t from,
                             std::uint64_t to) {
        for (std::uint64_t step = from; step < to; ++step) {
          give_gradients(parameters, step);
          if (step == 1) parameters[1].zero_grad();
          with.step();
        }
      };
      train(*optimizer, p, 0, 4);
      optimizer->set_lr(0.03);  // as a scheduler would
      rt::Tensors q;
      for (const rt::Tensor& each : p) q.push_back(each.detach().clone().set_requires_grad());
      const rt::StateDict state = optimizer->state_dict();
      const auto resumed = make(q);
      resumed->load_state_dict(state);
      BOOST_TEST(resumed->lr() == 0.03);
      train(*optimizer, p, 4, 8);
      train(*resumed, q, 4, 8);
      check_same_bits(p, q);

      // Loading copies: the dictionary still holds step 4.
      rt::Tensors r = two_parameters(dtype);
      const auto again = make(r);
      again->load_state_dict(state);
      BOOST_TEST(again->state_dict().at("state.0.step").item<double>() == 4);
      BOOST_TEST(again->state_dict().at("state.1.step").item<double>() == 3);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_fresh_state_can_be_loaded_too) {
  for (const MakeOptimizer& make : all_optimizers()) {
    const rt::Tensors p = two_parameters(), q = two_parameters();
    const auto used = make(p), fresh = make(q);
    give_gradients(p, 0);
    used->step();
    used->load_state_dict(fresh->state_dict());
    for (std::size_t i = 0; i < p.size(); ++i)
      std::copy_n(q[i].data<double>().data(), q[i].size(), p[i].mutable_data<double>().data());
    give_gradients(p, 1);
    give_gradients(q, 1);
    used->step();
    fresh->step();
    check_same_bits(p, q);
  }
}

BOOST_AUTO_TEST_CASE(a_state_that_does_not_fit_is_refused_whole) {
  const rt::Tensors p = two_parameters();
  rt::Adam optimizer(p, {.lr = 0.1});
  give_gradients(p, 0);
  optimizer.step();
  const rt::StateDict good = optimizer.state_dict();
  rt::StateDict state = good;
  state.erase("state.0.exp_avg");
  state.erase("param_groups.0.eps");
  state["state.1.exp_avg_sq"] = rt::ones({6}, rt::DType::float64);
  state["param_groups.0.lr"] = rt::ones({1});
  state["state.2.step"] = rt::zeros({}, rt::DType::int64);
  BOOST_TEST(
      message_of([&] { optimizer.load_state_dict(state); }) ==
      "Adam::load_state_dict: the state dict does not fit; missing: state.0.exp_avg, param_groups.0.eps; "
      "unexpected: state.2.step; of another shape: state.1.exp_avg_sq has shape (6), not (5), "
      "param_groups.0.lr has shape (1), not ()");
  state = good;
  state["state.0.step"] = rt::full({}, 9, rt::DType::int64);
  state["param_groups.0.betas.1"] = rt::full({}, 1.5, rt::DType::float64);
  BOOST_TEST(message_of([&] { optimizer.load_state_dict(state); }) ==
             "Adam: betas.1 is 1.5; it must be in [0, 1)");
  state = good;
  state["param_groups.0.lr"] = rt::full({}, 7.0, rt::DType::float64);
  state["state.0.step"] = rt::full({}, -1, rt::DType::int64);
  BOOST_CHECK_THROW(optimizer.load_state_dict(state), rt::ValueError);
  state["state.0.step"] = rt::full({}, not_a_number, rt::DType::float64);
  BOOST_CHECK_THROW(optimizer.load_state_dict(state), rt::ValueError);
  BOOST_CHECK_THROW(rt::SGD(p).load_state_dict(good), rt::ValueError);

  const rt::StateDict after = optimizer.state_dict();
  for (const auto& [name, tensor] : good)
    BOOST_TEST(after.at(name).values<double>() == tensor.values<double>(), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_list_that_cannot_be_learnt_is_refused) {
  const rt::Tensor p = rt::ones({2}).set_requires_grad();
  BOOST_CHECK_THROW(rt::SGD(rt::Tensors{}), rt::ValueError);
  BOOST_CHECK_THROW(rt::SGD({p, rt::Tensor()}), rt::ValueError);
  BOOST_CHECK_THROW(rt::SGD({p, rt::zeros({2}, rt::DType::int64)}), rt::TypeError);
  BOOST_CHECK_THROW(rt::SGD({p * 2.0}), rt::ValueError);
  BOOST_TEST(message_of([&] {
               rt::SGD({p, rt::ones({3}), p});
             }) == "SGD: parameter 2 of shape (2) is listed twice and would be updated twice");
}

BOOST_AUTO_TEST_CASE(options_out_of_range_are_refused) {
  const rt::Tensors p = two_parameters();
  for (const double bad : {-1.0, not_a_number, -infinity}) {
    BOOST_CHECK_THROW(rt::SGD(p, {.lr = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::SGD(p, {.momentum = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::SGD(p, {.weight_decay = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::Adam(p, {.lr = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::Adam(p, {.betas = {bad, 0.9}}), rt::ValueError);
    BOOST_CHECK_THROW(rt::Adam(p, {.betas = {0.9, bad}}), rt::ValueError);
    BOOST_CHECK_THROW(rt::Adam(p, {.eps = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::AdamW(p, {.weight_decay = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::RMSprop(p, {.lr = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::RMSprop(p, {.alpha = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::RMSprop(p, {.eps = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::RMSprop(p, {.weight_decay = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::RMSprop(p, {.momentum = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::Adagrad(p, {.lr = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::Adagrad(p, {.lr_decay = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::Adagrad(p, {.weight_decay = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::Adagrad(p, {.initial_accumulator_value = bad}), rt::ValueError);
    BOOST_CHECK_THROW(rt::Adagrad(p, {.eps = bad}), rt::ValueError);
  }
  BOOST_CHECK_THROW(rt::Adam(p, {.betas = {1.0, 0.9}}), rt::ValueError);
  BOOST_CHECK_THROW(rt::Adam(p, {.betas = {0.9, 1.0}}), rt::ValueError);
  BOOST_CHECK_THROW(rt::SGD(p, {.nesterov = true}), rt::ValueError);
  BOOST_CHECK_THROW(rt::SGD(p, {.momentum = 0.9, .dampening = 0.1, .nesterov = true}), rt::ValueError);
  BOOST_TEST(message_of([&] { rt::AdamW(p, {.eps = -1}); }) == "AdamW: eps is -1; it must be at least 0");
}

BOOST_AUTO_TEST_CASE(the_states_of_adam_and_adamw_are_told_apart) {
  const rt::Tensors p = two_parameters();
  rt::Adam adam(p, {.lr = 0.1, .weight_decay = 0.1});
  rt::AdamW adamw(p, {.lr = 0.2, .weight_decay = 0.1});
  give_gradients(p, 0);
  adam.step();
  adamw.step();
  const rt::StateDict of_adam = adam.state_dict(), of_adamw = adamw.state_dict();
  BOOST_TEST(of_adam.at("param_groups.0.decoupled_weight_decay").item<double>() == 0);
  BOOST_TEST(of_adamw.at("param_groups.0.decoupled_weight_decay").item<double>() == 1);
  BOOST_TEST(message_of([&] { adamw.load_state_dict(of_adam); }) ==
             "AdamW::load_state_dict: the state is of Adam, whose weight decay differs; load it into an "
             "optimiser of the same class");
  BOOST_TEST(message_of([&] { adam.load_state_dict(of_adamw); }).find("the state is of AdamW") !=
             std::string::npos);
  BOOST_TEST(adamw.lr() == 0.2);
  rt::StateDict earlier = of_adam;  // a file of an earlier version does not say
  earlier.erase("param_groups.0.decoupled_weight_decay");
  earlier.erase("class.Adam");
  adamw.load_state_dict(earlier);
  adam.load_state_dict(earlier);
  BOOST_TEST(adamw.lr() == 0.1);
}

BOOST_AUTO_TEST_CASE(rates_and_momenta_can_be_set) {
  const rt::Tensors p = two_parameters();
  rt::SGD sgd(p, {.momentum = 0.5});
  sgd.set_lr(0.25);
  BOOST_TEST(sgd.lr() == 0.25);
  BOOST_CHECK_THROW(sgd.set_lr(-0.1), rt::ValueError);
  BOOST_CHECK_THROW(sgd.set_lr(not_a_number), rt::ValueError);
  BOOST_TEST(sgd.lr() == 0.25);
  BOOST_TEST(sgd.momentum().value() == 0.5);
  sgd.set_momentum(0.7);
  BOOST_TEST(sgd.momentum().value() == 0.7);
  rt::Adam adam(p);
  BOOST_TEST(adam.momentum().value() == 0.9);
  BOOST_CHECK_THROW(adam.set_momentum(1), rt::ValueError);
  BOOST_TEST(adam.momentum().value() == 0.9);
  rt::Adagrad adagrad(p);
  BOOST_TEST(!adagrad.momentum().has_value());
  BOOST_CHECK_THROW(adagrad.set_momentum(0.5), rt::ValueError);
}

BOOST_AUTO_TEST_CASE(a_module_may_be_converted_while_it_is_trained) {
  for (const MakeOptimizer& make : all_optimizers()) {
    rt::Linear layer(3, 2);
    const auto optimizer = make(layer.parameters());
    const auto train = [&] {
      optimizer->zero_grad();
      rt::sum(layer(rt::ones({4, 3}, layer.weight.dtype()))).backward();
      optimizer->step();
    };
    train();
    layer.to(rt::DType::float64);
    const std::vector<double> before = layer.weight.values<double>();
    train();
    BOOST_TEST(layer.weight.values<double>() != before);
  }
}

BOOST_AUTO_TEST_CASE(a_step_counts_as_a_change_of_values) {
  const rt::Tensor p = rt::ones({2}).set_requires_grad();
  rt::SGD optimizer({p});
  const rt::Tensor loss = rt::sum(p * p);
  rt::sum(p * p).backward();
  optimizer.step();
  BOOST_CHECK_THROW(loss.backward(), rt::GraphError);
}

BOOST_AUTO_TEST_CASE(every_optimizer_finds_a_minimum) {
  for (const MakeOptimizer& make : all_optimizers()) {
    const rt::Tensor p = rt::tensor({3.0, -2.0, 0.5}).set_requires_grad();
    const auto optimizer = make({p});
    const bool ascends = optimizer->state_dict().at("param_groups.0.maximize").item<double>() != 0;
    const auto distance = [&] { return rt::sum((p - 1.0) * (p - 1.0)); };
    const double before = distance().item<double>();
    for (int step = 0; step < 60; ++step) {
      optimizer->zero_grad();
      (ascends ? -distance() : distance()).backward();
      optimizer->step();
    }
    BOOST_TEST(distance().item<double>() < 0.6 * before);  // Adagrad, whose rate decays, is the slowest
  }
}

// An optimiser whose constructor arguments are wrong: each is refused before anything can read past an end.
class Malformed : public rt::Optimizer {
 public:
  Malformed(std::vector<const char*> states, std::vector<const char*> options)
      : Optimizer("Malformed", {rt::ones({1}).set_requires_grad()}, std::move(states), made(options)) {}
  int asked = 0, used = -1;  // options<5>() is called; the state that is written
  bool wrong = false;        // with another shape

 protected:
  void update(const rt::Tensor& parameter, const rt::Tensor&, State& state) override {
    if (asked > 0) static_cast<void>(options<5>());
    if (used >= 0) state.tensors[static_cast<std::size_t>(used)] = wrong ? rt::ones({7}) : parameter.clone();
  }

 private:
  static std::vector<Option> made(const std::vector<const char*>& names) {
    std::vector<Option> options;
    for (const char* name : names) options.push_back({name, 0.5, at_least_0});
    return options;
  }
};

BOOST_AUTO_TEST_CASE(an_optimizer_of_ones_own_is_checked) {
  BOOST_CHECK_THROW(Malformed({}, {}), rt::ValueError);
  BOOST_CHECK_THROW(Malformed({}, {"rate", "lr"}), rt::ValueError);
  BOOST_CHECK_THROW(Malformed({}, {"lr", "lr"}), rt::ValueError);
  BOOST_CHECK_THROW(Malformed({"a", "b", "c", "d"}, {"lr"}), rt::ValueError);
  BOOST_CHECK_THROW(Malformed({"a", "a"}, {"lr"}), rt::ValueError);
  BOOST_CHECK_THROW(Malformed({"step"}, {"lr"}), rt::ValueError);
  BOOST_CHECK_THROW(Malformed({""}, {"lr"}), rt::ValueError);
  BOOST_CHECK_THROW(Malformed({nullptr}, {"lr"}), rt::ValueError);
  const auto stepped = [](int asked, int used, bool wrong) {
    Malformed optimizer({"a"}, {"lr"});
    optimizer.parameters()[0].set_grad(rt::ones({1}));
    optimizer.asked = asked, optimizer.used = used, optimizer.wrong = wrong;
    optimizer.step();
  };
  stepped(0, 0, false);
  BOOST_CHECK_THROW(stepped(1, -1, false), rt::ValueError);
  BOOST_CHECK_THROW(stepped(0, 1, false), rt::ValueError);
  BOOST_CHECK_THROW(stepped(0, 0, true), rt::ShapeError);
  Malformed fits({"a", "b", "c"}, {"lr", "momentum"});
  BOOST_TEST(*fits.momentum() == 0.5);
}

BOOST_AUTO_TEST_CASE(an_optimizer_of_ones_own) {
  for (const rt::DType dtype : {rt::DType::float32, rt::DType::float64}) {
    const rt::Tensor p = rt::tensor({1.0, -2.0, 0.0}).to(dtype).set_requires_grad();
    SignDescent optimizer({p}, 0.25);
    rt::sum(p * p).backward();
    optimizer.step();
    const std::vector<double> moved{0.75, -1.75, 0};
    BOOST_TEST(p.values<double>() == moved, boost::test_tools::per_element());

    SignDescent other({p}, 0.5);
    other.load_state_dict(optimizer.state_dict());
    BOOST_TEST(other.lr() == 0.25);
    BOOST_CHECK_THROW(other.set_lr(-1), rt::ValueError);
    BOOST_TEST(other.lr() == 0.25);
    BOOST_TEST(!other.momentum().has_value());
  }
  BOOST_TEST(message_of([] { SignDescent({rt::ones({1}).set_requires_grad()}, -1); }) ==
             "SignDescent: lr is -1; it must be at least 0");
}

BOOST_AUTO_TEST_SUITE_END()
