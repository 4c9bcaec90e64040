#include "retort/framework/nn/state_check.hpp"

#include <algorithm>
#include <unordered_set>

namespace retort::detail {

void check_state(std::string_view what, const StateDict& state, const std::vector<ExpectedEntry>& expected) {
  std::string missing, misshaped, unexpected;
  const auto list = [](std::string& text, const std::string& item) {
    text += text.empty() ? item : ", " + item;
  };
  std::unordered_set<std::string_view> known;
  for (const ExpectedEntry& entry : expected) {
    known.insert(entry.name);
    const auto found = state.find(entry.name);
    if (found == state.end()) {
      list(missing, entry.name);
    } else if (!found->second.defined()) {
      list(misshaped, message("{} is undefined, not {}", entry.name, entry.shape));
    } else if (const Shape& shape = found->second.shape();
               shape != entry.shape && !(entry.may_be_empty && shape == Shape{0})) {
      list(misshaped, message("{} has shape {}, not {}", entry.name, shape, entry.shape));
    }
  }
  for (const auto& [name, tensor] : state)
    if (!known.contains(name)) list(unexpected, name);

  std::string text;
  const auto add = [&text](const char* kind, const std::string& names) {
    if (!names.empty()) text += message("{}{}: {}", text.empty() ? " " : "; ", kind, names);
  };
  add("missing", missing);
  add("unexpected", unexpected);
  add("of another shape", misshaped);
  if (!text.empty()) throw ValueError(message("{}: the state dict does not fit;{}", what, text));
}

void copy_values(const Tensor& from, const Tensor& to) {
  const Tensor converted = from.detach().to(to.dtype());
  visit_dtype(to.dtype(), [&](auto zero) {
    using T = decltype(zero);
    std::ranges::copy(converted.data<T>(), to.mutable_data<T>().begin());
  });
}

}  // namespace retort::detail
