#include "retort/framework/train/progress.hpp"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <thread>

#include "framework/io/files.hpp"
#include "retort/framework/base/error.hpp"
#include "tests_support.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

/// A terminal of this many columns, with a terminal's environment.
class Terminal {
 public:
  explicit Terminal(unsigned short columns, const char* type = "xterm", const char* no_color = nullptr)
      : type_("TERM", type), no_color_("NO_COLOR", no_color) {
    BOOST_REQUIRE(::openpty(&screen_, &program_, nullptr, nullptr, nullptr) == 0);
    resize(columns);
  }
  ~Terminal() {
    ::close(screen_);
    ::close(program_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  int descriptor() const { return program_; }
  void resize(unsigned short columns) const {
    const struct winsize size {
      24, columns, 0, 0
    };
    BOOST_REQUIRE(::ioctl(screen_, TIOCSWINSZ, &size) == 0);
  }
  /// The output since the last call; the terminal turns "\n" into "\r\n".
  std::string written() const {
    // Output arrives with a delay; a bell after it marks its end.
    BOOST_REQUIRE(::write(program_, "\a", 1) == 1);
    std::string text;
    while (!text.ends_with('\a')) {
      std::array<char, 4096> part{};
      const ssize_t size = ::read(screen_, part.data(), part.size());
      BOOST_REQUIRE(size > 0);
      text.append(part.data(), static_cast<std::size_t>(size));
    }
    text.pop_back();
    return text;
  }

 private:
  Variable type_, no_color_;
  int screen_ = -1, program_ = -1;
};

/// A file, for output that does not go to a terminal.
class Output {
 public:
  Output() : descriptor_(::open((folder_ / "out").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600)) {}
  ~Output() { ::close(descriptor_); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  int descriptor() const { return descriptor_; }
  std::string text() const { return read_file(folder_ / "out"); }

 private:
  TemporaryFolder folder_ = {};
  int descriptor_;
};

/// The visible text of the line: the text after the last carriage return, without the clearing sequence.
std::string shown(std::string text) {
  const std::size_t clear = text.rfind("\x1b[K");
  BOOST_REQUIRE(clear != std::string::npos);
  text.resize(clear);
  return text.substr(text.rfind('\r') + 1);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(progress)

BOOST_AUTO_TEST_CASE(a_file_gets_a_plain_line_for_each_epoch) {
  const Output output;
  {
    Progress progress("teacher", {.epochs = 10, .steps = 2, .descriptor = output.descriptor()});
    for (int epoch = 0; epoch < 10; ++epoch) {
      progress.step(3);
      progress.step(3);
      progress.epoch(epoch == 9 ? 1.25e-7 : 0.5);
    }
    progress.say("done");
  }
  const std::string text = output.text();
  BOOST_TEST(text.starts_with("teacher  epoch  1/10  loss 0.5000\nteacher  epoch  2/10  loss 0.5000\n"));
  BOOST_TEST(text.ends_with("\nteacher  epoch 10/10  loss 1.250e-07\ndone\n"));
  BOOST_TEST(std::count(text.begin(), text.end(), '\n') == 11);
  BOOST_TEST(!contains(text, "\x1b"));
}

BOOST_AUTO_TEST_CASE(a_terminal_gets_a_bar_that_is_drawn_anew_in_place) {
  const Terminal terminal(100);
  {
    Progress progress("student 0 alone", {.epochs = 2, .steps = 4, .descriptor = terminal.descriptor()});
    progress.step(0.75);
    std::string text = terminal.written();
    BOOST_TEST(contains(text, "\x1b[32m"));
    BOOST_TEST(shown(text).starts_with("student 0 alone  epoch 1/2 ["));
    BOOST_TEST(contains(text, " steps/s  "));
    BOOST_TEST(contains(text, " left  loss 0.7500"));
    progress.step(0.5);  // too early: nothing is drawn
    BOOST_TEST(terminal.written().empty());
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
    progress.step(0.25);
    BOOST_TEST(contains(shown(terminal.written()), "loss 0.2500"));
    progress.say("a line");
    text = terminal.written();
    BOOST_TEST(text.starts_with("\r\x1b[Ka line\r\n\rstudent 0 alone"));
    for (int i = 0; i < 5; ++i) progress.step(0.5);
    progress.epoch(0.125);
    text = terminal.written();
    BOOST_TEST(contains(shown(text), "epoch 2/2"));
    BOOST_TEST(contains(shown(text), "  in 0:00  loss 0.1250"));
    BOOST_TEST(!contains(shown(text), "-]"));
    BOOST_TEST(text.ends_with("\n"));
  }
  BOOST_TEST(terminal.written().empty());  // the line had been ended
  { Progress("stopped", {.steps = 100, .descriptor = terminal.descriptor()}).step(1); }
  BOOST_TEST(contains(shown(terminal.written()), "stopped  step   1/100 ["));
}

BOOST_AUTO_TEST_CASE(a_bar_that_is_not_finished_leaves_a_whole_line) {
  const Terminal terminal(80);
  { Progress("stopped", {.steps = 100, .descriptor = terminal.descriptor()}).step(1); }
  BOOST_TEST(terminal.written().ends_with("\x1b[K\r\n"));
  { Progress("nothing", {.descriptor = terminal.descriptor()}); }
  BOOST_TEST(terminal.written().empty());
}

BOOST_AUTO_TEST_CASE(the_line_fits_every_width) {
  const Terminal terminal(80, "xterm", "1");
  for (unsigned short width = 1; width < 140; ++width) {
    BOOST_TEST_CONTEXT("width " << width) {
      terminal.resize(width);
      Progress progress("Schüler 3 distilled",
                        {.epochs = 30, .steps = 15, .descriptor = terminal.descriptor()});
      progress.step(0.1234);
      const std::string line = shown(terminal.written());
      BOOST_TEST(!contains(line, "\x1b"));  // NO_COLOR
      const auto columns = static_cast<std::size_t>(
          std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; }));
      BOOST_TEST(columns <= width - 1U);
      BOOST_TEST((line.empty() || static_cast<unsigned char>(line.back()) != 0xC3));  // no half of the ü
      BOOST_TEST((width < 36 || contains(line, "Schüler 3 distilled  ")));
      BOOST_TEST((width < 36 || contains(line, " loss 0.1234")));
      BOOST_TEST((width < 60 || contains(line, "epoch  1/30 [")));
      BOOST_TEST((width < 110 || (contains(line, " left  ") && contains(line, " steps/s  "))));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_width_that_changes_is_noticed) {
  const Terminal terminal(100);
  Progress progress("teacher", {.epochs = 2, .steps = 4, .descriptor = terminal.descriptor()});
  progress.step(1);
  BOOST_TEST(shown(terminal.written()).size() > 60U);
  terminal.resize(30);
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  for (int i = 0; i < 4; ++i) progress.step(1);
  BOOST_TEST(shown(terminal.written()).size() <= 29U);
}

BOOST_AUTO_TEST_CASE(quiet_writes_nothing_and_a_dumb_terminal_gets_lines) {
  const Terminal dumb(80, "dumb");
  const auto run = [&](bool quiet) {
    Progress progress("teacher", {.epochs = 1, .steps = 1, .quiet = quiet, .descriptor = dumb.descriptor()});
    progress.step(1);
    progress.epoch(1);
    progress.say("line");
    return dumb.written();
  };
  BOOST_TEST(run(true).empty());
  BOOST_TEST(run(false) == "teacher  epoch 1/1  loss 1.0000\r\nline\r\n");
}

BOOST_AUTO_TEST_CASE(a_resumed_run_counts_on_and_its_rate_is_that_of_its_own_steps) {
  const Terminal terminal(100);
  Progress progress(
      "teacher",
      {.epochs = 4, .steps = 500'000'000, .done = 1'000'000'000, .descriptor = terminal.descriptor()});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  progress.step(1);
  const std::string line = shown(terminal.written());
  BOOST_TEST(contains(line, "epoch 3/4 ["));
  const std::size_t at = line.find("] ") + 2;
  BOOST_TEST(std::stod(line.substr(at)) <= 50);
}

BOOST_AUTO_TEST_CASE(where_nothing_can_be_written_the_run_goes_on) {
  Progress progress("teacher", {.descriptor = -1});
  progress.step(1);
  BOOST_CHECK_NO_THROW(progress.epoch(1));
  BOOST_CHECK_NO_THROW(progress.say("line"));
}

BOOST_AUTO_TEST_CASE(a_pipe_without_a_reader_does_not_end_the_run) {
  struct sigaction before {};
  ::sigaction(SIGPIPE, nullptr, &before);
  int ends[2];
  BOOST_REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  // The default action would end this process.
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &standard, nullptr);
  {
    Progress progress("teacher", {.epochs = 3, .descriptor = ends[1]});
    for (int epoch = 0; epoch < 3; ++epoch) {
      progress.step(1);
      progress.epoch(1);
      progress.say("line");
    }
  }
  struct sigaction after {};
  ::sigaction(SIGPIPE, &before, &after);
  BOOST_TEST(after.sa_handler == SIG_DFL);
  sigset_t set;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &set);
  BOOST_TEST(::sigismember(&set, SIGPIPE) == 0);
  ::sigpending(&set);
  BOOST_TEST(::sigismember(&set, SIGPIPE) == 0);

  // A warning, too.
  const int err = ::dup(STDERR_FILENO);
  ::dup2(ends[1], STDERR_FILENO);
  const WarningHandler handler = set_warning_handler({});
  detail::warn_once("progress_test", "nobody reads this");
  set_warning_handler(handler);
  ::dup2(err, STDERR_FILENO);
  ::close(err);
  ::close(ends[1]);
}

// One that the program itself has blocked and is waiting for is left to it.
BOOST_AUTO_TEST_CASE(a_signal_that_was_pending_stays) {
  sigset_t pipe, before, pending;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
  ::pthread_kill(::pthread_self(), SIGPIPE);
  int ends[2];
  BOOST_REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  Progress("teacher", {.descriptor = ends[1]}).say("line");
  ::close(ends[1]);
  ::sigpending(&pending);
  BOOST_TEST(::sigismember(&pending, SIGPIPE) == 1);
  const timespec now{};
  ::sigtimedwait(&pipe, nullptr, &now);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

BOOST_AUTO_TEST_CASE(wrong_options_are_told) {
  BOOST_CHECK_EXCEPTION(Progress("a", {.epochs = 0}), ValueError, says("0 epochs of 1 step"));
  BOOST_CHECK_EXCEPTION(Progress("a", {.steps = -1}), ValueError, says("-1 steps"));
  BOOST_CHECK_EXCEPTION(Progress("a", {.epochs = 2, .steps = 3, .done = 7}), ValueError, says("done is 7"));
}

BOOST_AUTO_TEST_SUITE_END()
