#include "retort/framework/base/array.hpp"

#include <new>

#include "retort/framework/base/error.hpp"
#include "retort/framework/base/out_of_memory_impl.hpp"
#include "retort/framework/base/thread_state.hpp"

namespace retort {
namespace detail {

Ref<Storage> Storage::make(std::size_t bytes) {
  auto* storage = ::new (pool_allocate(sizeof(Storage) + bytes)) Storage;
  storage->size = bytes;
  storage->born = current_id();
  return Ref<Storage>(storage);
}

void destroy(Storage* storage) noexcept { pool_free(storage, sizeof(Storage) + storage->size); }

void Storage::stamp() noexcept { written = current_id(); }

void check_version(const Storage& storage) {
  const RunMode& mode = thread_state.mode;
  // A buffer that the rule itself made and wrote is newer than its operation.
  if (storage.written > mode.running_id && storage.born <= mode.running_id)
    throw GraphError(
        message("backward: a value that '{}' saved was changed after it was recorded; change values "
                "after backward, or clone() what the graph needs first",
                mode.running_name));
}

void wrong_element_type(DType have, DType asked) {
  throw TypeError(
      message("tensor: its elements are {} but {} was asked for; convert with to()", have, asked));
}

}  // namespace detail

Array::Array(const Shape& shape, DType dtype, const char* operation) try
    : shape_(shape), size_(element_count(shape)), dtype_(dtype) {
  storage_ = detail::Storage::make(byte_size());
} catch (const ShapeError& error) {
  if (operation == nullptr) throw;
  throw ShapeError(message("{}: {}", operation, error.what()));
} catch (const std::bad_alloc&) {
  const detail::RunMode& mode = detail::thread_state.mode;
  if (operation == nullptr && mode.running_id != ~0ULL) operation = mode.running_name;
  throw detail::OutOfMemory(message("a tensor of shape {} and type {} needs {} bytes", shape, dtype,
                                    static_cast<std::size_t>(element_count(shape)) * size_of(dtype)),
                            operation);
}

const void* Array::read() const {
  if (detail::thread_state.mode.running_id != ~0ULL) detail::check_version(*storage_);
  return storage_->bytes();
}

Array Array::reshaped(const Shape& shape) const {
  Array array = *this;
  array.shape_ = shape;
  return array;
}

}  // namespace retort
