// The version of the headers. CMake reads the project's version from here.
#pragma once

#define RETORT_VERSION_MAJOR 0
#define RETORT_VERSION_MINOR 1
#define RETORT_VERSION_PATCH 0
#define RETORT_VERSION "0.1.0"
