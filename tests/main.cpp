// The test program: Boost.Test's main, and a check after each test case that no graph outlived it.
#define BOOST_TEST_MODULE retort
#include <boost/smart_ptr/make_shared.hpp>
#include <boost/test/tree/traverse.hpp>
#include <boost/test/tree/visitor.hpp>
#include <boost/test/unit_test.hpp>
#include <csignal>
#include <cstdint>

#include "retort/framework/core/engine.hpp"

namespace {

namespace unit_test = boost::unit_test;

/// Fixture of every test case: its tear-down runs after the case's own tensors are destroyed.
class NoNodeLeft : public unit_test::test_unit_fixture {
 public:
  void setup() override { before_ = retort::live_nodes(); }
  void teardown() override {
    BOOST_CHECK_MESSAGE(
        retort::live_nodes() == before_,
        "graph nodes outlive the test case: " << retort::live_nodes() << " now, " << before_ << " before it");
  }

 private:
  std::int64_t before_ = 0;
};

class AddToEveryCase : public unit_test::test_tree_visitor {
 public:
  void visit(const unit_test::test_case& test) override {
    const_cast<unit_test::test_case&>(test).p_fixtures.value.push_back(boost::make_shared<NoNodeLeft>());
  }
};

struct Setup {
  Setup() {
    // A shell starts background jobs with SIGINT ignored, but the tests send it, also to child processes.
    std::signal(SIGINT, SIG_DFL);
    AddToEveryCase add;
    unit_test::traverse_test_tree(unit_test::framework::master_test_suite(), add, true);
  }
};
BOOST_TEST_GLOBAL_FIXTURE(Setup);

}  // namespace

// AddressSanitizer would abort on a failed allocation; tests request more memory than any machine has.
extern "C" const char* __asan_default_options();  // NOLINT: its name
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
