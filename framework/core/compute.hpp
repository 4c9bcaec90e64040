// Typed pointers to the elements of tensors, by which operations call their kernels.
#pragma once

#include <initializer_list>
#include <utility>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A tensor that compute_into() passes to its kernel for writing, as `T*`; null if undefined.
struct Writable {
  const Tensor& tensor;
};
/// Marks a tensor as an output of compute_into().
inline Writable writable(const Tensor& tensor) { return {tensor}; }

namespace detail {
inline const Tensor& tensor_of(const Tensor& tensor) { return tensor; }
inline const Tensor& tensor_of(Writable out) { return out.tensor; }
template <class T>
const T* elements(const Tensor& tensor) {
  return tensor.defined() ? tensor.template data<T>().data() : nullptr;
}
template <class T>
T* elements(Writable out) {
  return out.tensor.defined() ? out.tensor.template mutable_data<T>().data() : nullptr;
}

/// Throws: TypeError naming `operation` unless `dtype` is float32 or float64 and all defined arguments have
/// it.
void check_element_types(const char* operation, DType dtype, std::initializer_list<const Tensor*> arguments);

template <class Kernel, class... Arguments>
void call_kernel(const char* operation, DType dtype, Kernel&& kernel, const Arguments&... arguments) {
  check_element_types(operation, dtype, {&tensor_of(arguments)...});
  visit_floating(dtype, [&]<class T>(T) { kernel(elements<T>(arguments)...); });
}
}  // namespace detail

/// Calls kernel(pointers…) with T = float or double for `dtype`: `const T*` for a Tensor, `T*` for a
/// Writable, and null for an undefined tensor. Nothing is recorded.
/// Throws: TypeError if `dtype` is int64 or a tensor has a different element type.
template <class Kernel, class... Arguments>
void compute_into(DType dtype, Kernel&& kernel, const Arguments&... arguments) {
  detail::call_kernel("compute_into", dtype, std::forward<Kernel>(kernel), arguments...);
}

/// Returns a new tensor of `shape`, without history, filled by kernel(out, inputs…) with T = float or double
/// for `dtype`: `T* out`, and `const T*` for each input, null if undefined. The kernel must write every
/// element.
/// Throws: TypeError if `dtype` is int64 or an input has a different element type.
template <class Kernel, class... Inputs>
[[nodiscard]] Tensor compute(const Shape& shape, DType dtype, Kernel&& kernel, const Inputs&... inputs) {
  const Tensor out = empty(shape, dtype);
  detail::call_kernel("compute", dtype, std::forward<Kernel>(kernel), writable(out), inputs...);
  return out;
}

}  // namespace retort
