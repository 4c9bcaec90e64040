// Progress of a run on the terminal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

struct ProgressOptions {
  std::int64_t epochs = 1;
  std::int64_t steps = 1;  ///< of an epoch
  std::int64_t done = 0;   ///< steps made before, of a run that is resumed
  bool quiet = false;      ///< write nothing at all
  int descriptor = 2;      ///< where it is written to: stderr
};

/// Shows how far training is: on a terminal one line with a bar, the rate, the time left and the loss, fitted
/// to the width, a few times a second; elsewhere (a file, a pipe, TERM=dumb) a plain line for each epoch, and
/// every ten seconds within a long one. Colour only on a terminal, and not with NO_COLOR in the environment.
/// A failure to write is ignored. ValueError for epochs or steps below 1, or `done` outside [0, epochs ×
/// steps].
class Progress {
 public:
  explicit Progress(std::string name, ProgressOptions options);
  /// Leaves the bar as it is and ends its line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// After each step, with the loss of its batch. Mostly this counts: the clock is read once in a
  /// millisecond.
  void step(double loss) {
    loss_ = loss;
    if (++done_ >= look_at_) look();
  }
  /// After each epoch, with its mean loss.
  void epoch(double mean_loss);
  /// Writes a line of its own, above the bar.
  void say(std::string_view line);

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
  bool bar_ = false;  // rather than plain lines
  bool colour_ = false;
  bool shown_ = false;  // the bar's line has not been ended
  double loss_ = 0;
  std::int64_t done_ = 0;
  std::int64_t look_at_ = 0;  // the number of steps at which the clock is read next
  std::int64_t stride_ = 1;
  double start_ = 0;  // seconds, of a clock that only goes forward
  double last_look_ = 0;
  double last_shown_ = 0;
};

}  // namespace retort
