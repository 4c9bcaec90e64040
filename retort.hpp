// Everything that Retort offers, but for <retort/framework/xtensor.hpp>, which needs xtensor.
#pragma once

#include "retort/framework/core/array.hpp"
#include "retort/framework/core/dtype.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/error.hpp"
#include "retort/framework/core/gradcheck.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/core/pool.hpp"
#include "retort/framework/core/random.hpp"
#include "retort/framework/core/shape.hpp"
#include "retort/framework/core/state_dict.hpp"
#include "retort/framework/core/tensor.hpp"
#include "retort/framework/kernels/parallel.hpp"
