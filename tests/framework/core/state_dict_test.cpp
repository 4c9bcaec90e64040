#include "retort/framework/core/state_dict.hpp"
#include "retort/framework/core/state_checks.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/tensor.hpp"
#include "tests_support.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

StateDict numbered(int count, const std::string& prefix = "w") {
  StateDict state;
  for (int i = 0; i < count; ++i) state[prefix + std::to_string(i)] = full({1}, static_cast<double>(i));
  return state;
}

std::string names_of(const StateDict& state) {
  std::string names;
  for (const auto& [name, tensor] : state) names += name + " ";
  return names;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(state_dict)

BOOST_AUTO_TEST_CASE(an_entry_can_be_copied_to_a_new_name) {
  for (int count = 1; count < 40; ++count) {  // whatever the capacity is
    StateDict s = numbered(count);
    s["tied"] = s.at("w0");
    BOOST_TEST(retort::detail::Access::same(s.at("tied"), s.at("w0")));
    s["again"] = s.find("w0")->second;
    BOOST_TEST(retort::detail::Access::same(s.at("again"), s.at("w0")));
    BOOST_TEST(s.insert(*s.begin()) == false);
    BOOST_TEST(s.size() == static_cast<std::size_t>(count) + 2);
  }
}

BOOST_AUTO_TEST_CASE(references_and_iterators_stay_valid) {
  StateDict s = numbered(4);
  Tensor& third = s.at("w3");
  const Tensor* const first = &s["w0"];
  const auto second = s.find("w1");
  for (int i = 0; i < 1000; ++i) s["more" + std::to_string(i)] = Tensor();
  for (int i = 0; i < 1000; ++i) BOOST_TEST(s.erase("more" + std::to_string(i)) == 1U);
  s.erase("w2");
  BOOST_TEST(&third == &s.at("w3"));
  BOOST_TEST(first == &s.at("w0"));
  BOOST_TEST(second->first == "w1");
  const StateDict moved = std::move(s);
  BOOST_TEST(&third == &moved.at("w3"));
  BOOST_TEST(names_of(moved) == "w0 w1 w3 ");
}

BOOST_AUTO_TEST_CASE(entries_keep_the_order_of_insertion) {
  StateDict s{{"z", ones({1})}, {"a", ones({2})}, {"m", ones({3})}, {"a", ones({4})}};
  BOOST_TEST(names_of(s) == "z a m ");
  BOOST_TEST(s.at("a").shape() == Shape{4});
  s.erase(s.begin()->first);  // a view of the name that goes
  s["z"] = ones({1});
  BOOST_TEST(names_of(s) == "a m z ");
  BOOST_TEST(s.erase("none") == 0U);
  BOOST_TEST(s.count("m") == 1U);
  BOOST_CHECK_THROW(s.at("none"), IndexError);
  s.clear();
  BOOST_TEST(s.empty());
  BOOST_TEST(!s.contains("a"));
}

BOOST_AUTO_TEST_CASE(copies_are_independent) {
  StateDict s = numbered(3);
  StateDict copy = s;
  copy["w1"] = Tensor();
  copy.erase("w0");
  BOOST_TEST(s.at("w1").defined());
  BOOST_TEST(names_of(s) == "w0 w1 w2 ");
  BOOST_TEST(names_of(copy) == "w1 w2 ");
  s = copy;
  s["new"] = Tensor();
  BOOST_TEST(names_of(s) == "w1 w2 new ");
  BOOST_TEST(names_of(copy) == "w1 w2 ");
  const StateDict& self = s;
  s = self;
  BOOST_TEST(names_of(s) == "w1 w2 new ");
  const std::map<std::string, Tensor> map(s.begin(), s.end());
  BOOST_TEST(map.size() == 3U);
}

BOOST_AUTO_TEST_CASE(long_names_take_linear_time) {
  const auto seconds_of_names = [](int count) {
    return seconds_of([&] {
      const StateDict s = numbered(count, std::string(1000, 'x'));
      for (int i = 0; i < count; ++i) BOOST_REQUIRE(s.contains(std::string(1000, 'x') + std::to_string(i)));
    });
  };
  const double few = seconds_of_names(2500);
  BOOST_TEST(seconds_of_names(8 * 2500) < 32 * few);
}

BOOST_AUTO_TEST_CASE(a_prefix_of_all_names_is_told) {
  const std::vector<detail::ExpectedEntry> expected{{"0.weight", {1}}, {"0.bias", {1}}, {"1.weight", {1}}};
  const auto said = [&](const StateDict& state) {
    return thrown_text<ValueError>([&] { detail::check_state("load", state, expected); });
  };
  const Tensor x = ones({1});
  std::string text = said({{"module.0.weight", x}, {"module.0.bias", x}, {"module.1.weight", x}});
  BOOST_TEST(contains(text, "all of its names begin with 'module.'"), text);
  BOOST_TEST(contains(text, "missing: 0.weight, 0.bias, 1.weight"), text);
  text = said({{"a.b.extra", x}, {"a.b.0.bias", x}, {"a.b.1.weight", x}});
  BOOST_TEST(contains(text, "all of its names begin with 'a.b.'"), text);
  text = said({{"weight", x}, {"bias", x}});
  BOOST_TEST(!contains(text, "begin with"), text);
  text = said({{"module.0.weight", x}, {"0.bias", x}});
  BOOST_TEST(!contains(text, "begin with"), text);
  BOOST_TEST(contains(
      thrown_text<ValueError>([&] {
        detail::check_state("load", {{"weight", x}, {"bias", x}}, {{"net.weight", {1}}, {"net.bias", {1}}});
      }),
      "its names lack 'net.'"));
}

BOOST_AUTO_TEST_SUITE_END()
