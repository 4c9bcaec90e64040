// Progress display on the terminal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

struct ProgressOptions {
  std::int64_t epochs = 1;
  std::int64_t steps = 1;  ///< per epoch
  std::int64_t done = 0;   ///< steps already done by a resumed run
  bool quiet = false;      ///< write nothing
  int descriptor = 2;      ///< file descriptor for output: stderr
};

/// Displays the progress of training. On a terminal: one line with a bar, the rate, the time left and the
/// loss, fitted to the width, updated a few times per second. Elsewhere (a file, a pipe, TERM=dumb): a plain
/// line per epoch, and every ten seconds within a long one. Colour is used only on a terminal without
/// NO_COLOR in the environment. Write failures are ignored.
/// Throws: ValueError if epochs or steps is less than 1, or `done` is outside [0, epochs × steps].
class Progress {
 public:
  explicit Progress(std::string name, ProgressOptions options);
  /// Keeps the bar and ends its line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Call it after each step, with the loss of the batch. It usually only counts: the clock is read about
  /// once per millisecond.
  void step(double loss) {
    loss_ = loss;
    if (++done_ >= look_at_) look();
  }
  /// Call it after each epoch, with the mean loss.
  void epoch(double mean_loss);
  void say(std::string_view line);  ///< Writes a separate line, above the bar.

 private:
  void look();
  void draw(double now);
  void write(std::string_view text) const;
  std::string bar_line(std::int64_t width, double now) const;
  std::int64_t current_epoch() const;
  std::string counter() const;
  double rate(double now) const;
  double left(double now) const;

  std::string name_;
  ProgressOptions options_;
  bool bar_ = false;  // instead of plain lines
  bool colour_ = false;
  bool shown_ = false;  // the bar's line has not been ended
  double loss_ = 0;
  std::int64_t done_ = 0;
  std::int64_t look_at_ = 0;  // number of steps at which the clock is next read
  std::int64_t stride_ = 1;
  double start_ = 0;  // seconds of a monotonic clock
  double last_look_ = 0;
  double last_shown_ = 0;
};

}  // namespace retort
