#include "progress.hpp"

#include <unistd.h>

#include <iomanip>
#include <iostream>
#include <sstream>

namespace distill {

Progress::Progress(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1) {}

void Progress::epoch(const std::string& name, std::int64_t epoch, std::int64_t epochs, double loss) {
  if (quiet_) return;
  std::ostringstream line;
  line << name << "  epoch " << std::setw(static_cast<int>(std::to_string(epochs).size())) << epoch << '/'
       << epochs << "  loss " << std::fixed << std::setprecision(4) << loss;
  if (terminal_) {
    std::cerr << '\r' << line.str() << "\x1b[K" << (epoch == epochs ? "\n" : "") << std::flush;
  } else {
    std::cerr << line.str() << '\n';
  }
}

void Progress::say(const std::string& line) {
  if (!quiet_) std::cerr << line << '\n';
}

}  // namespace distill
