// Saving and loading a module's weights.
#pragma once

#include <string>
#include <vector>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

class Module;

struct LoadOptions {
  bool strict = true;  ///< treat missing and unexpected names as errors
  /// Prefix, such as "model." or "module.", to remove from the file's names.
  std::string strip_prefix = {};
};

/// Entries found in only the file or only the module.
struct LoadReport {
  /// Names of the module missing from the file; their values are kept.
  std::vector<std::string> missing = {};
  /// Names in the file, without the prefix, missing from the module.
  std::vector<std::string> unexpected = {};
};

/// Writes the module's parameters and buffers as a safetensors file, compatible with Python's safetensors
/// package and PyTorch's load_state_dict, completely or not at all.
/// Throws: IoError if it cannot be written.
void save(const Module& module, const std::string& path);

/// Loads parameters and buffers from a safetensors file, converted to the module's element types.
/// Edge cases: a tied weight missing from the file is taken from the entry that it is tied to. Entries of an
/// unsupported type matter only if the module needs them. If not strict, a file without any of the
/// module's names changes nothing and causes a warning.
/// Throws: IoError naming the file and listing all misshaped entries and, if strict, all missing and
/// unexpected ones; nothing is then changed.
LoadReport load(Module& module, const std::string& path, const LoadOptions& options = {});

}  // namespace retort
