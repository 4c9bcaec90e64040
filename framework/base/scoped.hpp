// Variables that are set temporarily. Internal.
#pragma once

#include <utility>

namespace retort::detail {

/// Sets a variable for the lifetime of this object.
template <class T>
class Scoped {
 public:
  Scoped(T& variable, T value) : variable_(variable), previous_(std::exchange(variable, value)) {}
  ~Scoped() { variable_ = previous_; }
  Scoped(const Scoped&) = delete;
  Scoped& operator=(const Scoped&) = delete;

 private:
  T& variable_;
  const T previous_;
};

}  // namespace retort::detail
