// The frame of a report: page.html with page.css in it, embedded by CMake.
#pragma once

namespace distill {

/// Contains {title} twice and {sections} once.
extern const char* const page_template;

}  // namespace distill
