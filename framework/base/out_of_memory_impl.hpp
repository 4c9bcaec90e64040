// The exception of a failed allocation. Internal.
#pragma once

#include <cstddef>
#include <new>
#include <stdexcept>

#include "retort/framework/base/error.hpp"

namespace retort::detail {

/// A std::bad_alloc with a text, which begins with the operation if it is known.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(const std::string& text, const char* operation = nullptr)
      : text_((operation != nullptr ? message("{}: ", operation) : "") + "out of memory: " + text) {}
  const char* what() const noexcept override { return text_.what(); }

 private:
  std::runtime_error text_;  // its copies do not throw
};

/// Throws: OutOfMemory for `what`, which needs `bytes` bytes.
[[noreturn]] inline void out_of_memory(const char* what, std::size_t bytes) {
  throw OutOfMemory(message("{} of {} bytes", what, bytes));
}

}  // namespace retort::detail
