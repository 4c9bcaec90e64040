// Compares a resumed training with its beginning. Internal.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "retort/framework/train/training.hpp"

namespace retort::detail {

/// The parts and options that determine the results of a training; null for those that are absent.
nlohmann::ordered_json describe(const CheckpointParts& parts, const TrainingOptions& options);

/// Text such as "optimiser SGD, but this one has Adam" if two descriptions have different values of `key`;
/// empty otherwise, or if `there` lacks the value, as descriptions of earlier versions may.
std::string difference(const nlohmann::ordered_json& there, const nlohmann::ordered_json& here,
                       const std::string& key);

}  // namespace retort::detail
