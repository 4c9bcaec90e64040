// Knowledge distillation from beginning to end. `distill --help` says what can be set.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <new>
#include <retort/framework/core/threads.hpp>
#include <string>

#include "data.hpp"
#include "experiment.hpp"
#include "options.hpp"
#include "output_file.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "selection.hpp"

namespace {

void run(const distill::Options& options) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  if (options.threads > 0) retort::set_num_threads(static_cast<int>(options.threads));

  const distill::Data data = distill::load_data(options.data);
  const distill::Grid grid;
  distill::require_images(data, options.student_images, options.select ? grid.held_out : 0);
  const distill::OutputFile out(options.out, options.select ? "SELECTION.md" : "result.json");
  distill::Progress progress(options.quiet);
  if (options.select) {
    const distill::Selection selection = distill::select(data, options, grid, progress);
    const std::string page = distill::page_of(selection, options, grid, seconds());
    out.write(page);
    std::cout << page;
  } else {
    distill::Result result = distill::run_experiment(data, options, progress);
    result.seconds = seconds();
    out.write(distill::json_of(result));
    std::cout << distill::table_of(result);
  }
  std::cout << "\nwritten to " << out.path() << '\n';
}

/// Exactly one line on stderr.
int fail(std::string message) {
  std::replace_if(
      message.begin(), message.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }, ' ');
  std::cerr << "distill: " << message << '\n';
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (const auto options = distill::parse_options(argc, argv)) run(*options);
    return 0;
  } catch (const std::bad_alloc&) {
    return fail("out of memory; try a smaller --batch-size or --teacher-width");
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}
