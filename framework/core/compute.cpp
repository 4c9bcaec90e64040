#include "retort/framework/core/compute.hpp"

namespace retort {

void detail::check_element_types(const char* operation, DType dtype,
                                 std::initializer_list<const Tensor*> arguments) {
  if (!is_floating_point(dtype))
    throw TypeError(message("{}: the element type is {}; it must be float32 or float64", operation, dtype));
  int position = 0;
  for (const Tensor* argument : arguments) {
    if (argument->defined() && argument->dtype() != dtype)
      throw TypeError(message("{}: the kernel works on {} but its argument {} is {}; convert it with to()",
                              operation, dtype, position, argument->dtype()));
    ++position;
  }
}

}  // namespace retort
