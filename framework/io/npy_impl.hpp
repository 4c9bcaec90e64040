// The .npy format, for readers of containers. Internal.
#pragma once

#include <functional>
#include <string>

#include "retort/framework/core/tensor.hpp"
#include "retort/framework/io/input_impl.hpp"

namespace retort::detail {

/// The bytes of one .npy file in order, from any source.
class NpyStream {
 public:
  /// `what` names an entry in errors ("" for the whole file); read(to, count) copies the next bytes.
  NpyStream(const Input& input, std::string what, std::uint64_t size,
            std::function<void(void*, std::size_t)> read)
      : input_(input), what_(std::move(what)), left_(size), read_(std::move(read)) {}

  std::uint64_t left() const { return left_; }
  void read(void* to, std::size_t count);
  Array allocate(const Shape& shape, DType dtype) const {
    return detail::allocate(input_, what_, shape, dtype);
  }
  template <class... Args>
  [[noreturn]] void fail(Format<std::type_identity_t<Args>...> format, const Args&... args) const {
    input_.fail("{}{}{}", what_, what_.empty() ? "" : " ", formatted(format.text, args...));
  }

 private:
  const Input& input_;
  std::string what_;
  std::uint64_t left_;
  std::function<void(void*, std::size_t)> read_;
};

/// Reads a complete .npy file.
/// Throws: IoError.
Tensor read_npy(NpyStream& stream);

/// The part of a .npy file before its elements.
std::string npy_header(const Tensor& tensor);

}  // namespace retort::detail
