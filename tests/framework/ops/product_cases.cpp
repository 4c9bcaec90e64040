// Rows of the op table: framework/ops/matmul.hpp.
#include "op_cases.hpp"

namespace retort::tests {

std::vector<OpCase> product_cases() {
  using In = const Tensors&;
  return {
      {.name = "matmul",
       .call = [](In in) { return matmul(in[0], in[1]); },
       .reference = [](In in) { return matrix_product(in[0], in[1]); },
       .samples = {{spread({3, 4}), spread({4, 5}, 2)},
                   {spread({4}), spread({4}, 2)},
                   {spread({4}), spread({4, 3}, 2)},
                   {spread({3, 4}), spread({4}, 2)},
                   {spread({2, 3, 4}), spread({2, 4, 5}, 2)},
                   {spread({2, 1, 3, 4}), spread({3, 4, 2}, 2)},
                   {spread({3, 4}), spread({2, 4, 5}, 2)},
                   {spread({2, 3, 4}), spread({4}, 2)},
                   {spread({4}), spread({2, 4, 3}, 2)},
                   {spread({1, 1}), spread({1, 1}, 2)},
                   {spread({3, 3}), spread({3, 3}, 2)},
                   {spread({0, 4}), spread({4, 3})},
                   {spread({3, 0}), spread({0, 2})},
                   {spread({17, 33}), spread({33, 7}, 2)}},
       .refused = {{Refusal::shape, {spread({2, 3}), spread({2, 3})}},
                   {Refusal::shape, {spread({2, 3, 4}), spread({3, 4, 5})}},
                   {Refusal::type, {indices({2, 2}, 1, 3), indices({2, 2}, 1, 3)}}}},
      {.name = "linear",
       .call = [](In in) { return linear(in[0], in[1], in[2]); },
       .reference =
           [](In in) {
             const Tensor product =
                 matrix_product(in[0], build({in[1].size(1), in[1].size(0)}, [&](const Index& i) {
                                  return at(in[1], {i[1], i[0]});
                                }));
             return each(product, in[2], [](double a, double b) { return a + b; });
           },
       .samples = {{spread({5, 4}), spread({3, 4}, 2), spread({3}, 3)},
                   {spread({4}), spread({3, 4}, 2), spread({3}, 3)},
                   {spread({2, 3, 4}), spread({5, 4}, 2), spread({5}, 3)},
                   {spread({1, 1}), spread({1, 1}), spread({1})},
                   {spread({0, 4}), spread({3, 4}), spread({3})}},
       .refused = {{Refusal::shape, {spread({2, 3}), spread({2, 4}), spread({2})}}}},
      {.name = "linear",
       .variant = "without bias",
       .call = [](In in) { return linear(in[0], in[1], Tensor()); },
       .reference =
           [](In in) {
             return matrix_product(in[0], build({in[1].size(1), in[1].size(0)}, [&](const Index& i) {
                                     return at(in[1], {i[1], i[0]});
                                   }));
           },
       .samples = {{spread({5, 4}), spread({3, 4}, 2)},
                   {spread({3, 3}), spread({3, 3}, 2)},
                   {spread({1, 1}), spread({1, 1})},
                   {spread({0, 4}), spread({3, 4})}},
       .refused = {{Refusal::shape, {spread({2, 3}), spread({2, 4})}}}},
  };
}

}  // namespace retort::tests
