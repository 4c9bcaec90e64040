// Parts of a page.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace distill {

/// The text with &, <, >, " and ' escaped for text and attributes.
std::string escaped(std::string_view text);

/// A grey image of values in [0, 1], row by row, as a data: address of a PNG file.
std::string png_address(std::span<const float> pixels, std::int64_t width);

/// Replaces each `from` in the text.
void replace_all(std::string& text, std::string_view from, const std::string& to);

}  // namespace distill
