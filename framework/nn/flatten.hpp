// Former header of Flatten, kept for compatibility.
#pragma once

#include "retort/framework/nn/activation.hpp"
