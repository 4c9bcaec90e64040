// The cases that all programs measure.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

namespace bench {

/// Each with its name, the fields that make_work() reads, and the parts of its limit: `products` (matrix
/// products of which one run consists) or `flops`, and `bytes` (that must move to and from memory).
/// `per` divides times; a `heavy` case takes seconds.
std::vector<nlohmann::json> cases();

}  // namespace bench
