// Records the outputs of submodules.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "retort/framework/nn/module.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Records the last output, with its history, of the named modules inside `module` during its lifetime:
/// `FeatureRecorder features(teacher, {"blocks.1", "head"}); teacher(x); features["head"]`.
///
/// Works for all modules of the library, and for user-defined modules whose call operator returns
/// `this->output(y)`. The name "" is `module` itself.
/// Throws: ValueError if there is no module with one of the names.
class FeatureRecorder {
 public:
  FeatureRecorder(const Module& module, const std::vector<std::string>& names);
  ~FeatureRecorder();
  FeatureRecorder(const FeatureRecorder&) = delete;
  FeatureRecorder& operator=(const FeatureRecorder&) = delete;

  /// The last output of the module with that name.
  /// Throws: ValueError if the name is not recorded, or the module has produced no output since the recorder
  /// was created.
  Tensor operator[](const std::string& name) const;

 private:
  std::vector<std::pair<std::string, detail::Ref<detail::Recording>>> recordings_;
};

}  // namespace retort
