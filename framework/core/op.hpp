// Includes everything for defining an operation: record(), rules, and rules by reference.
#pragma once

#include "retort/framework/core/factories.hpp"
#include "retort/framework/core/record.hpp"
#include "retort/framework/core/reference.hpp"
