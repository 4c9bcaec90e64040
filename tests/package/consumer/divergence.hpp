#pragma once

#include <retort/framework/core/tensor.hpp>

/// sum(target · (log target - log_probabilities)) / rows.
double divergence(const retort::Tensor& log_probabilities, const retort::Tensor& target);
