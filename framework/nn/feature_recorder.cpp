#include "retort/framework/nn/feature_recorder.hpp"

namespace retort {

FeatureRecorder::FeatureRecorder(const Module& module, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const Module* found = &module;
    for (std::string rest = name; !rest.empty();) {
      const Module* next = nullptr;
      std::string below;
      for (const detail::Member& member : found->members()) {  // a name may itself contain a dot: "blocks.1"
        if (!member.child || !rest.starts_with(member.name)) continue;
        if (rest.size() > member.name.size() && rest[member.name.size()] != '.') continue;
        next = member.child;
        below = rest.size() > member.name.size() ? rest.substr(member.name.size() + 1) : std::string();
        break;
      }
      if (!next) {
        std::string inside;
        for (const detail::Member& member : found->members())
          if (member.child) inside += message("{}'{}'", inside.empty() ? "" : ", ", member.name);
        throw ValueError(message("FeatureRecorder: no module is named '{}'; the parent of '{}' has {}", name,
                                 rest, inside.empty() ? "no modules" : inside));
      }
      found = next;
      rest = std::move(below);
    }
    recordings_.emplace_back(name, detail::Ref<detail::Recording>(new detail::Recording()));
    found->recordings_.push_back(recordings_.back().second);
  }
}

FeatureRecorder::~FeatureRecorder() {
  for (const auto& [name, recording] : recordings_) {
    recording->is_active = false;
    recording->output = Tensor();
  }
}

Tensor FeatureRecorder::operator[](const std::string& name) const {
  for (const auto& [recorded, recording] : recordings_) {
    if (recorded != name) continue;
    if (recording->output.defined()) return recording->output;
    throw ValueError(message(
        "FeatureRecorder: '{}' has given no output yet; call the module first, and let a call operator "
        "of your own return this->output(y)",
        name));
  }
  throw ValueError(
      message("FeatureRecorder: '{}' is not recorded; name it when the recorder is constructed", name));
}

}  // namespace retort
