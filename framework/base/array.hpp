// Typed numbers without history, on which kernels operate. Internal; users see Tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "retort/framework/base/dtype.hpp"
#include "retort/framework/base/ref.hpp"
#include "retort/framework/base/shape.hpp"

namespace [[RETORT_EXPORT]] retort {

namespace detail {

/// A 64-byte aligned buffer; the elements follow this header. `born` and `written` are values of the counter
/// that numbers graph nodes: at the buffer's creation, and at the last write outside of recorded operations.
class alignas(64) Storage : public RefCounted {
 public:
  static Ref<Storage> make(std::size_t bytes);
  std::byte* bytes() { return reinterpret_cast<std::byte*>(this + 1); }
  const std::byte* bytes() const { return reinterpret_cast<const std::byte*>(this + 1); }
  void stamp() noexcept;

  std::size_t size = 0;
  std::uint64_t born = 0;
  std::uint64_t written = 0;
};
void destroy(Storage* storage) noexcept;

/// Throws the GraphError of a rule that reads values changed after its operation was recorded.
void check_version(const Storage& storage);
[[noreturn]] void wrong_element_type(DType have, DType asked);

}  // namespace detail

/// A contiguous row-major array. Copies share the buffer. A new array is uninitialised.
class Array {
 public:
  Array() = default;
  Array(const Shape& shape, DType dtype, const char* operation = nullptr);  // errors name the operation

  bool defined() const { return static_cast<bool>(storage_); }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  std::int64_t size() const { return size_; }
  std::size_t byte_size() const { return static_cast<std::size_t>(size_) * size_of(dtype_); }

  /// The elements, for reading. Throws GraphError if a rule would read values changed since its op was
  /// recorded.
  template <class T>
  std::span<const T> data() const {
    if (dtype_of<T> != dtype_) detail::wrong_element_type(dtype_, dtype_of<T>);
    return {static_cast<const T*>(read()), static_cast<std::size_t>(size_)};
  }
  /// The elements of a new array, for filling. Leaves the version stamp as it is.
  template <class T>
  std::span<T> fill() {
    if (dtype_of<T> != dtype_) detail::wrong_element_type(dtype_, dtype_of<T>);
    return {reinterpret_cast<T*>(storage_->bytes()), static_cast<std::size_t>(size_)};
  }
  const void* read() const;
  void* write() { return storage_->bytes(); }
  /// Marks the values as changed.
  void stamp() { storage_->stamp(); }

  /// The same buffer with another shape of equal size.
  Array reshaped(const Shape& shape) const;
  /// True if no other array shares the buffer.
  bool unique() const { return storage_->unique(); }

 private:
  detail::Ref<detail::Storage> storage_;
  Shape shape_;
  std::int64_t size_ = 0;
  DType dtype_ = DType::float32;
};

}  // namespace retort
