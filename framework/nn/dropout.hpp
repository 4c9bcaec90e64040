// Dropout, under its earlier header.
#pragma once

#include "retort/framework/nn/activation.hpp"
