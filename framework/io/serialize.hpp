// A module's weights to and from a file.
#pragma once

#include <string>

namespace retort {

class Module;

/// Writes the module's parameters and buffers as a safetensors file, which Python's safetensors package and
/// PyTorch's load_state_dict take as it is. The file is there as a whole or not at all. IoError when it
/// cannot be written.
void save(const Module& module, const std::string& path);

/// Loads parameters and buffers from a safetensors file, converted to the module's element types. IoError
/// that names the file and lists every name that is missing, unexpected or of another shape; then nothing has
/// changed.
void load(Module& module, const std::string& path);

}  // namespace retort
