// The cases that all programs measure.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

namespace bench {

/// Each with its name, what make_work() reads, and what the limit is made of: `products` (matrix products of
/// which one run consists) and `bytes` (that must move to and from memory). `per` divides times; a `heavy`
/// case takes seconds.
std::vector<nlohmann::json> cases();

}  // namespace bench
