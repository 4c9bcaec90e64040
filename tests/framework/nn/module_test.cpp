#include <array>
#include <boost/test/unit_test.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "retort/framework/core/engine.hpp"
#include "retort/framework/nn/linear.hpp"
#include "retort/framework/nn/module.hpp"
#include "retort/framework/nn/untracked.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"

namespace rt = retort;

namespace {

using Names = std::vector<std::string>;

Names names_of(const std::vector<std::pair<std::string, rt::Tensor>>& named) {
  Names names;
  for (const auto& [name, tensor] : named) names.push_back(name);
  return names;
}

Names names_of(const rt::StateDict& state) {
  Names names;
  for (const auto& [name, tensor] : state) names.push_back(name);
  return names;
}

rt::Tensor parameter(rt::Shape shape = {2}) { return rt::randn(shape).set_requires_grad(); }

class Block : public rt::Module {
 public:
  rt::Tensor scale = parameter();
  rt::Buffer mean = rt::zeros({2});
  RETORT_MEMBERS(scale, mean)
};

class Everything : public rt::Module {
 public:
  Everything() {
    layers.emplace_back();
    layers.emplace_back();
    owned.push_back(std::make_unique<Block>());
    nested.resize(1);
    nested[0].emplace_back();
  }

  rt::Tensor weight = parameter();
  rt::Tensor absent;
  rt::Tensor frozen = rt::ones({3});
  rt::Buffer counts = rt::zeros({}, rt::DType::int64);
  rt::Buffer no_buffer;
  Block block;
  std::vector<Block> layers;
  std::optional<Block> there = std::make_optional<Block>();
  std::optional<Block> not_there;
  std::unique_ptr<Block> pointed = std::make_unique<Block>();
  std::unique_ptr<Block> null;
  std::shared_ptr<Block> shared = std::make_shared<Block>();
  std::vector<std::unique_ptr<Block>> owned;
  std::vector<std::vector<Block>> nested;
  std::array<Block, 2> pair;
  std::vector<rt::Tensor> list = {parameter(), parameter()};
  std::optional<rt::Tensor> maybe = parameter();
  RETORT_MEMBERS(weight, absent, frozen, counts, no_buffer, block, layers, there, not_there, pointed, null,
                 shared, owned, nested, pair, list, maybe)
};

class Nothing : public rt::Module {
 public:
  int operator()(int a, int b) const { return a + b; }
  RETORT_MEMBERS()
};

// The lists are in private sections, with and without a semicolon, and later members keep their access.
class Base : public rt::Module {
 public:
  rt::Tensor first = parameter();

 private:
  rt::Tensor second = parameter();
  RETORT_MEMBERS(first, second);
};
class Derived : public Base {
  rt::Tensor third = parameter();

 public:
  RETORT_MEMBERS_OF(Base, third)
  int still_public = 1;
};
class DerivedTwice : public Derived {
 public:
  RETORT_MEMBERS_OF(Derived)
};
struct OfModule : rt::Module {
  rt::Tensor own = parameter();
  RETORT_MEMBERS_OF(rt::Module, own)
};

template <class T>
struct Generic : rt::Module {
  T inner;
  RETORT_MEMBERS(inner)
};

struct Twins : rt::Module {
  rt::Tensor a = parameter();
  rt::Tensor b = a;
  std::shared_ptr<Block> left = std::make_shared<Block>();
  std::shared_ptr<Block> right = left;
  RETORT_MEMBERS(a, b, left, right)
};

struct Many : rt::Module {
  rt::Tensor a = parameter(), b = a.detach().clone(), c = b.clone(), d = c.clone(), e = c.clone(),
             f = c.clone(), g = c.clone(), h = c.clone(), i = c.clone(), j = c.clone(), k = c.clone(),
             l = c.clone(), m = c.clone(), n = c.clone(), o = c.clone(), p = c.clone(), q = c.clone(),
             r = c.clone(), s = c.clone(), t = c.clone(), u = c.clone(), v = c.clone(), w = c.clone(),
             x = c.clone(), y = c.clone(), z = c.clone();
  RETORT_MEMBERS(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z)
};

}  // namespace

BOOST_AUTO_TEST_SUITE(module)

