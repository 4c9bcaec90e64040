// A module's weights to and from a file.
#pragma once

#include <string>
#include <vector>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

class Module;

struct LoadOptions {
  bool strict = true;  ///< whether names that are missing or unexpected are errors
  /// Removed from the beginning of the file's names that have it, such as "model." or "module.".
  std::string strip_prefix = {};
};

/// Entries found in only one of a file and a module.
struct LoadReport {
  std::vector<std::string> missing = {};  ///< the module's names that the file lacks; their values were kept
  std::vector<std::string> unexpected = {};  ///< the file's names, without the prefix, that the module lacks
};

/// Writes the module's parameters and buffers as a safetensors file, which Python's safetensors package and
/// PyTorch's load_state_dict take as it is. The file is there as a whole or not at all.
/// Throws: IoError when it cannot be written.
void save(const Module& module, const std::string& path);

/// Loads parameters and buffers from a safetensors file, converted to the module's element types.
/// Edge cases: a tied weight that the file leaves out is taken from the entry that it is tied to. Entries of
/// a type that is not supported count only where the module needs them.
/// Throws: IoError that names the file and lists every name of another shape and, if strict, every name that
/// is missing or unexpected; then nothing has changed.
LoadReport load(Module& module, const std::string& path, const LoadOptions& options = {});

}  // namespace retort
