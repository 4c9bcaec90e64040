// Shared ownership of objects in pool memory. The count is inside the object, so a handle is one pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "retort/framework/base/pool.hpp"

namespace [[RETORT_EXPORT]] retort {
namespace detail {

/// Base class of objects owned by a Ref. The count is atomic, since tensors are shared between threads. It
/// uses compiler builtins: <atomic> would add about 15 % to the lines that a user's file has to parse.
class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

  void acquire() const noexcept { __atomic_fetch_add(&references_, 1, __ATOMIC_RELAXED); }
  /// Returns true if this was the last reference.
  bool drop() const noexcept {
    // The sole owner needs no read-modify-write: no other thread can be counting.
    if (__atomic_load_n(&references_, __ATOMIC_ACQUIRE) == 1) return true;
    return __atomic_fetch_sub(&references_, 1, __ATOMIC_ACQ_REL) == 1;
  }
  bool unique() const noexcept { return __atomic_load_n(&references_, __ATOMIC_ACQUIRE) == 1; }

  static void* operator new(std::size_t bytes) { return pool_allocate(bytes); }
  static void operator delete(void* object, std::size_t bytes) noexcept { pool_free(object, bytes); }

 private:
  mutable std::uint32_t references_ = 1;
};

/// Destroys an object that has no owner left. Some types have overloads of their own.
template <class T>
void destroy(T* object) noexcept {
  delete object;
}

/// An owning pointer to a RefCounted T.
template <class T>
class Ref {
 public:
  Ref() = default;
  /// Takes over the initial reference of a new object.
  explicit Ref(T* adopted) noexcept : pointer_(adopted) {}
  static Ref share(T* pointer) noexcept {
    if (pointer) pointer->acquire();
    return Ref(pointer);
  }
  Ref(const Ref& other) noexcept : pointer_(other.pointer_) {
    if (pointer_) pointer_->acquire();
  }
  Ref(Ref&& other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(pointer_, other.pointer_);
    return *this;
  }
  ~Ref() {
    if (pointer_ && pointer_->drop()) destroy(pointer_);
  }

  T* get() const noexcept { return pointer_; }
  T* operator->() const noexcept { return pointer_; }
  T& operator*() const noexcept { return *pointer_; }
  explicit operator bool() const noexcept { return pointer_ != nullptr; }
  /// Transfers the reference to the caller.
  T* release() noexcept { return std::exchange(pointer_, nullptr); }

 private:
  T* pointer_ = nullptr;
};

}  // namespace detail
}  // namespace retort
