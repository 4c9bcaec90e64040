#include "retort/framework/io/serialize.hpp"

#include <boost/test/unit_test.hpp>
#include <cerrno>

#include "files.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/random.hpp"
#include "retort/framework/io/safetensors.hpp"
#include "retort/framework/nn/module.hpp"
#include "tests_support.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

class Affine : public Module {
 public:
  explicit Affine(std::int64_t size, DType dtype = DType::float32)
      : weight(randn({size, size}, dtype).set_requires_grad()), running_mean(randn({size}, dtype)) {}

  Tensor weight;
  Buffer running_mean;
  RETORT_MEMBERS(weight, running_mean)
};

class Pair : public Module {
 public:
  explicit Pair(std::int64_t size, DType dtype = DType::float32) : first(size, dtype), second(size, dtype) {}

  Affine first, second;
  RETORT_MEMBERS(first, second)
};

// A language model's ends: the last layer is the embedding.
class Tied : public Module {
 public:
  class Part : public Module {
   public:
    explicit Part(Tensor w) : weight(std::move(w)) {}
    Tensor weight;
    RETORT_MEMBERS(weight)
  };

  Tied()
      : embed(zeros({3, 2}).set_requires_grad()),
        norm(zeros({2}).set_requires_grad()),
        lm_head(embed.weight) {}
  Part embed, norm, lm_head;
  RETORT_MEMBERS(embed, norm, lm_head)
};

std::string data_file(const std::string& name) {
  return (std::filesystem::path(__FILE__).parent_path() / "data" / name).string();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(serialize)

BOOST_AUTO_TEST_CASE(a_tied_weight_comes_from_the_entry_that_it_is_tied_to) {
  Tied model;
  const LoadReport report = load(model, data_file("tied.safetensors"), {.strip_prefix = "model."});
  BOOST_TEST(report.missing.empty());
  BOOST_TEST(report.unexpected.empty());
  BOOST_TEST(model.lm_head.weight.values<float>() == (std::vector<float>{0, 1, 2, 3, 4, 5}),
             boost::test_tools::per_element());
  BOOST_TEST(retort::detail::Access::same(model.lm_head.weight, model.embed.weight));
  // Under the other name, too.
  const TemporaryFolder folder;
  save_safetensors(folder / "m", {{"lm_head.weight", ones({3, 2})}, {"norm.weight", ones({2})}});
  load(model, folder / "m");
  BOOST_TEST(model.embed.weight.values<float>() == std::vector<float>(6, 1),
             boost::test_tools::per_element());
  save_safetensors(folder / "m", {{"norm.weight", ones({2})}});
  BOOST_CHECK_EXCEPTION(load(model, folder / "m"), IoError, says("embed.weight", "lm_head.weight"));
}

BOOST_AUTO_TEST_CASE(without_strictness_the_report_names_what_differs) {
  const TemporaryFolder folder;
  Pair module(2);
  const std::vector<float> before = module.second.weight.values<float>();
  StateDict state{{"net.first.weight", full({2, 2}, 7)},
                  {"net.first.running_mean", ones({2})},
                  {"other.x", ones({1})},
                  {"net.y", ones({1})}};
  save_safetensors(folder / "m", state);
  BOOST_CHECK_EXCEPTION(load(module, folder / "m"), IoError, says("net.first.weight"));
  const LoadReport report = load(module, folder / "m", {.strict = false, .strip_prefix = "net."});
  BOOST_TEST(report.missing == (std::vector<std::string>{"second.weight", "second.running_mean"}),
             boost::test_tools::per_element());
  BOOST_TEST(report.unexpected == (std::vector<std::string>{"other.x", "y"}),
             boost::test_tools::per_element());
  BOOST_TEST(module.first.weight.values<float>() == std::vector<float>(4, 7),
             boost::test_tools::per_element());
  BOOST_TEST(module.second.weight.values<float>() == before, boost::test_tools::per_element());

  state["net.first.weight"] = zeros({2, 2});
  state["net.second.weight"] = zeros({2, 3});
  save_safetensors(folder / "m", state);
  BOOST_CHECK_EXCEPTION(load(module, folder / "m", {.strict = false, .strip_prefix = "net."}), IoError,
                        says(folder / "m", "second.weight", "(2, 3)"));
  BOOST_TEST(module.first.weight.values<float>() == std::vector<float>(4, 7),
             boost::test_tools::per_element());
  save_safetensors(folder / "m", {{"a.x", ones({1})}, {"x", ones({1})}});
  BOOST_CHECK_EXCEPTION(load(module, folder / "m", {.strict = false, .strip_prefix = "a."}), IoError,
                        says("two of its entries are named 'x'"));
}

BOOST_AUTO_TEST_CASE(a_file_without_any_name_of_the_module_causes_a_warning) {
  const TemporaryFolder folder;
  save_safetensors(folder / "m", {{"net.first.weight", full({2, 2}, 7)}});
  std::vector<std::string> warnings;
  const WarningHandler before =
      set_warning_handler([&](std::string_view text) { warnings.emplace_back(text); });
  Pair module(2);
  for (int i = 0; i < 2; ++i) load(module, folder / "m", {.strict = false});
  load(module, folder / "m", {.strict = false, .strip_prefix = "net."});
  set_warning_handler(before);
  BOOST_REQUIRE(warnings.size() == 1U);
  BOOST_TEST(
      contains(warnings[0], "the file's first name is 'net.first.weight' and the module's 'first.weight'"));
}

BOOST_AUTO_TEST_CASE(an_unsupported_type_is_an_error_where_the_module_needs_it) {
  class Eight : public Module {
   public:
    Tensor eight = zeros({2});
    RETORT_MEMBERS(eight)
  };
  Eight module;
  for (const bool strict : {true, false})
    BOOST_CHECK_EXCEPTION(
        load(module, data_file("tied.safetensors"), {.strict = strict, .strip_prefix = "model."}), IoError,
        says("tied.safetensors", "'model.eight'", "F8_E4M3", "not supported"));
}

BOOST_AUTO_TEST_CASE(a_module_comes_back_as_it_was) {
  const TemporaryFolder folder;
  const Pair saved(3);
  save(saved, folder / "m.safetensors");
  Pair read(3);
  BOOST_TEST(read.second.weight.values<float>() != saved.second.weight.values<float>());
  load(read, folder / "m.safetensors");
  BOOST_TEST(read.second.weight.values<float>() == saved.second.weight.values<float>(),
             boost::test_tools::per_element());
  BOOST_TEST(read.first.running_mean.values<float>() == saved.first.running_mean.values<float>(),
             boost::test_tools::per_element());
  BOOST_TEST(read.first.weight.requires_grad());

  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : safetensors_entries(folder / "m.safetensors"))
    names.push_back(entry.name);
  const std::vector<std::string> expected{"first.weight", "first.running_mean", "second.weight",
                                          "second.running_mean"};
  BOOST_TEST(names == expected, boost::test_tools::per_element());
  BOOST_TEST((load_safetensors_metadata(folder / "m.safetensors") == Metadata{{"format", "pt"}}));
}

