// Plots drawn by gnuplot for an HTML page.
#pragma once

#include <string>
#include <string_view>

namespace distill {

/// A gnuplot script without the line that sets the terminal.
struct Plot {
  std::string name = {};   ///< unique on the page: letters, digits and '-'
  std::string title = {};  ///< label for screen readers
  std::string script = {};
  int width = 420;
  int height = 280;
};

struct Drawing {
  std::string svg = {};      ///< an <svg> element; empty if there is a problem
  std::string problem = {};  ///< why there is no picture, and the remedy
};

/// Draws the plot with the program gnuplot, found in PATH. Text has the page's colour and font, and the page
/// provides the background. Failures are returned in the result and not thrown: the page is useful without
/// the picture.
Drawing draw(const Plot& plot);

/// A text as a gnuplot string; nothing in it is evaluated.
std::string quoted(std::string_view text);

}  // namespace distill
