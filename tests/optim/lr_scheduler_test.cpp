#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numbers>
#include <vector>

#include "retort/optim/adagrad.hpp"
#include "retort/optim/adam.hpp"
#include "retort/optim/lr_scheduler.hpp"
#include "retort/optim/sgd.hpp"

namespace rt = retort;

namespace {

const double not_a_number = std::numeric_limits<double>::quiet_NaN();
const auto exact = boost::test_tools::tolerance(1e-12);

rt::Tensors one_parameter() { return {rt::ones({2}).set_requires_grad()}; }

struct Fixture {
  rt::SGD optimizer{one_parameter(), {.lr = 0.5, .momentum = 0.9}};

  void check_rates(rt::LRScheduler& scheduler, const std::function<double(int)>& expected, int epochs) {
    for (int epoch = 0; epoch < epochs; ++epoch) {
      BOOST_TEST(optimizer.lr() == expected(epoch), exact);
      BOOST_TEST(scheduler.last_lr() == optimizer.lr());
      BOOST_TEST(scheduler.last_epoch() == epoch);
      scheduler.step();
    }
  }
};

using MakeScheduler = std::function<std::unique_ptr<rt::LRScheduler>(rt::Optimizer&)>;

template <class S, class Options>
MakeScheduler maker(Options options) {
  return [options](rt::Optimizer& optimizer) { return std::make_unique<S>(optimizer, options); };
}

std::vector<MakeScheduler> all_schedulers() {
  return {
      maker<rt::StepLR>(rt::StepLROptions{.step_size = 2}),
      maker<rt::LinearLR>(rt::LinearLROptions{}),
      maker<rt::CosineAnnealingLR>(rt::CosineAnnealingLROptions{.T_max = 6, .eta_min = 0.01}),
      maker<rt::OneCycleLR>(rt::OneCycleLROptions{.max_lr = 2, .total_steps = 20}),
      maker<rt::OneCycleLR>(rt::OneCycleLROptions{
          .max_lr = 2, .epochs = 5, .steps_per_epoch = 4, .anneal_strategy = "linear", .three_phase = true}),
      maker<rt::LambdaLR>(rt::LambdaLROptions{
          .lr_lambda = [](std::int64_t e) { return 1.0 / (1.0 + static_cast<double>(e)); }}),
      maker<rt::LinearWarmup>(rt::LinearWarmupOptions{.warmup_steps = 7})};
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(lr_scheduler, Fixture)

BOOST_AUTO_TEST_CASE(step_lr) {
  rt::StepLR scheduler(optimizer, {.step_size = 3, .gamma = 0.2});
  check_rates(
      scheduler, [](int e) { return 0.5 * std::pow(0.2, e / 3); }, 10);
}

BOOST_AUTO_TEST_CASE(linear_lr) {
  rt::LinearLR scheduler(optimizer, {.start_factor = 0.25, .end_factor = 0.75, .total_iters = 4});
  check_rates(
      scheduler, [](int e) { return 0.5 * (0.25 + 0.5 * std::min(e, 4) / 4); }, 8);
}

BOOST_AUTO_TEST_CASE(cosine_annealing_lr) {
  rt::CosineAnnealingLR scheduler(optimizer, {.T_max = 5, .eta_min = 0.1});
  const double pi = std::numbers::pi;
  check_rates(
      scheduler, [&](int e) { return 0.1 + 0.4 * (1 + std::cos(pi * e / 5)) / 2; }, 18);
}

BOOST_AUTO_TEST_CASE(cosine_annealing_reaches_zero_without_passing_it) {
  for (std::int64_t period = 1; period < 60; ++period) {
    rt::SGD own(one_parameter(), {.lr = 0.5});
    rt::CosineAnnealingLR scheduler(own, {.T_max = period});
    for (std::int64_t epoch = 0; epoch < 4 * period; ++epoch) {
      BOOST_TEST(own.lr() >= 0);
      if (epoch % (2 * period) == period) BOOST_TEST(own.lr() < 1e-9);
      scheduler.step();
    }
  }
}

BOOST_AUTO_TEST_CASE(lambda_lr) {
  rt::LambdaLR scheduler(optimizer,
                         {.lr_lambda = [](std::int64_t e) { return 1.0 / (1.0 + static_cast<double>(e)); }});
  check_rates(
      scheduler, [](int e) { return 0.5 / (1 + e); }, 5);
}

BOOST_AUTO_TEST_CASE(linear_warmup) {
  rt::LinearWarmup scheduler(optimizer, {.warmup_steps = 4});
  check_rates(
      scheduler, [](int e) { return 0.5 * std::min(1.0, (e + 1) / 4.0); }, 8);
  rt::SGD other(one_parameter(), {.lr = 0.5});
  rt::LinearWarmup none(other, {.warmup_steps = 0});
  BOOST_TEST(other.lr() == 0.5);
}

// By rounding the recursion ended at -1e-18, which the optimiser refused.
BOOST_AUTO_TEST_CASE(linear_lr_ends_at_exactly_0) {
  for (const std::int64_t iterations : {1, 2, 3, 7, 10, 33, 100, 1000})
    for (const double start : {1.0, 1.0 / 3, 0.1, 0.7}) {
      rt::SGD sgd(one_parameter(), {.lr = 0.1});
      rt::LinearLR scheduler(sgd, {.start_factor = start, .end_factor = 0, .total_iters = iterations});
      for (std::int64_t i = 1; i < iterations + 3; ++i) {
        scheduler.step();
        BOOST_TEST(sgd.lr() >= 0);
      }
      BOOST_TEST(sgd.lr() == 0);
    }
}

// A later schedule of a chain may raise a rate that an earlier one left negative; only a step with one is
// refused.
BOOST_AUTO_TEST_CASE(a_rate_may_be_negative_within_a_chain) {
  rt::SGD sgd(one_parameter(), {.lr = 0.5});
  rt::LRScheduler down(sgd, [](const rt::LRScheduler::Moment& at) { return at.step == 2 ? -at.lr : at.lr; });
  rt::LRScheduler up(sgd, [](const rt::LRScheduler::Moment& at) { return at.step == 2 ? -at.lr : at.lr; });
  down.step(), up.step();
  down.step();
  BOOST_TEST(sgd.lr() == -0.5);
  BOOST_CHECK_THROW(sgd.step(), rt::ValueError);
  up.step();
  BOOST_TEST(sgd.lr() == 0.5);
  sgd.step();
}

BOOST_AUTO_TEST_CASE(a_schedule_is_a_function) {
  rt::SGD sgd(one_parameter(), {.lr = 0.5});
  rt::LRScheduler halving(sgd, [](std::int64_t step) { return 1.0 / static_cast<double>(1 + step); });
  halving.step();
  BOOST_TEST(sgd.lr() == 0.25);
  rt::LRScheduler resumed(sgd, [](std::int64_t step) { return 1.0 / static_cast<double>(1 + step); });
  resumed.load_state_dict(halving.state_dict());
  resumed.step();
  BOOST_TEST(sgd.lr() == 0.5 / 3, exact);
  BOOST_CHECK_THROW(rt::LRScheduler(sgd, std::function<double(std::int64_t)>()), rt::ValueError);
}

BOOST_AUTO_TEST_CASE(one_cycle_lr) {
  rt::OneCycleLR scheduler(optimizer, {.max_lr = 1,
                                       .total_steps = 11,
                                       .pct_start = 3.0 / 11,
                                       .anneal_strategy = "linear",
                                       .div_factor = 10,
                                       .final_div_factor = 100});
  const auto rate = [](int e) { return e <= 2 ? 0.1 + 0.45 * e : 1 + (0.001 - 1) * (e - 2) / 8.0; };
  for (int e = 0; e < 11; ++e) {
    BOOST_TEST(optimizer.lr() == rate(e), exact);
    BOOST_TEST(*optimizer.momentum() == (e <= 2 ? 0.95 - 0.05 * e : 0.85 + 0.1 * (e - 2) / 8.0), exact);
    scheduler.step();
  }
  BOOST_TEST(optimizer.lr() == 0.001, exact);  // the step after the last changes nothing more
  BOOST_CHECK_THROW(scheduler.step(), rt::ValueError);
  BOOST_TEST(scheduler.last_epoch() == 11);
}

BOOST_AUTO_TEST_CASE(one_cycle_at_its_edges) {
  for (const double pct_start : {0.0, 0.1, 0.5, 1.0})
    for (const bool three_phase : {false, true})
      for (std::int64_t steps = 1; steps < 13; ++steps) {
        rt::Adam adam(one_parameter());
        rt::OneCycleLR scheduler(
            adam, {.max_lr = 1, .total_steps = steps, .pct_start = pct_start, .three_phase = three_phase});
        for (std::int64_t step = 0; step < steps; ++step) {
          BOOST_TEST(adam.lr() >= 0);
          BOOST_TEST(adam.lr() <= 1 + 1e-12);
          BOOST_TEST(*adam.momentum() >= 0.85 - 1e-12);
          BOOST_TEST(*adam.momentum() <= 0.95 + 1e-12);
          scheduler.step();
        }
      }
  rt::Adagrad adagrad(one_parameter());
  BOOST_CHECK_THROW(rt::OneCycleLR(adagrad, {.max_lr = 1, .total_steps = 5}), rt::ValueError);
  rt::OneCycleLR plain(adagrad, {.max_lr = 1, .total_steps = 5, .cycle_momentum = false});
  BOOST_TEST(adagrad.lr() == 1.0 / 25, exact);
}

BOOST_AUTO_TEST_CASE(schedulers_chain) {
  // Warm-up times step decay: both multiply the rate in force, and both know the rate before either.
  rt::LinearLR warmup(optimizer, {.start_factor = 0.5, .total_iters = 2});
  rt::StepLR decay(optimizer, {.step_size = 3, .gamma = 0.1});
  const std::vector<double> factors{0.5, 0.75, 1, 0.1, 0.1, 0.1, 0.01};
  for (const double factor : factors) {
    BOOST_TEST(optimizer.lr() == 0.5 * factor, exact);
    warmup.step();
    decay.step();
  }
  rt::LambdaLR constant(optimizer, {.lr_lambda = [](std::int64_t) { return 1.0; }});
  BOOST_TEST(optimizer.lr() == 0.5);
}

BOOST_AUTO_TEST_CASE(schedules_resume_exactly) {
  for (const MakeScheduler& make : all_schedulers()) {
    for (int stop = 0; stop < 9; ++stop) {
      rt::SGD first(one_parameter(), {.lr = 0.5, .momentum = 0.9});
      const auto whole = make(first);
      for (int i = 0; i < stop; ++i) whole->step();

      rt::SGD second(one_parameter(), {.lr = 0.25, .momentum = 0.9});
      const auto resumed = make(second);
      resumed->load_state_dict(whole->state_dict());
      for (int i = stop; i < 14; ++i) {
        BOOST_TEST(second.lr() == first.lr());
        BOOST_TEST(*second.momentum() == *first.momentum());
        BOOST_TEST(resumed->last_epoch() == i);
        whole->step();
        resumed->step();
      }

      // The optimiser's state alone brings the base rate back as well.
      rt::SGD third(one_parameter());
      third.load_state_dict(first.state_dict());
      const auto later = make(third);
      later->load_state_dict(whole->state_dict());
      BOOST_TEST(third.lr() == first.lr());
    }
  }
}

BOOST_AUTO_TEST_CASE(reduce_on_plateau) {
  rt::ReduceLROnPlateau scheduler(optimizer, {.factor = 0.5, .patience = 1, .cooldown = 1});
  const auto after = [&](double metric) {
    scheduler.step(metric);
    BOOST_TEST(scheduler.last_lr() == optimizer.lr());
    return optimizer.lr();
  };
  BOOST_TEST(after(1.0) == 0.5);
  BOOST_TEST(after(0.99995) == 0.5);        // no improvement by a relative 1e-4: first bad epoch
  BOOST_TEST(after(not_a_number) == 0.25);  // second
  BOOST_TEST(after(2.0) == 0.25);           // cooling down
  BOOST_TEST(after(2.0) == 0.25);
  BOOST_TEST(after(0.5) == 0.25);  // better: counting starts again
  BOOST_TEST(after(0.5) == 0.25);
  const rt::StateDict state = scheduler.state_dict();
  BOOST_TEST(after(0.5) == 0.125);

  rt::SGD other(one_parameter(), {.lr = 3});
  rt::ReduceLROnPlateau resumed(other, {.factor = 0.5, .patience = 1, .cooldown = 1});
  resumed.load_state_dict(state);
  BOOST_TEST(other.lr() == 0.25);
  resumed.step(0.5);
  BOOST_TEST(other.lr() == 0.125);
}

BOOST_AUTO_TEST_CASE(reduce_on_plateau_bounds) {
  rt::ReduceLROnPlateau scheduler(optimizer, {.mode = "max",
                                              .factor = 0.1,
                                              .patience = 0,
                                              .threshold = 0.5,
                                              .threshold_mode = "abs",
                                              .min_lr = 0.2});
  scheduler.step(1);
  scheduler.step(1.6);
  BOOST_TEST(optimizer.lr() == 0.5);
  scheduler.step(2.0);  // better by less than the threshold
  BOOST_TEST(optimizer.lr() == 0.2);
  scheduler.step(2.0);
  BOOST_TEST(optimizer.lr() == 0.2);
}

BOOST_AUTO_TEST_CASE(bad_options_are_refused_and_change_nothing) {
  BOOST_CHECK_THROW(rt::StepLR(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LinearLR(optimizer, {.start_factor = 0}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LinearLR(optimizer, {.start_factor = 1.5}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LinearLR(optimizer, {.end_factor = -0.5}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LinearLR(optimizer, {.total_iters = 0}), rt::ValueError);
  BOOST_CHECK_THROW(rt::CosineAnnealingLR(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW(rt::CosineAnnealingLR(optimizer, {.T_max = 3, .eta_min = -1}), rt::ValueError);
  BOOST_CHECK_THROW(rt::OneCycleLR(optimizer, {.total_steps = 5}), rt::ValueError);
  BOOST_CHECK_THROW(rt::OneCycleLR(optimizer, {.max_lr = 1}), rt::ValueError);
  BOOST_CHECK_THROW(rt::OneCycleLR(optimizer, {.max_lr = 1, .epochs = 3}), rt::ValueError);
  BOOST_CHECK_THROW(rt::OneCycleLR(optimizer, {.max_lr = 1, .total_steps = 0}), rt::ValueError);
  BOOST_CHECK_THROW(rt::OneCycleLR(optimizer, {.max_lr = 1, .total_steps = 5, .pct_start = 1.5}),
                    rt::ValueError);
  BOOST_CHECK_THROW(rt::OneCycleLR(optimizer, {.max_lr = 1, .total_steps = 5, .anneal_strategy = "log"}),
                    rt::ValueError);
  BOOST_CHECK_THROW(rt::OneCycleLR(optimizer, {.max_lr = 1, .total_steps = 5, .div_factor = 0}),
                    rt::ValueError);
  BOOST_CHECK_THROW(rt::LambdaLR(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LambdaLR(optimizer, {.lr_lambda = [](std::int64_t) { return -1.0; }}),
                    rt::ValueError);
  BOOST_CHECK_THROW(rt::LinearWarmup(optimizer, {.warmup_steps = -1}), rt::ValueError);
  BOOST_CHECK_THROW(rt::ReduceLROnPlateau(optimizer, {.mode = "best"}), rt::ValueError);
  BOOST_CHECK_THROW(rt::ReduceLROnPlateau(optimizer, {.factor = 1}), rt::ValueError);
  BOOST_CHECK_THROW(rt::ReduceLROnPlateau(optimizer, {.patience = -1}), rt::ValueError);
  BOOST_CHECK_THROW(rt::ReduceLROnPlateau(optimizer, {.threshold_mode = "both"}), rt::ValueError);
  BOOST_CHECK_THROW(rt::ReduceLROnPlateau(optimizer, {.cooldown = -1}), rt::ValueError);
  BOOST_TEST(optimizer.lr() == 0.5);
  BOOST_TEST(*optimizer.momentum() == 0.9);
  optimizer.set_lr(0.1);
  rt::LinearWarmup scheduler(optimizer, {.warmup_steps = 2});
  BOOST_TEST(optimizer.lr() == 0.05, exact);  // refused schedulers have not fixed the base rate
}

BOOST_AUTO_TEST_CASE(a_state_that_does_not_fit_is_refused_whole) {
  rt::StepLR scheduler(optimizer, {.step_size = 2});
  scheduler.step();
  rt::StateDict state = scheduler.state_dict();
  state.erase("base_lr");
  BOOST_CHECK_THROW(scheduler.load_state_dict(state), rt::ValueError);
  state = scheduler.state_dict();
  state["last_epoch"] = rt::full({}, -3, rt::DType::float64);
  BOOST_CHECK_THROW(scheduler.load_state_dict(state), rt::ValueError);
  state = scheduler.state_dict();
  state["last_lr"] = rt::full({}, not_a_number, rt::DType::float64);
  BOOST_CHECK_THROW(scheduler.load_state_dict(state), rt::ValueError);
  BOOST_TEST(optimizer.lr() == 0.5);
  BOOST_TEST(scheduler.last_epoch() == 1);
  rt::ReduceLROnPlateau plateau(optimizer);
  BOOST_CHECK_THROW(plateau.load_state_dict(scheduler.state_dict()), rt::ValueError);
}

BOOST_AUTO_TEST_SUITE_END()
