// State dicts that an earlier version of the library wrote, and the ways to construct an optimiser.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "retort/retort.hpp"

namespace rt = retort;

namespace {

/// The entries whose names begin with the prefix, without it.
rt::StateDict part(const rt::StateDict& all, const std::string& prefix) {
  rt::StateDict found;
  for (const auto& [name, tensor] : all)
    if (name.starts_with(prefix)) found[name.substr(prefix.size())] = tensor;
  return found;
}

/// data/before_groups.safetensors was recorded before there were parameter groups. For each optimiser it
/// holds the state of the optimiser and of its StepLR after three steps, and the parameters before and after
/// two more.
template <class O, class Options>
void check_resumed(const std::string& name, const Options& wrong_options) {
  const auto folder = std::filesystem::path(__FILE__).parent_path() / "data";
  const rt::StateDict all = rt::load_safetensors((folder / "before_groups.safetensors").string());
  const rt::Tensor w = all.at(name + ".before.w").clone().set_requires_grad();
  const rt::Tensor b = all.at(name + ".before.b").clone().set_requires_grad();
  O optimizer({w, b}, wrong_options);
  rt::StepLR schedule(optimizer, {.step_size = 2, .gamma = 0.5});
  optimizer.load_state_dict(part(all, name + ".optimizer."));
  schedule.load_state_dict(part(all, name + ".schedule."));
  BOOST_TEST(optimizer.lr() == 0.05);
  for (int i = 0; i < 2; ++i) {
    w.set_grad(w.detach() * 2.0 - 1.0);
    b.set_grad(b.detach() * 0.5);
    optimizer.step();
    schedule.step();
  }
  BOOST_TEST(optimizer.lr() == 0.025);
  const auto check = [&](const rt::Tensor& parameter, const char* suffix) {
    BOOST_TEST(parameter.values<double>() == all.at(name + suffix).values<double>(),
               boost::test_tools::tolerance(1e-14) << boost::test_tools::per_element());
  };
  check(w, ".after.w");
  check(b, ".after.b");
}

template <class O>
void check_forms(const rt::Tensor& a, const rt::Tensor& b) {
  const rt::Tensors one{a}, other{b};
  BOOST_TEST(O(one).group_count() == 1);
  BOOST_TEST(O({a, b}).group_count() == 1);
  BOOST_TEST(O({a}, {.lr = 0.5}).lr() == 0.5);
  BOOST_TEST(O({{one, {}}}).parameters().size() == 1);
  BOOST_TEST(O({{one, {.lr = 0.5}}}).lr() == 0.5);
  BOOST_TEST(O({{{a, b}, {}}}).parameters().size() == 2);
  BOOST_TEST(O({{{a}, {}}, {{b}, {}}}).group_count() == 2);
  BOOST_TEST(O({{one}, {other, {.lr = 0.5}}}).lr(1) == 0.5);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(saved_states)

BOOST_AUTO_TEST_CASE(states_from_before_groups_are_resumed) {
  check_resumed<rt::SGD>("SGD", rt::SGDOptions{.lr = 9});
  check_resumed<rt::Adam>("Adam", rt::AdamOptions{.lr = 9});
  check_resumed<rt::AdamW>("AdamW", rt::AdamWOptions{.lr = 9});
  check_resumed<rt::RMSprop>("RMSprop", rt::RMSpropOptions{.lr = 9});
  check_resumed<rt::Adagrad>("Adagrad", rt::AdagradOptions{.lr = 9});
}

BOOST_AUTO_TEST_CASE(parameters_and_groups_are_told_apart) {
  const rt::Tensor a = rt::ones({2}).set_requires_grad(), b = rt::ones({3}).set_requires_grad();
  check_forms<rt::SGD>(a, b);
  check_forms<rt::Adam>(a, b);
  check_forms<rt::AdamW>(a, b);
  check_forms<rt::RMSprop>(a, b);
  check_forms<rt::Adagrad>(a, b);
  check_forms<rt::Lion>(a, b);
}

// Results of PyTorch 2.13. The curvature condition cannot hold at a kink, so the search continues until its
// interval is short: it takes 37 evaluations.
BOOST_AUTO_TEST_CASE(a_line_search_is_limited_by_max_eval_alone) {
  for (const auto& [max_eval, evaluations] : {std::pair(60, 38), std::pair(10, 11)}) {
    const rt::Tensor x = rt::tensor({-1.2}).set_requires_grad();
    rt::LBFGS optimizer({x},
                        {.lr = 1000, .max_iter = 1, .max_eval = max_eval, .line_search_fn = "strong_wolfe"});
    int count = 0;
    const double loss = optimizer.step([&] {
      ++count;
      optimizer.zero_grad();
      const rt::Tensor now = rt::sum(rt::abs(x - 0.3) + 2.0 * rt::relu(x - 0.3));
      now.backward();
      return now;
    });
    BOOST_TEST(loss == 1.5);
    BOOST_TEST(count == evaluations);
    if (max_eval == 60) BOOST_TEST(std::abs(x.item<double>() - 0.29999999971055225) < 1e-12);
  }
}

BOOST_AUTO_TEST_SUITE_END()