BOOST_AUTO_TEST_CASE(element_types_are_the_module_s_own) {
  const TemporaryFolder folder;
  const Pair saved(2, DType::float64);
  save(saved, folder / "m.safetensors");
  Pair read(2);
  load(read, folder / "m.safetensors");
  BOOST_TEST((read.first.weight.dtype() == DType::float32));
  BOOST_TEST(read.first.weight.values<float>() == saved.first.weight.values<float>(),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_told_and_changes_nothing) {
  const TemporaryFolder folder;
  Pair module(3);
  StateDict state = module.state_dict();
  state["first.weight"] = zeros({3, 3});
  state["second.weight"] = zeros({3, 4});
  state.erase("second.running_mean");
  state["extra"] = zeros({1});
  save_safetensors(folder / "m.safetensors", state);
  const std::vector<float> before = module.first.weight.values<float>();
  BOOST_CHECK_EXCEPTION(
      load(module, folder / "m.safetensors"), IoError,
      says(folder / "m.safetensors", "second.weight", "(3, 4)", "second.running_mean", "extra"));
  BOOST_TEST(module.first.weight.values<float>() == before, boost::test_tools::per_element());

  BOOST_CHECK_EXCEPTION(load(module, folder / "none"), IoError, says(folder / "none", "No such file"));
  const FailingCall failing(SystemCall::rename, 0, EIO);
  BOOST_CHECK_EXCEPTION(save(module, folder / "new"), IoError, says(folder / "new", "Input/output error"));
  BOOST_TEST(folder.entries() == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
