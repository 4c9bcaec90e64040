#include <string_view>

#include "retort/framework/base/error.hpp"
#include "retort/framework/data/data_loader.hpp"
#include "retort/framework/train/training_impl.hpp"
#include "retort/optim/lr_scheduler.hpp"
#include "retort/optim/optimizer.hpp"

namespace retort::detail {
namespace {

using Json = nlohmann::ordered_json;

/// Calls f(rest of the name, tensor) for the entries whose names have the prefix.
template <class F>
void for_each_with(std::string_view prefix, const StateDict& state, F f) {
  for (const auto& [name, tensor] : state)
    if (name.starts_with(prefix)) f(name.substr(prefix.size()), tensor);
}

std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  const std::string text = value.dump();
  return text.ends_with(".0") ? text.substr(0, text.size() - 2) : text;
}

}  // namespace

Json describe(const CheckpointParts& parts, const TrainingOptions& options) {
  const DataLoader& loader = *parts.loader;
  const DataLoaderOptions& chosen = loader.options();
  Json all = {{"rows", loader.source().size()},
              {"batch_size", chosen.batch_size},
              {"order", chosen.shuffle         ? "shuffled"
                        : chosen.sampler.order ? "chosen by a sampler"
                                               : "in order"},
              {"seed", loader.position().seed},
              {"optimizer", nullptr},
              {"optimizer options", Json::object()},
              {"schedule", nullptr},
              {"schedule options", nullptr},
              {"average", nullptr},
              {"clip_grad_norm", options.clip_grad_norm},
              {"shards", options.shards}};
  if (parts.optimizer) {
    const StateDict state = parts.optimizer->state_dict();
    for_each_with("class.", state, [&](const std::string& name, const Tensor&) { all["optimizer"] = name; });
    const std::string groups = "param_groups.", first = groups + "0.";
    const bool one = parts.optimizer->group_count() == 1;
    for_each_with(one ? first : groups, state, [&](const std::string& name, const Tensor& value) {
      if (value.dim() == 0) all["optimizer options"][one ? name : groups + name] = value.item<double>();
    });
  }
  for (const LRScheduler* const schedule : parts.schedulers) {
    const StateDict state = schedule->state_dict();
    for (const auto& [prefix, key] : {std::pair("schedule.", "schedule"), {"options.", "schedule options"}})
      for_each_with(prefix, state, [&, to = key](const std::string& text, const Tensor&) {
        all[to] = all[to].is_null() ? text : all[to].get<std::string>() + "; " + text;
      });
  }
  if (parts.average) all["average"] = "ExponentialMovingAverage";
  return all;
}

std::string difference(const Json& there, const Json& here, const std::string& key) {
  if (!there.contains(key) || !here.contains(key)) return {};
  const Json &before = there.at(key), &now = here.at(key);
  std::string name = key;
  if (name.starts_with("optimizer")) name.replace(0, 9, "optimiser");
  if (now.is_object()) {
    for (const auto& [option, unused] : now.items())
      if (const std::string text = difference(before, now, option); !text.empty())
        return message("{} {}", name.substr(0, name.size() - 1), text);  // "optimiser option lr 0.1, …"
    return {};
  }
  if (before == now) return {};
  return message("{}, but this one has {}", before.is_null() ? "no " + name : name + ' ' + text_of(before),
                 now.is_null() ? "none" : text_of(now));
}

}  // namespace retort::detail
