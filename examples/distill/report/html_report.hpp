// A run as a page to look at.
#pragma once

#include <string>

#include "distill/run/data.hpp"

namespace distill {

/// Makes report.html from the files in a run's folder: one page that needs no other file, on light and
/// dark ground. Curves are gnuplot's; without that program the page says which package it comes in and shows
/// the rest. IoError that names what is missing or broken in the folder, or why the page cannot be written.
void write_html_report(const std::string& run_folder, const Data& data);

}  // namespace distill
