// Names that the fragments on the pages use without declaring them. The fragments are compiled, not linked.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <retort/retort.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace prelude {

namespace rt = retort;

extern rt::Sequential model, student, teacher;
extern rt::Linear head;
extern rt::SGD optimizer;
extern rt::Communicator world;
extern rt::Dataset train, test;
extern rt::Batch batch;
extern rt::DataLoader loader;
extern rt::Tensor x, y, hidden, answers, mask;
extern std::uint64_t seed;
void log_line(std::string_view text);

}  // namespace prelude
