#include "retort/framework/train/interrupt.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <csignal>

#include "retort/framework/base/error.hpp"

using namespace retort;

namespace {

/// The exit status of a child process that runs f; 7 if f returns.
template <class F>
int status_of(F f) {
  const pid_t child = ::fork();
  if (child == 0) {
    f();
    ::_exit(7);
  }
  BOOST_REQUIRE(child > 0);
  int status = 0;
  BOOST_REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(interrupt)

BOOST_AUTO_TEST_CASE(the_first_signal_is_noted) {
  {
    const InterruptGuard guard;
    BOOST_TEST(!interrupted());
    std::raise(SIGINT);
    BOOST_TEST(interrupted());
  }
  BOOST_TEST(interrupted());  // also after the guard's end
  const InterruptGuard guard;
  BOOST_TEST(!interrupted());
  BOOST_CHECK_THROW(InterruptGuard(), Error);
}

BOOST_AUTO_TEST_CASE(the_second_signal_kills) {
  const int status = status_of([] {
    const InterruptGuard guard;
    std::raise(SIGINT);
    std::raise(SIGINT);
  });
  BOOST_TEST(WIFSIGNALED(status));
  BOOST_TEST(WTERMSIG(status) == SIGINT);
}

BOOST_AUTO_TEST_CASE(sigterm_is_noted_too) {
  const int noted = status_of([] {
    const InterruptGuard guard;
    std::raise(SIGTERM);
    if (interrupted()) ::_exit(8);
  });
  BOOST_TEST(WIFEXITED(noted));
  BOOST_TEST(WEXITSTATUS(noted) == 8);
  const int killed = status_of([] {
    const InterruptGuard guard;
    std::raise(SIGTERM);
    std::raise(SIGTERM);
  });
  BOOST_TEST(WIFSIGNALED(killed));
  BOOST_TEST(WTERMSIG(killed) == SIGTERM);
}

BOOST_AUTO_TEST_CASE(what_was_set_before_comes_back) {
  const int killed = status_of([] {
    { const InterruptGuard guard; }
    std::raise(SIGINT);
  });
  BOOST_TEST(WIFSIGNALED(killed));
  const int ignored = status_of([] {
    std::signal(SIGINT, SIG_IGN);
    const InterruptGuard guard;
    std::raise(SIGINT);
    if (interrupted()) ::_exit(8);
  });
  BOOST_TEST(WIFEXITED(ignored));
  BOOST_TEST(WEXITSTATUS(ignored) == 7);
}

BOOST_AUTO_TEST_SUITE_END()
