// Tensor: an n-dimensional array and its place in the graph of operations.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "retort/framework/base/array.hpp"
#include "retort/framework/base/dtype.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/ref.hpp"
#include "retort/framework/base/shape.hpp"

namespace retort {

class Tensor;
class Generator;
/// A list of tensors.
using Tensors = std::vector<Tensor>;

namespace detail {
class Node;
class Operation;

/// What a Tensor points at: the numbers and, where a gradient is wanted, the graph node.
struct TensorImpl : RefCounted {
  TensorImpl(Array values, Ref<Node> history) noexcept;
  ~TensorImpl();
  Array array;
  Ref<Node> node;
};
void destroy(TensorImpl* impl) noexcept;
/// A tensor over `array` at `node` of the graph.
[[nodiscard]] Tensor connect(Array array, Ref<Node> node);

/// <retort/framework/xtensor.hpp> specialises this for numbers; without that header view() ends here.
template <class T>
struct XtensorBridge {
  static int view(const Tensor&) {
    static_assert(!sizeof(T*), "Tensor::view<T>() needs #include <retort/framework/xtensor.hpp>");
    return 0;
  }
};
}  // namespace detail

/// A number beside a tensor in an expression. It does not promote the tensor's element type, except that a
/// fraction beside an int64 tensor makes the result float32.
class Scalar {
 public:
  /// Any number of C++.
  template <class T>
    requires std::is_arithmetic_v<T>
  Scalar(T value)
      : value_(static_cast<double>(value)),
        integer_(std::is_integral_v<T> ? static_cast<std::int64_t>(value) : 0),
        integral_(std::is_integral_v<T>) {}

  /// The number, and whether it was given as an integer.
  double value() const { return value_; }
  bool integral() const { return integral_; }
  /// The value as an element of type T. Beyond the range of int64 it is the nearest int64, and 0 for NaN.
  template <class T>
  T as() const {
    if constexpr (std::is_integral_v<T>) {
      if (integral_) return integer_;
    }
    return detail::convert<T>(value_);
  }

 private:
  double value_;
  std::int64_t integer_;
  bool integral_;
};

struct BackwardOptions {
  bool retain_graph = false;  ///< keep what rules saved, so that the graph can be walked again
  bool create_graph = false;  ///< record the derivatives, so that they can be derived; implies retain_graph
};

/// A cheap handle to an n-dimensional row-major array and its place in the graph. Copies share both.
/// A default-constructed tensor is undefined: every call except defined() and assignment throws.
class Tensor {
 public:
  Tensor() = default;
  /// A tensor without history over `array`. Internal: operations make their results so.
  explicit Tensor(Array array);

  /// False for a default-constructed tensor.
  bool defined() const noexcept { return static_cast<bool>(impl_); }
  /// The shape, and the number of dimensions.
  const Shape& shape() const { return array().shape(); }
  std::int64_t dim() const { return static_cast<std::int64_t>(array().shape().size()); }
  /// Number of elements.
  std::int64_t size() const { return array().size(); }
  /// Extent of dimension d; a negative d counts from the end. IndexError when out of range.
  std::int64_t size(std::int64_t d) const;
  DType dtype() const { return array().dtype(); }

  /// The elements in row-major order, valid while a handle lives; so a temporary gives none: name it, or use values()
  /// or item(). TypeError if T is not the element type.
  template <class T>
  std::span<const T> data() const& {
    return array().template data<T>();
  }
  template <class T>
  std::span<const T> data() const&& = delete;
  /// The same for writing, of a leaf too. The values count as changed: a later backward through an operation
  /// that was recorded before and needs the old ones throws GraphError.
  template <class T>
  std::span<T> mutable_data() const& {
    Array& values = mutable_array();
    const std::span<T> elements = values.template fill<T>();
    values.stamp();
    return elements;
  }
  template <class T>
  std::span<T> mutable_data() const&& = delete;
  /// The only element, converted to T. A floating-point value beyond the range of an integer T becomes the nearest T,
  /// and NaN becomes 0. ShapeError if there is not exactly one element.
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

  /// A read-only xtensor adaptor over the elements, without a copy. It is valid while this tensor or a copy of its handle
  /// lives, so a temporary is refused at compile time. It needs #include <retort/framework/xtensor.hpp>.
  /// Throws: TypeError if T is not the element type.
  template <class T>
  auto view() const& {
    return detail::XtensorBridge<T>::view(*this);
  }
  template <class T>
  void view() const&& = delete;

  /// The same values in another element type; differentiable between float types. The tensor itself if it has that
  /// type already. A value beyond the range of int64 becomes the nearest int64, and NaN becomes 0.
  [[nodiscard]] Tensor to(DType dtype) const;
  /// The same values (shared) without history.
  [[nodiscard]] Tensor detach() const;
  /// A copy of the values, with history.
  [[nodiscard]] Tensor clone() const;

  /// True if derivatives with respect to this tensor, or through it, are recorded.
  bool requires_grad() const noexcept;
  /// Makes this leaf want a gradient, or not, and returns it. GraphError on the result of an operation,
  /// TypeError on int64.
  Tensor set_requires_grad(bool value = true) const;
  /// True for what no recorded operation made.
  bool is_leaf() const noexcept;
  /// The gradient that backward() accumulated; undefined until something flowed in.
  [[nodiscard]] Tensor grad() const;
  /// Replaces the gradient; ShapeError or TypeError when it does not fit, undefined to drop it.
  void set_grad(const Tensor& gradient) const;
  /// Makes grad() undefined again.
  void zero_grad() const;

