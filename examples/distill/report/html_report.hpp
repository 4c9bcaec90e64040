// The HTML report of a run.
#pragma once

#include <string>

#include "distill/run/data.hpp"

namespace distill {

/// Writes report.html from the files in a run's folder: one self-contained page for light and dark
/// backgrounds.
/// Throws: IoError naming the file if one is missing or broken, or if the page cannot be written.
void write_html_report(const std::string& run_folder, const Data& data);

}  // namespace distill
