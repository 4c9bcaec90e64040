#include "distill/report/gnuplot.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <retort/framework/base/error.hpp>
#include <retort/framework/train/report.hpp>
#include <utility>

extern char** environ;  // declared by the program, as POSIX requires

namespace distill {
namespace {

using retort::message;

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

std::string content_of(std::FILE* file) {
  std::string text;
  std::array<char, 4096> part{};
  std::rewind(file);
  while (const std::size_t count = std::fread(part.data(), 1, part.size(), file))
    text.append(part.data(), count);
  return text;
}

/// Runs gnuplot with files as its standard streams: unlike pipes, they need no reader while it writes.
/// Returns an errno, or 0.
int run(const std::array<std::FILE*, 3>& streams, int& status) {
  posix_spawn_file_actions_t actions;
  if (const int error = posix_spawn_file_actions_init(&actions)) return error;
  for (int stream = 0; stream < 3; ++stream)
    posix_spawn_file_actions_adddup2(&actions, fileno(streams[static_cast<std::size_t>(stream)]), stream);
  // -d ignores the user's gnuplot settings.
  std::array<char, 8> program = {"gnuplot"};
  std::array<char, 3> defaults = {"-d"};
  std::array<char*, 3> arguments = {program.data(), defaults.data(), nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, program.data(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error) return error;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return errno;
  return 0;
}

void replace_all(std::string& text, std::string_view from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

/// The document as an element of a page with several plots: without prolog and tool tips, and with unique
/// ids.
std::string embedded(std::string svg, const Plot& plot) {
  svg.erase(0, svg.find("<svg"));
  for (std::size_t begin = 0; (begin = svg.find("<title>", begin)) != std::string::npos;)
    svg.erase(begin, svg.find("</title>", begin) + std::strlen("</title>") - begin);
  for (const char* quote : {"'", "\""}) {
    replace_all(svg, std::string("id=") + quote, std::string("id=") + quote + plot.name + '-');
    replace_all(svg, std::string("href=") + quote + '#',
                std::string("href=") + quote + '#' + plot.name + '-');
  }
  return svg.insert(4, " role=\"img\" aria-label=\"" + retort::Report::escaped(plot.title) + '"');
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string result = "'";  // gnuplot expands nothing between single quotes; quotes are doubled
  for (const char c : text) {
    if (c == '\'') result += '\'';
    result += static_cast<unsigned char>(c) < ' ' || c == 0x7F ? ' ' : c;
  }
  return result + '\'';
}

Drawing draw(const Plot& plot) {
  const File script(std::tmpfile()), svg(std::tmpfile()), complaints(std::tmpfile());
  if (!script || !svg || !complaints)
    return {.problem = message("No temporary file for gnuplot: {}", std::strerror(errno))};
  const std::string terminal = message(
      "set terminal svg noenhanced dynamic size {},{} font 'sans-serif,13'\n", plot.width, plot.height);
  for (const std::string& text : {terminal, plot.script}) std::fputs(text.c_str(), script.get());
  if (std::fflush(script.get()) != 0)
    return {.problem = message("No temporary file for gnuplot: {}", std::strerror(errno))};
  std::rewind(script.get());

  int status = 0;
  const int error = run({script.get(), svg.get(), complaints.get()}, status);
  if (error == ENOENT)
    return {.problem =
                "gnuplot draws this picture, but is not installed: apt-get install gnuplot-nox, then "
                "distill report then makes this page again."};
  if (error) return {.problem = message("gnuplot cannot be run: {}", std::strerror(error))};
  std::string text = content_of(svg.get());
  if (status != 0 || text.find("<svg") == std::string::npos || text.find("</svg>") == std::string::npos) {
    std::string complaint = content_of(complaints.get());
    std::replace(complaint.begin(), complaint.end(), '\n', ' ');
    return {.problem = message("gnuplot failed: {}", complaint.substr(0, 400))};
  }
  return {.svg = embedded(std::move(text), plot)};
}

}  // namespace distill
