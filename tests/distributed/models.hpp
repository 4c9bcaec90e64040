// The models that are trained as one process and as several.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <retort/retort.hpp>

namespace distributed {

/// A model with its data and its loss on some rows.
struct Task {
  std::unique_ptr<retort::Module> model;
  retort::Dataset data;
  std::function<retort::Tensor(const retort::Batch&)> loss;
};

/// Dropout; a frozen layer; one that is never used, and one that only some shards use; a weight that is used
/// twice.
Task mlp();
/// Convolutions and batch norm.
Task cnn();
/// Token and position embeddings and a layer of attention, in float64.
Task transformer();

}  // namespace distributed
