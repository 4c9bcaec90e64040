// An array whose number of elements is fixed on construction. Internal.
#pragma once

#include <cstddef>
#include <span>

namespace retort::detail {

/// A fixed number of T, stored in the object itself up to `inline_count`.
template <class T, std::size_t inline_count>
class FixedArray : public std::span<T> {
 public:
  explicit FixedArray(std::size_t n) : std::span<T>(n > inline_count ? new T[n] : inline_, n) {}
  ~FixedArray() {
    if (this->data() != inline_) delete[] this->data();
  }
  FixedArray(const FixedArray&) = delete;
  FixedArray& operator=(const FixedArray&) = delete;

 private:
  T inline_[inline_count];
};

}  // namespace retort::detail
