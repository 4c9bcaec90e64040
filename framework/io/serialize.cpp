#include "retort/framework/io/serialize.hpp"

#include "retort/framework/io/safetensors.hpp"
#include "retort/framework/nn/module.hpp"

namespace retort {

void save(const Module& module, const std::string& path) {
  // "format" is what Python's loaders look at to know whose layout the tensors have.
  save_safetensors(path, module.state_dict(), {{"format", "pt"}});
}

void load(Module& module, const std::string& path) {
  const StateDict state = load_safetensors(path);
  try {
    module.load_state_dict(state);
  } catch (const Error& error) {
    throw IoError(message("load: {}: {}", path, error.what()), path);
  }
}

}  // namespace retort
