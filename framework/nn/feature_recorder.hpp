// The outputs of modules inside a module.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "retort/framework/nn/module.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Keeps the last output of some modules inside `module`, with its history, for as long as it lives:
/// `FeatureRecorder features(teacher, {"blocks.1", "head"}); teacher(x); features["head"]`.
///
/// It works for all of the library's modules, and for a module of your own whose call operator returns
/// `this->output(y)`. The name "" is the module itself.
/// Throws: ValueError for a name that no module has.
class FeatureRecorder {
 public:
  FeatureRecorder(const Module& module, const std::vector<std::string>& names);
  ~FeatureRecorder();
  FeatureRecorder(const FeatureRecorder&) = delete;
  FeatureRecorder& operator=(const FeatureRecorder&) = delete;

  /// The last output of that module.
  /// Throws: ValueError for a name that is not recorded, and if the module has given no output since the
  /// recorder was made.
  Tensor operator[](const std::string& name) const;

 private:
  std::vector<std::pair<std::string, detail::Ref<detail::Recording>>> recordings_;
};

}  // namespace retort
