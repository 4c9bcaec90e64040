// Parts of a page.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace distill {

/// The text with &, <, >, " and ' written so that they stand for themselves, in text and in attributes.
std::string escaped(std::string_view text);

/// A grey image of values in [0, 1], row by row, as a data: address of a PNG file.
std::string png_address(std::span<const float> pixels, std::int64_t width);

}  // namespace distill
