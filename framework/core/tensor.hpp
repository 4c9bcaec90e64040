// Tensor: an n-dimensional array and its graph node.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include "retort/framework/base/array.hpp"
#include "retort/framework/base/dtype.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/ref.hpp"
#include "retort/framework/base/scalar.hpp"
#include "retort/framework/base/shape.hpp"

namespace [[RETORT_EXPORT]] retort {

class Tensor;
/// A list of tensors.
using Tensors = std::vector<Tensor>;

namespace detail {
class Node;
struct Access;

/// The shared state of Tensor handles: the array and, if it requires a gradient, the graph node.
struct TensorImpl : RefCounted {
  ~TensorImpl();
  Array array;
  Ref<Node> node;
};

/// <retort/framework/xtensor.hpp> specialises this for numbers.
template <class T>
struct XtensorBridge {
  static int view(const Tensor&) {
    static_assert(!sizeof(T*), "Tensor::view<T>() needs #include <retort/framework/xtensor.hpp>");
    return 0;
  }
};
}  // namespace detail

struct BackwardOptions {
  bool retain_graph = false;  ///< keep the values saved by rules, so that backward can run again
  bool create_graph = false;  ///< record the derivatives for higher orders; implies retain_graph
};

/// A cheap handle to an n-dimensional row-major array and its graph node. Copies share both. Constness is
/// shallow, as in PyTorch: a const Tensor cannot be made to refer to another tensor, but its values and its
/// gradient can be written. A default-constructed tensor is undefined: every call except defined() and
/// assignment throws a ValueError.
class Tensor {
 public:
  Tensor() = default;

  bool defined() const noexcept { return static_cast<bool>(impl_); }  ///< False if default-constructed.
  DType dtype() const { return array().dtype(); }                     ///< The element type.
  const Shape& shape() const { return array().shape(); }              ///< The shape.
  std::int64_t dim() const { return std::ssize(shape()); }            ///< The number of dimensions.
  std::int64_t size() const { return array().size(); }                ///< The number of elements.
  /// The extent of dimension d; a negative d counts from the end.
  /// Throws: IndexError if d is out of range.
  std::int64_t size(std::int64_t d) const;

  /// The elements in row-major order. The span is valid while a handle exists, so calls on a temporary do not
  /// compile: name the tensor, or use values() or item().
  /// Throws: TypeError if T is not the element type.
  template <class T>
  std::span<const T> data() const& {
    return array().template data<T>();
  }
  template <class T>
  std::span<const T> data() const&& = delete;
  /// As data(), for writing; allowed for leaves too. Marks the values as changed: a later backward pass
  /// through an operation that saved the old values throws a GraphError.
  template <class T>
  std::span<T> mutable_data() const& {
    const std::span<T> elements = array().template fill<T>();
    array().stamp();
    return elements;
  }
  template <class T>
  std::span<T> mutable_data() const&& = delete;
  /// The only element, converted to T. A floating-point value beyond the range of an integer T becomes the
  /// nearest T, and NaN becomes 0.
  /// Throws: ShapeError if the number of elements is not 1.
  template <class T>
  T item() const {
    check_single_element();
    return visit_dtype(dtype(), [&](auto zero) { return detail::convert<T>(data<decltype(zero)>()[0]); });
  }
  /// A copy of the elements, converted to T as by item().
  template <class T>
  std::vector<T> values() const {
    return visit_dtype(dtype(), [&](auto zero) {
      const auto elements = data<decltype(zero)>();
      std::vector<T> copy(elements.size());
      for (std::size_t i = 0; i < copy.size(); ++i) copy[i] = detail::convert<T>(elements[i]);
      return copy;
    });
  }
  /// A read-only xtensor adaptor over the elements, without a copy. It is valid while this tensor or a copy
  /// of its handle exists, so calls on a temporary do not compile. Requires #include
  /// <retort/framework/xtensor.hpp>.
  /// Throws: TypeError if T is not the element type.
  template <class T>
  auto view() const& {
    return detail::XtensorBridge<T>::view(*this);
  }
  template <class T>
  void view() const&& = delete;

  /// The same values converted to `dtype`; differentiable between float types. Returns this tensor if it
  /// already has that type. A value beyond the range of int64 becomes the nearest int64, and NaN becomes 0.
  [[nodiscard]] Tensor to(DType dtype) const;
  [[nodiscard]] Tensor detach() const;  ///< The same values (shared) without history.
  [[nodiscard]] Tensor clone() const;   ///< A copy of the values, with history.

  /// True if operations on this tensor are recorded for differentiation.
  bool requires_grad() const noexcept;
  /// Makes this leaf require a gradient, or not, and returns it.
  /// Throws: GraphError if it is the result of an operation; TypeError if it is int64.
  Tensor set_requires_grad(bool value = true) const;
  /// True if this tensor is not the result of a recorded operation.
  bool is_leaf() const noexcept;
  [[nodiscard]] Tensor grad() const;  ///< The gradient accumulated by backward(); undefined if there is none.
  /// Replaces the gradient; an undefined tensor removes it.
  /// Throws: GraphError unless this is a leaf that requires one; ShapeError or TypeError if shape or type
  /// differ.
  void set_grad(const Tensor& gradient) const;
  void zero_grad() const;  ///< Makes grad() undefined.

  /// Accumulates d(sum(this · grad))/d(leaf) into the .grad of every leaf that this tensor depends on. `grad`
  /// [shape of this] may be omitted for a tensor of one element.
  /// Throws: GraphError if there is no history, or if an earlier call without retain_graph has freed the
  /// graph; ShapeError or TypeError if `grad` does not match this tensor.
  void backward(const Tensor& grad = {}, BackwardOptions options = {}) const;

 private:
  friend struct detail::Access;
  Array& array() const {
    if (!impl_) undefined();
    return impl_->array;
  }
  [[noreturn]] static void undefined();
  void check_single_element() const;

  detail::Ref<detail::TensorImpl> impl_;
};

namespace detail {
/// Internals of Tensor, for the library's own sources.
struct Access {
  /// Creates a tensor over `array`, without history or with the given node.
  [[nodiscard]] static Tensor make(Array array);
  [[nodiscard]] static Tensor make(Array array, Ref<Node> node);
  static Array& array(const Tensor& tensor) { return tensor.array(); }
  static Node* node(const Tensor& tensor) noexcept {
    return tensor.impl_ ? tensor.impl_->node.get() : nullptr;
  }
  static void set_node(const Tensor& tensor, Ref<Node> node);
  /// True if both are handles to the same tensor.
  static bool same(const Tensor& a, const Tensor& b) noexcept { return a.impl_.get() == b.impl_.get(); }
  /// True if this is the only handle to the tensor; the buffer may be shared.
  static bool only_handle(const Tensor& tensor) noexcept { return tensor.impl_ && tensor.impl_->unique(); }
  /// True if this is the only handle and the only owner of the buffer.
  static bool unique(const Tensor& tensor) noexcept { return only_handle(tensor) && array(tensor).unique(); }
  /// Replaces the array of a leaf for all handles. Drops its gradient, which may have the old type.
  static void replace_array(const Tensor& leaf, Array array);
};
}  // namespace detail

/// Prints values, shape and dtype in the style of NumPy; long tensors are abbreviated.
std::ostream& operator<<(std::ostream& stream, const Tensor& tensor);
/// The text that operator<< prints.
std::string to_string(const Tensor& tensor);

}  // namespace retort
