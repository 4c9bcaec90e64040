// Schedules of several groups, sequences, restarts, and rates at the ends of schedules.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <vector>

#include "retort/framework/nn/linear.hpp"
#include "retort/optim/adam.hpp"
#include "retort/optim/lr_scheduler.hpp"
#include "retort/optim/sgd.hpp"

namespace rt = retort;

namespace {

using Moment = rt::LRScheduler::Moment;
const auto exact = boost::test_tools::tolerance(1e-12);
constexpr double pi = std::numbers::pi;

rt::Tensors one_parameter() { return {rt::ones({2}).set_requires_grad()}; }
rt::ParameterGroup<rt::SGDOptions> group(double lr) { return {one_parameter(), {.lr = lr, .momentum = 0.9}}; }

/// The rates of a schedule at steps 0 … count - 1.
std::vector<double> rates(const rt::Optimizer& optimizer, rt::LRScheduler& schedule, int count) {
  std::vector<double> all;
  for (int i = 0; i < count; ++i, schedule.step()) all.push_back(optimizer.lr());
  return all;
}

void check(const std::vector<double>& got, const std::function<double(int)>& expected) {
  for (std::size_t i = 0; i < got.size(); ++i) BOOST_TEST(got[i] == expected(static_cast<int>(i)), exact);
}

struct Fixture {
  rt::SGD optimizer{one_parameter(), {.lr = 0.5, .momentum = 0.9}};
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(schedules, Fixture)

BOOST_AUTO_TEST_CASE(multi_step_and_exponential) {
  rt::MultiStepLR steps(optimizer, {.milestones = {6, 2, 2}, .gamma = 0.5});
  check(rates(optimizer, steps, 9), [](int e) { return e < 2 ? 0.5 : e < 6 ? 0.125 : 0.0625; });
  rt::SGD other(one_parameter(), {.lr = 0.5});
  rt::ExponentialLR decay(other, {.gamma = 0.9});
  check(rates(other, decay, 9), [](int e) { return 0.5 * std::pow(0.9, e); });
}

BOOST_AUTO_TEST_CASE(cosine_with_restarts) {
  rt::CosineAnnealingWarmRestarts schedule(optimizer, {.T_0 = 3, .T_mult = 2, .eta_min = 0.1});
  check(rates(optimizer, schedule, 21), [](int e) {
    const int period = e < 3 ? 3 : e < 9 ? 6 : 12, t = e < 3 ? e : e < 9 ? e - 3 : e - 9;
    return 0.1 + 0.4 * (1 + std::cos(pi * t / period)) / 2;
  });
  rt::SGD other(one_parameter(), {.lr = 0.5});
  rt::CosineAnnealingWarmRestarts equal(other, {.T_0 = 4});
  check(rates(other, equal, 12), [](int e) { return 0.25 * (1 + std::cos(pi * (e % 4) / 4)); });
}

BOOST_AUTO_TEST_CASE(warm_up_and_cosine) {
  auto schedule = rt::warmup_cosine(optimizer, {.warmup_steps = 4, .total_steps = 12, .min_factor = 0.1});
  check(rates(optimizer, schedule, 16), [](int e) {
    if (e < 4) return 0.5 * (e + 1) / 4;
    return e >= 12 ? 0.05 : 0.5 * (0.1 + 0.45 * (1 + std::cos(pi * (e - 4) / 8)));
  });
  BOOST_CHECK_THROW((void)rt::warmup_cosine(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW((void)rt::warmup_cosine(optimizer, {.warmup_steps = 5, .total_steps = 4}),
                    rt::ValueError);
  BOOST_CHECK_THROW((void)rt::warmup_cosine(optimizer, {.total_steps = 4, .min_factor = 2}), rt::ValueError);
}

BOOST_AUTO_TEST_CASE(one_schedule_after_another) {
  rt::LinearLR warmup(optimizer, {.start_factor = 0.25, .total_iters = 3});
  rt::StepLR steps(optimizer, {.step_size = 2, .gamma = 0.5});
  rt::CosineAnnealingLR cosine(optimizer, {.T_max = 4});
  rt::SequentialLR schedule(optimizer, {&warmup, &steps, &cosine}, {3, 7});
  check(rates(optimizer, schedule, 11), [](int e) {
    if (e < 3) return 0.5 * (0.25 + 0.25 * e);
    return e < 7 ? 0.5 * std::pow(0.5, (e - 3) / 2) : 0.25 * (1 + std::cos(pi * (e - 7) / 4));
  });
}

BOOST_AUTO_TEST_CASE(a_sequence_resumes_and_moves_momentum) {
  const auto run = [](rt::Optimizer& adam, const std::function<void(rt::SequentialLR&)>& use) {
    rt::LinearLR warmup(adam, {.total_iters = 2});
    rt::OneCycleLR cycle(adam, {.max_lr = 1, .total_steps = 8});
    rt::SequentialLR schedule(adam, {&warmup, &cycle}, {3});
    use(schedule);
  };
  rt::Adam whole(one_parameter(), {.lr = 0.5});
  std::vector<double> lr, momentum;
  std::vector<rt::StateDict> states;
  run(whole, [&](rt::SequentialLR& schedule) {
    for (int i = 0; i < 9; ++i, schedule.step()) {
      lr.push_back(whole.lr()), momentum.push_back(*whole.momentum());
      states.push_back(schedule.state_dict());
    }
  });
  BOOST_TEST(lr[3] == 1.0 / 25, exact);
  BOOST_TEST(momentum[3] == 0.95, exact);
  BOOST_TEST(momentum[5] < 0.95);
  for (std::size_t stop = 0; stop < 9; ++stop) {
    rt::Adam resumed(one_parameter(), {.lr = 0.5});
    run(resumed, [&](rt::SequentialLR& schedule) {
      resumed.set_momentum(momentum[stop]);
      schedule.load_state_dict(states[stop]);
      for (std::size_t i = stop; i < 9; ++i, schedule.step()) {
        BOOST_TEST(resumed.lr() == lr[i]);
        BOOST_TEST(*resumed.momentum() == momentum[i]);
      }
    });
  }
}

BOOST_AUTO_TEST_CASE(sequences_that_do_not_fit_are_refused) {
  rt::StepLR one(optimizer, {.step_size = 2}), two(optimizer, {.step_size = 2});
  rt::ReduceLROnPlateau plateau(optimizer);
  rt::SGD other(one_parameter());
  rt::StepLR foreign(other, {.step_size = 2});
  const auto refused = [&](const std::vector<rt::LRScheduler*>& parts,
                           const std::vector<std::int64_t>& milestones) {
    BOOST_CHECK_THROW(rt::SequentialLR(optimizer, parts, milestones), rt::ValueError);
  };
  refused({}, {});
  refused({&one, &two}, {});
  refused({&one, &two}, {0});
  refused({&one, &two, &one}, {3, 3});
  refused({&one, nullptr}, {3});
  refused({&one, &plateau}, {3});
  refused({&one, &foreign}, {3});
  BOOST_TEST(optimizer.lr() == 0.5);
}

BOOST_AUTO_TEST_CASE(each_group_has_its_own_base_rate) {
  rt::SGD groups({group(0.5), group(0.125)});
  rt::CosineAnnealingLR cosine(groups, {.T_max = 4, .eta_min = 0.1});
  for (int e = 0; e < 7; ++e, cosine.step()) {
    const double part = (1 + std::cos(pi * e / 4)) / 2;
    BOOST_TEST(groups.lr(0) == 0.1 + 0.4 * part, exact);
    BOOST_TEST(groups.lr(1) == 0.1 + 0.025 * part, exact);
    BOOST_TEST(cosine.last_lr(1) == groups.lr(1));
  }
  BOOST_CHECK_THROW(cosine.last_lr(2), rt::IndexError);

  rt::SGD second({group(0.5), group(0.125)});
  rt::CosineAnnealingLR resumed(second, {.T_max = 4, .eta_min = 0.1});
  resumed.load_state_dict(cosine.state_dict());
  cosine.step(), resumed.step();
  BOOST_TEST(second.lr(1) == groups.lr(1));
  rt::SGD single(one_parameter());
  rt::CosineAnnealingLR of_one(single, {.T_max = 4});
  BOOST_CHECK_THROW(of_one.load_state_dict(cosine.state_dict()), rt::ValueError);

  rt::SGD cycled({group(0.5), group(0.125)});
  rt::OneCycleLR cycle(cycled, {.max_lr = 1, .total_steps = 10});
  for (int i = 0; i < 9; ++i, cycle.step()) {
    BOOST_TEST(cycled.lr(0) == cycled.lr(1));
    BOOST_TEST(*cycled.momentum(0) == *cycled.momentum(1));
  }
}

BOOST_AUTO_TEST_CASE(a_group_that_is_added_later_is_scheduled_from_its_own_rate) {
  rt::SGD groups({group(0.5)});
  rt::LambdaLR schedule(groups,
                        {.lr_lambda = [](std::int64_t e) { return 1.0 / static_cast<double>(1 + e); }});
  schedule.step();
  groups.add_group(group(0.25));
  BOOST_TEST(groups.lr(1) == 0.25);
  schedule.step();
  BOOST_TEST(groups.lr(0) == 0.5 / 3, exact);
  BOOST_TEST(groups.lr(1) == 0.25 / 3, exact);
  schedule.load_state_dict(schedule.state_dict());
  rt::StepLR later(groups, {.step_size = 1, .gamma = 0.5});
  later.step();
  BOOST_TEST(groups.lr(1) == 0.125 / 3, exact);
}

BOOST_AUTO_TEST_CASE(a_plateau_is_a_schedule_and_reduces_every_group) {
  rt::SGD groups({group(0.5), group(0.125)});
  rt::ReduceLROnPlateau plateau(groups, {.factor = 0.5, .patience = 0, .min_lr = 0.1});
  plateau.step(1);
  plateau.step(1);
  BOOST_TEST(groups.lr(0) == 0.25);
  BOOST_TEST(groups.lr(1) == 0.1);
  rt::LRScheduler& schedule = plateau;
  BOOST_TEST(schedule.last_epoch() == 2);
  BOOST_TEST(schedule.last_lr(1) == 0.1);
  BOOST_CHECK_THROW(schedule.step(), rt::ValueError);
  rt::SGD other({group(1), group(1)});
  rt::ReduceLROnPlateau resumed(other, {.factor = 0.5, .patience = 0, .min_lr = 0.1});
  rt::LRScheduler& loaded = resumed;
  loaded.load_state_dict(schedule.state_dict());
  BOOST_TEST(other.lr(1) == 0.1);
  BOOST_TEST(loaded.last_epoch() == 2);
  rt::StateDict old = schedule.state_dict();
  old.erase("last_epoch");  // earlier versions did not write it
  loaded.load_state_dict(old);
}

// Each of these was ambiguous.
BOOST_AUTO_TEST_CASE(schedules_from_any_callable) {
  rt::LRScheduler generic(optimizer,
                          [](const auto& at) { return at.base_lr / (1.0 + static_cast<double>(at.step)); });
  generic.step();
  BOOST_TEST(optimizer.lr() == 0.25);
  rt::LRScheduler factor(optimizer, [](std::int64_t step) { return step == 0 ? 1.0 : 0.5; });
  BOOST_TEST(optimizer.lr() == 0.5);
  rt::LRScheduler integer(optimizer, [](int) { return 1; });
  BOOST_TEST(optimizer.lr() == 0.5);
  BOOST_CHECK_THROW(rt::LRScheduler(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LRScheduler(optimizer, nullptr), rt::ValueError);
}

// A rounding error on the wrong side of 0 is 0; more than that is refused.
BOOST_AUTO_TEST_CASE(tiny_negative_rates_are_zero) {
  rt::LambdaLR rounded(optimizer, {.lr_lambda = [](std::int64_t e) { return e == 0 ? 1.0 : -1e-17; }});
  rounded.step();
  BOOST_TEST(optimizer.lr() == 0);
  BOOST_TEST(!std::signbit(optimizer.lr()));
  rt::LRScheduler own(optimizer, [](std::int64_t e) { return e == 0 ? 1.0 : -1e-12; });
  own.step();
  BOOST_TEST(optimizer.lr() == 0);
}

BOOST_AUTO_TEST_CASE(schedules_far_beyond_their_ends) {
  constexpr std::int64_t longest = std::numeric_limits<std::int64_t>::max();
  const auto at = [](rt::LRScheduler& schedule, double epoch) {
    rt::StateDict state = schedule.state_dict();
    state["last_epoch"] = rt::full({}, epoch, rt::DType::float64);
    schedule.load_state_dict(state);
    schedule.step();
  };
  rt::CosineAnnealingLR cosine(optimizer, {.T_max = longest});
  cosine.step();
  BOOST_TEST(optimizer.lr() == 0.5, exact);
  at(cosine, 0x1p52);
  rt::CosineAnnealingWarmRestarts restarts(optimizer, {.T_0 = 1, .T_mult = 2});
  at(restarts, 0x1p52);
  BOOST_TEST(optimizer.lr() >= 0);
  rt::CosineAnnealingWarmRestarts steep(optimizer, {.T_0 = longest / 2, .T_mult = longest});
  at(steep, 0x1p52);
  BOOST_TEST(optimizer.lr() >= 0);
  BOOST_CHECK_THROW(rt::OneCycleLR(optimizer, {.max_lr = 1, .epochs = longest, .steps_per_epoch = 2}),
                    rt::ValueError);
  BOOST_CHECK_THROW(rt::CosineAnnealingWarmRestarts(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW(rt::CosineAnnealingWarmRestarts(optimizer, {.T_0 = 1, .T_mult = 0}), rt::ValueError);
  BOOST_CHECK_THROW(rt::ExponentialLR(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW(rt::StepLR(optimizer, {.step_size = 1, .gamma = -0.1}), rt::ValueError);
  BOOST_CHECK_THROW(rt::MultiStepLR(optimizer, {.milestones = {1}, .gamma = -0.1}), rt::ValueError);
}

// An empty brace list must not be ambiguous between the options and a private type.
BOOST_AUTO_TEST_CASE(empty_options_are_options) {
  BOOST_CHECK_THROW(rt::OneCycleLR(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW(rt::StepLR(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW(rt::CosineAnnealingLR(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW((void)rt::warmup_cosine(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LambdaLR(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW(rt::LRScheduler(optimizer, {}), rt::ValueError);
  BOOST_CHECK_THROW(rt::SequentialLR(optimizer, {}, {}), rt::ValueError);
  const rt::MultiStepLR steps(optimizer, {});
  const rt::LinearLR line(optimizer, {});
  const rt::LinearWarmup warmup(optimizer, {});
  const rt::ReduceLROnPlateau plateau(optimizer, {});
  const rt::Adam adam(one_parameter(), {});
  BOOST_TEST(&plateau.optimizer() == &optimizer);
}

BOOST_AUTO_TEST_SUITE_END()
