// Former header of Dropout, kept for compatibility.
#pragma once

#include "retort/framework/nn/activation.hpp"