  /// Accumulates d(sum(this · grad))/d(leaf) into the .grad of every leaf that this tensor depends on.
  /// `grad` [shape of this] may be left out for a tensor of one element. GraphError without history, or when
  /// the graph was spent by an earlier call without retain_graph.
  void backward(const Tensor& grad = {}, BackwardOptions options = {}) const;

  /// Internal: the numbers, the graph node, and whether two handles are the same tensor.
  const Array& array() const {
    if (!impl_) undefined();
    return impl_->array;
  }
  Array& mutable_array() const { return const_cast<Array&>(array()); }
  detail::Node* node() const noexcept { return impl_ ? impl_->node.get() : nullptr; }
  bool is(const Tensor& other) const noexcept { return impl_.get() == other.impl_.get(); }
  /// Internal: true when this handle is the only owner of the tensor and of its buffer.
  bool unique() const noexcept;
  /// Internal: gives every handle of this leaf another array, as Module::to does.
  void replace_array(Array array) const;

 private:
  friend Tensor record(struct Op op);
  friend Tensors record_many(struct ManyOp op);
  friend Tensor detail::connect(Array array, detail::Ref<detail::Node> node);
  friend class detail::Operation;
  Tensor(Array array, detail::Ref<detail::Node> node);
  [[noreturn]] static void undefined();
  void check_single_element() const;

  detail::Ref<detail::TensorImpl> impl_;
};

/// Prints values, shape and dtype in NumPy's manner; long tensors are shortened.
std::ostream& operator<<(std::ostream& stream, const Tensor& tensor);
std::string to_string(const Tensor& tensor);

// ---- making tensors -------------------------------------------------------------------------------------

namespace detail {
/// Element type of tensor literals: float, double, and int64 for every integer.
template <class T>
using Element = std::conditional_t<std::is_same_v<T, float>, float,
                                   std::conditional_t<std::is_floating_point_v<T>, double, std::int64_t>>;
void check_value_count(std::size_t count, const Shape& shape);

template <class T>
[[nodiscard]] Tensor make_tensor(const T* values, std::size_t count, const Shape& shape) {
  static_assert(std::is_arithmetic_v<T>, "a tensor's elements are numbers");
  check_value_count(count, shape);
  Array array(shape, dtype_of<Element<T>>);
  auto* out = array.fill<Element<T>>().data();
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<Element<T>>(values[i]);
  return Tensor(std::move(array));
}
}  // namespace detail

/// A tensor of `values` in row-major order. ShapeError when their number is not the shape's.
/// T is float, double or an integer type (which makes int64).
template <class T>
[[nodiscard]] Tensor tensor(const std::vector<T>& values, const Shape& shape) {
  return detail::make_tensor(values.data(), values.size(), shape);
}
template <class T>
[[nodiscard]] Tensor tensor(std::initializer_list<T> values, const Shape& shape) {
  return detail::make_tensor(values.begin(), values.size(), shape);
}
/// A 1-dimensional tensor of `values`.
template <class T>
[[nodiscard]] Tensor tensor(const std::vector<T>& values) {
  return detail::make_tensor(values.data(), values.size(), {static_cast<std::int64_t>(values.size())});
}
template <class T>
[[nodiscard]] Tensor tensor(std::initializer_list<T> values) {
  return detail::make_tensor(values.begin(), values.size(), {static_cast<std::int64_t>(values.size())});
}

/// Uninitialised values, for those who fill them.
[[nodiscard]] Tensor empty(const Shape& shape, DType dtype = DType::float32);
[[nodiscard]] Tensor zeros(const Shape& shape, DType dtype = DType::float32);
[[nodiscard]] Tensor ones(const Shape& shape, DType dtype = DType::float32);
/// `value` everywhere; a fraction is cut off for int64. ValueError if int64 cannot hold it.
[[nodiscard]] Tensor full(const Shape& shape, Scalar value, DType dtype = DType::float32);
/// Uniform in [0, 1) and standard normal draws from `generator`, or from the default one of manual_seed.
/// TypeError for int64.
[[nodiscard]] Tensor rand(const Shape& shape, DType dtype = DType::float32);
[[nodiscard]] Tensor rand(const Shape& shape, DType dtype, Generator& generator);
[[nodiscard]] Tensor randn(const Shape& shape, DType dtype = DType::float32);
[[nodiscard]] Tensor randn(const Shape& shape, DType dtype, Generator& generator);
/// 0, 1, …, n-1 [n]. ValueError for a negative n.
[[nodiscard]] Tensor arange(std::int64_t n, DType dtype = DType::int64);
[[nodiscard]] Tensor empty_like(const Tensor& like);
[[nodiscard]] Tensor zeros_like(const Tensor& like);
[[nodiscard]] Tensor ones_like(const Tensor& like);
[[nodiscard]] Tensor full_like(const Tensor& like, Scalar value);
[[nodiscard]] Tensor rand_like(const Tensor& like);
[[nodiscard]] Tensor randn_like(const Tensor& like);

}  // namespace retort
