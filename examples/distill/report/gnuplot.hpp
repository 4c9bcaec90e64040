// Pictures drawn by gnuplot, for a page.
#pragma once

#include <string>
#include <string_view>

namespace distill {

/// A script for gnuplot, but for its terminal.
struct Plot {
  std::string name = {};   ///< unique in a page: letters, digits and '-'
  std::string title = {};  ///< what screen readers say
  std::string script = {};
  int width = 420;
  int height = 280;
};

struct Drawing {
  std::string svg = {};      ///< an <svg> element; empty when there is a problem
  std::string problem = {};  ///< the cause of a missing picture, with the remedy
};

/// Lets the program gnuplot, looked up in PATH, draw it. Text and background are left to the page: text has
/// its colour and font. What goes wrong is told in the result and never thrown: a page can do without a
/// picture.
Drawing draw(const Plot& plot);

/// A text as a gnuplot script holds it: nothing in it is evaluated.
std::string quoted(std::string_view text);

}  // namespace distill