BOOST_AUTO_TEST_CASE(names_follow_the_list_and_walk_containers) {
  Everything module;
  const Names parameters = names_of(module.named_parameters());
  const Names expected{"weight",       "frozen",        "block.scale",  "layers.0.scale", "layers.1.scale",
                       "there.scale",  "pointed.scale", "shared.scale", "owned.0.scale",  "nested.0.0.scale",
                       "pair.0.scale", "pair.1.scale",  "list.0",       "list.1",         "maybe"};
  BOOST_TEST(parameters == expected, boost::test_tools::per_element());
  BOOST_TEST(module.parameters().size() == expected.size());
  BOOST_TEST(retort::detail::Access::same(module.parameters()[1], module.frozen));

  const Names buffers = names_of(module.named_buffers());
  BOOST_TEST(buffers.size() == 11U);
  BOOST_TEST(buffers.front() == "counts");
  BOOST_TEST(buffers.back() == "pair.1.mean");
  BOOST_TEST(retort::detail::Access::same(module.buffers()[1], module.block.mean));

  const Names state = names_of(module.state_dict());
  BOOST_TEST(state.size() == expected.size() + buffers.size());
  BOOST_TEST(state[0] == "weight");
  BOOST_TEST(state[2] == "counts");
  BOOST_TEST(state[4] == "block.mean");

  Names children;
  for (const auto& [name, child] : module.named_children()) children.push_back(name);
  const Names expected_children{"block",  "layers.0", "layers.1",   "there",  "pointed",
                                "shared", "owned.0",  "nested.0.0", "pair.0", "pair.1"};
  BOOST_TEST(children == expected_children, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(lists_of_any_length_and_place) {
  const Nothing nothing;
  BOOST_TEST(nothing.parameters().empty());
  BOOST_TEST(nothing.state_dict().empty());
  BOOST_TEST(nothing(1, 2) == 3);
  const Names derived = names_of(Derived().named_parameters());
  const Names expected{"first", "second", "third"};
  BOOST_TEST(derived == expected, boost::test_tools::per_element());
  BOOST_TEST(names_of(DerivedTwice().named_parameters()) == expected, boost::test_tools::per_element());
  BOOST_TEST(Derived().still_public == 1);
  BOOST_TEST(names_of(OfModule().named_parameters()) == Names{"own"}, boost::test_tools::per_element());
  BOOST_TEST(names_of(Generic<Base>().named_parameters()).back() == "inner.second");
  const Names many = names_of(Many().named_parameters());
  BOOST_TEST(many.size() == 26U);
  for (std::size_t i = 0; i < many.size(); ++i)
    BOOST_TEST(many[i] == std::string(1, static_cast<char>('a' + i)));
}

BOOST_AUTO_TEST_CASE(tied_members_are_one_parameter_but_stand_in_the_state_twice) {
  const Twins module;
  const Names expected{"a", "left.scale"};
  BOOST_TEST(names_of(module.named_parameters()) == expected, boost::test_tools::per_element());
  BOOST_TEST(module.buffers().size() == 1U);
  const Names state{"a", "b", "left.scale", "left.mean", "right.scale", "right.mean"};
  BOOST_TEST(names_of(module.state_dict()) == state, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(train_and_eval_reach_everything) {
  Everything module;
  BOOST_TEST(module.is_training());
  module.eval();
  BOOST_TEST(!module.is_training());
  BOOST_TEST(!module.layers[1].is_training());
  BOOST_TEST(!module.there->is_training());
  BOOST_TEST(!module.nested[0][0].is_training());
  module.train();
  BOOST_TEST(module.owned[0]->is_training());
  BOOST_TEST(module.pair[1].is_training());
}

BOOST_AUTO_TEST_CASE(gradients_can_be_switched_and_dropped) {
  Everything module;
  module.set_requires_grad(false);
  for (const rt::Tensor& each : module.parameters()) BOOST_TEST(!each.requires_grad());
  module.set_requires_grad();
  for (const rt::Tensor& each : module.parameters()) BOOST_TEST(each.requires_grad());
  BOOST_TEST(!module.block.mean.requires_grad());
  rt::sum(module.weight * 2.0).backward();
  BOOST_TEST(module.weight.grad().defined());
  module.zero_grad();
  BOOST_TEST(!module.weight.grad().defined());
}

BOOST_AUTO_TEST_CASE(conversion_keeps_handles_and_gradients) {
  Everything module;
  const rt::Tensor held = module.weight;
  const std::vector<double> before = held.values<double>();
  rt::sum(module.weight * 3.0).backward();
  module.to(rt::DType::float64);
  BOOST_TEST((held.dtype() == rt::DType::float64));
  BOOST_TEST(held.requires_grad());
  BOOST_TEST(held.values<double>() == before, boost::test_tools::per_element());
  BOOST_TEST((held.grad().dtype() == rt::DType::float64));
  BOOST_TEST(held.grad().values<double>()[1] == 3.0);
  BOOST_TEST((module.layers[0].mean.dtype() == rt::DType::float64));
  BOOST_TEST((module.counts.dtype() == rt::DType::int64));
  BOOST_TEST(!module.frozen.requires_grad());
  BOOST_CHECK_THROW(module.to(rt::DType::int64), rt::TypeError);
  rt::sum(module.weight * 3.0).backward();  // a fresh graph over the new values
  BOOST_TEST(held.grad().values<double>()[1] == 6.0);
}

BOOST_AUTO_TEST_CASE(conversion_of_a_result_fails_and_changes_nothing) {
  struct Both : rt::Module {
    rt::Tensor plain = parameter();
    rt::Tensor result = plain * 2.0;
    RETORT_MEMBERS(plain, result)
  } both;
  BOOST_CHECK_EXCEPTION(both.to(rt::DType::float64), rt::GraphError, [](const rt::GraphError& error) {
    return std::string(error.what()).find("result is the result") != std::string::npos;
  });
  BOOST_TEST((both.plain.dtype() == rt::DType::float32));
}

BOOST_AUTO_TEST_CASE(a_state_dict_is_a_snapshot) {
  Block module;
  const std::vector<float> before = module.scale.values<float>();
  const rt::StateDict state = module.state_dict();
  BOOST_TEST(!state.at("scale").requires_grad());
  module.scale.mutable_data<float>()[0] += 1;
  BOOST_TEST(state.at("scale").values<float>() == before, boost::test_tools::per_element());
  const rt::Tensor held = module.scale;
  module.load_state_dict(state);
  BOOST_TEST(held.values<float>() == before, boost::test_tools::per_element());
  BOOST_TEST(held.requires_grad());
  module.scale.mutable_data<float>()[0] += 1;
  BOOST_TEST(state.at("scale").values<float>() == before, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(loading_converts_element_types) {
  Block module;
  module.load_state_dict({{"scale", rt::tensor({1.5, -2.0})}, {"mean", rt::tensor({3, 4})}});
  BOOST_TEST((module.scale.dtype() == rt::DType::float32));
  BOOST_TEST(module.scale.data<float>()[1] == -2.0F);
  BOOST_TEST(module.mean.data<float>()[0] == 3.0F);
}

BOOST_AUTO_TEST_CASE(a_state_dict_that_does_not_fit_is_refused_whole) {
  Everything module;
  const std::vector<float> before = module.weight.values<float>();
  rt::StateDict state = module.state_dict();
  state["weight"] = rt::ones({2});
  state.erase("block.scale");
  state.erase("maybe");
  state["layers.0.mean"] = rt::ones({1, 2});
  state["list.0"] = rt::Tensor();
  state["extra"] = rt::ones({1});
  BOOST_CHECK_EXCEPTION(module.load_state_dict(state), rt::ValueError, [](const rt::ValueError& error) {
    BOOST_TEST(
        std::string(error.what()) ==
        "load_state_dict: the state dict does not fit; missing: block.scale, maybe; unexpected: extra; of "
        "another shape: layers.0.mean has shape (1, 2), not (2), list.0 is undefined, not (2)");
    return true;
  });
  BOOST_TEST(module.weight.values<float>() == before, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(loading_counts_as_a_change_of_values) {
  Block module;
  const rt::Tensor loss = rt::sum(module.scale * module.scale);
  module.load_state_dict(module.state_dict());
  BOOST_CHECK_THROW(loss.backward(), rt::GraphError);
}

BOOST_AUTO_TEST_CASE(moving_keeps_the_parameters) {
  Everything module;
  module.eval();
  const rt::Tensor held = module.layers[1].scale;
  const Everything moved = std::move(module);
  BOOST_TEST(moved.named_parameters()[4].first == "layers.1.scale");
  BOOST_TEST(retort::detail::Access::same(moved.named_parameters()[4].second, held));
  BOOST_TEST(!moved.is_training());
  static_assert(!std::is_copy_constructible_v<Everything>);
  static_assert(std::is_nothrow_move_constructible_v<rt::Linear>);
}

BOOST_AUTO_TEST_CASE(untracked_parameters_are_described) {
  struct Forgetful : rt::Module {
    rt::Tensor listed = parameter({2}), forgotten = parameter({1, 2});
    RETORT_MEMBERS(listed)
  } module;
  const rt::Tensor data = rt::randn({4, 2});
  const Names found = rt::untracked_parameters(rt::sum(data * module.listed + module.forgotten), module);
  BOOST_TEST_REQUIRE(found.size() == 1U);
  BOOST_TEST(
      found[0] ==
      "a float32 tensor of shape (1, 2) requires a gradient but is not a parameter of the module; list it in "
      "RETORT_MEMBERS");
  BOOST_TEST(rt::untracked_parameters(rt::sum(data * module.listed), module).empty());
  BOOST_TEST(rt::untracked_parameters(rt::sum(data), module).empty());
}

BOOST_AUTO_TEST_SUITE_END()
