#include "retort/framework/io/serialize.hpp"

#include <algorithm>

#include "retort/framework/io/safetensors.hpp"
#include "retort/framework/nn/module.hpp"

namespace retort {
namespace {

using Members = std::vector<detail::Member>;

StateDict without_prefix(StateDict state, const std::string& prefix) {
  if (prefix.empty()) return state;
  StateDict stripped;
  for (const auto& [name, tensor] : state) {
    const std::string_view own = std::string_view(name).substr(name.starts_with(prefix) ? prefix.size() : 0);
    if (!stripped.insert({std::string(own), tensor}))
      throw ValueError(message("two of its entries are named '{}' without the prefix '{}'", own, prefix));
  }
  return stripped;
}

// Adds the entries of tied tensors that are present under another of their names.
void add_tied(StateDict& state, const Members& members) {
  for (const detail::Member& member : members) {
    if (state.contains(member.name)) continue;
    const auto tied = std::ranges::find_if(members, [&](const detail::Member& other) {
      return detail::Access::same(other.tensor, member.tensor) && state.contains(other.name);
    });
    if (tied != members.end()) state[member.name] = Tensor(state.at(tied->name));
  }
}

// Removes unexpected entries, and adds the module's own values for missing ones.
LoadReport fit(StateDict& state, const Members& members) {
  LoadReport report;
  for (const auto& [name, tensor] : state)
    if (std::ranges::find(members, name, &detail::Member::name) == members.end())
      report.unexpected.push_back(name);
  for (const std::string& name : report.unexpected) state.erase(name);
  for (const detail::Member& member : members) {
    if (state.contains(member.name)) continue;
    report.missing.push_back(member.name);
    state[member.name] = member.tensor.detach().clone();
  }
  return report;
}

// Throws the error for an entry that exists in the file with an unsupported type.
void refuse_unsupported(const std::string& path, const StateDict& state, const Members& members,
                        const std::string& prefix) {
  if (std::ranges::all_of(members, [&](const auto& member) { return state.contains(member.name); })) return;
  for (const SafetensorsEntry& entry : safetensors_entries(path)) {
    const std::string name = entry.name.substr(entry.name.starts_with(prefix) ? prefix.size() : 0);
    const bool asked =
        !state.contains(name) && std::ranges::find(members, name, &detail::Member::name) != members.end();
    if (asked)
      throw ValueError(
          message("entry '{}' has the dtype '{}', which is not supported", entry.name, entry.dtype));
  }
}

}  // namespace

void save(const Module& module, const std::string& path) {
  // Python's loaders read "format" to determine the framework of the tensors.
  save_safetensors(path, module.state_dict(), {{"format", "pt"}});
}

LoadReport load(Module& module, const std::string& path, const LoadOptions& options) {
  StateDict state = load_safetensors(path);
  try {
    const Members members = detail::MemberAccess::state(module);
    state = without_prefix(std::move(state), options.strip_prefix);
    refuse_unsupported(path, state, members, options.strip_prefix);
    add_tied(state, members);
    LoadReport report;
    if (!options.strict) {
      const std::string of_file = state.empty() ? "" : state.begin()->first;
      report = fit(state, members);
      if (!members.empty() && report.missing.size() == members.size())
        detail::warn_once("load",
                          message("load: {}: has no entry of the module, which is unchanged; the file's "
                                  "first name is '{}' and the module's '{}' (see .strip_prefix)",
                                  path, of_file, members.front().name));
    }
    // Converted before the first value is written, so that nothing changes if memory runs out.
    for (const detail::Member& member : members)
      if (const auto found = state.find(member.name); found != state.end())
        found->second = found->second.to(member.tensor.dtype());
    module.load_state_dict(state);
    return report;
  } catch (const Error& error) {
    throw IoError(message("load: {}: {}", path, error.what()), path);
  }
}

}  // namespace retort
