#include "retort/framework/train/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"

namespace retort {
namespace {

constexpr double bar_interval = 0.2;  // seconds
constexpr double plain_interval = 10;
constexpr double look_interval = 0.001;
constexpr std::int64_t max_stride = 64;  // bounds the delay in noticing a slow step
constexpr std::int64_t min_bar = 6, max_bar = 40;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class... Numbers>
std::string print(const char* pattern, Numbers... numbers) {
  std::array<char, 64> text{};
  const int size = std::snprintf(text.data(), text.size(), pattern, numbers...);
  return {text.data(), static_cast<std::size_t>(std::clamp(size, 0, static_cast<int>(text.size()) - 1))};
}

std::string loss_text(double loss) {
  const double size = std::abs(loss);
  return print(size != 0 && (size < 1e-3 || size >= 1e5) ? "loss %.3e" : "loss %.4f", loss);
}

std::string rate_text(double rate) {
  return print(rate >= 100 ? "%.0f steps/s" : rate >= 10 ? "%.1f steps/s" : "%.2f steps/s", rate);
}

// 0:12, 3:45, 1:02:03.
std::string time_text(double time) {
  if (!(time < 1e7)) return "-:--";  // no step yet
  const long all = std::lround(time), minutes = all / 60;
  if (minutes < 60) return print("%ld:%02ld", minutes, all % 60);
  return print("%ld:%02ld:%02ld", minutes / 60, minutes % 60, all % 60);
}

// "epoch  3/20".
std::string counted(const char* unit, std::int64_t now, std::int64_t all) {
  std::string text = std::to_string(now);
  const std::string total = std::to_string(all);
  if (text.size() < total.size()) text.insert(0, total.size() - text.size(), ' ');
  return message("{}{}/{}", unit, text, total);
}

// Width in columns: one per code point.
std::int64_t width_of(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

std::string cut(std::string text, std::int64_t width) {
  while (width_of(text) > width)
    text.pop_back();  // pops continuation bytes and then the first byte of a code point
  return text;
}

bool is_set(const char* variable) {
  const char* const value = std::getenv(variable);
  return value && *value != '\0';
}

// True for a terminal that supports returning to the start of a line and clearing the rest.
bool is_terminal(int descriptor) {
  return ::isatty(descriptor) == 1 && is_set("TERM") && std::string_view(std::getenv("TERM")) != "dumb";
}

std::int64_t terminal_width(int descriptor) {
  struct winsize size {};
  return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Progress::Progress(std::string name, ProgressOptions options)
    : name_(std::move(name)), options_(options), done_(options.done) {
  const auto& [epochs, steps, done, quiet, descriptor] = options_;
  std::int64_t total = 0;
  if (epochs < 1 || steps < 1 || __builtin_mul_overflow(epochs, steps, &total))
    throw ValueError(message("Progress: {} of {}; both must be at least 1", detail::counted(epochs, "epoch"),
                             detail::counted(steps, "step")));
  if (done < 0 || done > total)
    throw ValueError(
        message("Progress: done is {}; it must be between 0 and {}", done, detail::counted(total, "step")));
  bar_ = !quiet && is_terminal(descriptor);
  colour_ = bar_ && !is_set("NO_COLOR");
  start_ = last_look_ = seconds();
  last_shown_ = bar_ ? start_ - 2 * bar_interval : start_;  // the first step shows the bar
  look_at_ = quiet ? std::numeric_limits<std::int64_t>::max() : done_ + 1;
}

Progress::~Progress() {
  if (shown_) write("\n");
}

void Progress::look() {
  const double now = seconds();
  // The number of steps that take one interval at the current speed.
  const double fit = look_interval / std::max(now - last_look_, 1e-9) * static_cast<double>(stride_);
  stride_ = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::min(fit, 1e6)), 1,
                                     std::min(max_stride, 2 * stride_));
  last_look_ = now;
  look_at_ = done_ + stride_;
  if (now - last_shown_ < (bar_ ? bar_interval : plain_interval)) return;
  last_shown_ = now;
  if (bar_) {
    draw(now);
  } else {
    const std::int64_t step = (done_ - 1) % options_.steps + 1;
    write(message("{}  {}{}  {}  {} left  {}\n", name_, counter(),
                  options_.epochs > 1 ? message("  step {}/{}", step, options_.steps) : "",
                  rate_text(rate(now)), time_text(left(now)), loss_text(loss_)));
  }
}

void Progress::epoch(double mean_loss) {
  loss_ = mean_loss;
  if (options_.quiet) return;
  if (!bar_) {
    write(message("{}  {}  {}\n", name_, counted("epoch ", current_epoch(), options_.epochs),
                  loss_text(loss_)));
  } else if (done_ < options_.epochs * options_.steps) {
    look();
  } else {
    draw(seconds());
    write("\n");
    shown_ = false;
  }
}

void Progress::say(std::string_view line) {
  if (options_.quiet) return;
  write(message("{}{}\n", shown_ ? "\r\x1b[K" : "", line));
  if (shown_) draw(seconds());
}

double Progress::rate(double now) const {
  return static_cast<double>(done_ - options_.done) / std::max(now - start_, 1e-9);
}

double Progress::left(double now) const {
  return static_cast<double>(std::max<std::int64_t>(options_.epochs * options_.steps - done_, 0)) / rate(now);
}

std::int64_t Progress::current_epoch() const {
  return std::max<std::int64_t>((done_ + options_.steps - 1) / options_.steps, 1);
}

// The counter on display: epochs, or steps in a run of one epoch.
std::string Progress::counter() const {
  return options_.epochs > 1 ? counted("epoch ", current_epoch(), options_.epochs)
                             : counted("step ", done_, options_.steps);
}

std::string Progress::bar_line(std::int64_t width, double now) const {
  const std::int64_t total = options_.epochs * options_.steps;
  const std::string name = name_ + "  ", where = counter() + " ", loss = loss_text(loss_);
  std::string rate = rate_text(this->rate(now)) + "  ";
  std::string time =
      done_ < total ? time_text(left(now)) + " left  " : "in " + time_text(now - start_) + "  ";
  std::int64_t room = 0;
  const auto fits = [&] {
    room = width - width_of(name + where + rate + time + loss) - 3;  // brackets, and a space after them
    return room >= min_bar;
  };
  if (!fits()) rate.clear();
  if (!fits()) time.clear();
  if (!fits()) return cut(room + 2 >= 0 ? name + where + " " + loss : name + loss, width);

  const std::int64_t length = std::min(room, max_bar);
  const auto filled = static_cast<std::int64_t>(
      static_cast<double>(length) * static_cast<double>(std::min(done_, total)) / static_cast<double>(total));
  const std::string full(static_cast<std::size_t>(filled), '#');
  const std::string rest(static_cast<std::size_t>(length - filled), '-');
  const char* const green = colour_ ? "\x1b[32m" : "";
  const char* const plain = colour_ ? "\x1b[0m" : "";
  return message("{}{}[{}{}{}{}] {}{}{}", name, where, green, full, plain, rest, rate, time, loss);
}

void Progress::draw(double now) {
  // The last column stays empty: some terminals wrap there.
  write(message("\r{}\x1b[K", bar_line(terminal_width(options_.descriptor) - 1, now)));
  shown_ = true;
}

void Progress::write(std::string_view text) const { detail::write_quietly(options_.descriptor, text); }

}  // namespace retort
