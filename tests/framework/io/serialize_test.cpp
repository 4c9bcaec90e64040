#include "retort/framework/io/serialize.hpp"

#include <boost/test/unit_test.hpp>
#include <cerrno>

#include "files.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/random.hpp"
#include "retort/framework/io/safetensors.hpp"
#include "retort/framework/nn/module.hpp"

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

}  // namespace

BOOST_AUTO_TEST_SUITE(serialize)

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
