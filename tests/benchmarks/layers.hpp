// The layers and small networks that retort_bench measures.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>

namespace bench {

/// One call runs the layer of the request forward and backward; a step updates its parameters too.
std::function<void()> layer(const nlohmann::json& request);

}  // namespace bench
