// Rows of the op table: framework/ops/layout.hpp and scan.hpp.
#include <cmath>

#include "op_cases.hpp"

namespace retort::tests {
namespace {

using In = const Tensors&;
using Counts = std::vector<std::int64_t>;

Doubles running_sum(Doubles x) {
  std::partial_sum(x.begin(), x.end(), x.begin());
  return x;
}
double product(const Doubles& x) {
  return std::accumulate(x.begin(), x.end(), 1.0, std::multiplies<double>());
}

/// x read at place(index) for every index of `shape`; elements outside x are `value`.
template <class Place>
Tensor moved(const Tensor& x, const Shape& shape, double value, Place place) {
  return build(shape, [&](const Index& index) {
    const Index from = place(index);
    for (std::size_t d = 0; d < from.size(); ++d)
      if (from[d] < 0 || from[d] >= x.shape()[d]) return value;
    return at(x, from);
  });
}

/// Matrices with 0 where column - row is not kept.
template <class Keep>
Tensor triangle(const Tensor& x, Keep keep) {
  return build(x.shape(), [&](const Index& i) { return keep(i.back() - i[i.size() - 2]) ? at(x, i) : 0.0; });
}

std::vector<Tensors> matrices() {
  return {{spread({3, 3})}, {spread({2, 4, 3})}, {spread({2, 2, 2, 5})}, {spread({1, 1})}, {spread({0, 3})}};
}

std::vector<OpCase> layouts() {
  return {
      {.name = "flip",
       .call =
           [](In in) {
             return flip(in[0], {0, -1});
           },
       .twin =
           [](In in) {
             return moved(in[0], in[0].shape(), 0, [&](Index i) {
               i[0] = in[0].size(0) - 1 - i[0];
               if (i.size() > 1) i.back() = in[0].size(-1) - 1 - i.back();
               return i;
             });
           },
       .samples = {{spread({2, 3, 4})}, {spread({5, 2})}, {spread({1, 1})}, {spread({0, 3})}}},
      {.name = "flip",
       .variant = "the middle",
       .call = [](In in) { return flip(in[0], 1); },
       .twin =
           [](In in) {
             return moved(in[0], in[0].shape(), 0, [&](Index i) {
               i[1] = in[0].size(1) - 1 - i[1];
               return i;
             });
           },
       .samples = {{spread({2, 3, 4})}, {spread({1, 1, 1})}, {spread({2, 0, 2})}},
       .refused = {{Refusal::index, {spread({4})}}}},
      {.name = "pad",
       .call =
           [](In in) {
             return pad(in[0], {1, 2}, -1.5);
           },
       .twin =
           [](In in) {
             Shape shape = in[0].shape();
             shape.back() += 3;
             return moved(in[0], shape, -1.5, [](Index i) {
               i.back() -= 1;
               return i;
             });
           },
       .samples = {{spread({2, 3})}, {spread({7})}, {spread({1})}, {spread({2, 0})}},
       .refused = {{Refusal::shape, {spread({})}}}},
      {.name = "pad",
       .variant = "cut off in front, added behind",
       .call =
           [](In in) {
             return pad(in[0], {0, 0, -1, 2});
           },
       .twin =
           [](In in) {
             Shape shape = in[0].shape();
             shape[shape.size() - 2] += 1;
             return moved(in[0], shape, 0, [](Index i) {
               i[i.size() - 2] += 1;
               return i;
             });
           },
       .samples = {{spread({3, 2})}, {spread({2, 4, 3})}, {spread({1, 1})}},
       .refused = {{Refusal::shape, {spread({3})}}}},
      {.name = "pad",
       .variant = "nothing left of it",
       .call =
           [](In in) {
             return pad(in[0], {-3, 4}, 2);
           },
       .twin =
           [](In in) {
             return build({in[0].size(0), in[0].size(1) + 1}, [](const Index&) { return 2.0; });
           },
       .samples = {{spread({2, 3})}, {spread({1, 1})}}},
      {.name = "repeat",
       .call =
           [](In in) {
             return repeat(in[0], {2, 1, 3});
           },
       .twin =
           [](In in) {
             const Shape& from = in[0].shape();
             Shape shape{2, 1, 3};
             for (std::size_t d = 0; d < from.size(); ++d) shape[d + 3 - from.size()] *= from[d];
             return moved(in[0], shape, 0, [&](const Index& i) {
               Index place(i.end() - static_cast<std::ptrdiff_t>(from.size()), i.end());
               for (std::size_t d = 0; d < place.size(); ++d) place[d] %= from[d];
               return place;
             });
           },
       .samples = {{spread({2, 3, 2})}, {spread({4})}, {spread({1})}, {spread({})}, {spread({2, 0})}},
       .refused = {{Refusal::shape, {spread({1, 2, 3, 4})}}}},
      {.name = "tril",
       .call = [](In in) { return tril(in[0]); },
       .twin = [](In in) { return triangle(in[0], [](std::int64_t off) { return off <= 0; }); },
       .samples = matrices(),
       .refused = {{Refusal::shape, {spread({3})}}}},
      {.name = "tril",
       .variant = "k = -1",
       .call = [](In in) { return tril(in[0], -1); },
       .twin = [](In in) { return triangle(in[0], [](std::int64_t off) { return off <= -1; }); },
       .samples = matrices()},
      {.name = "triu",
       .call = [](In in) { return triu(in[0]); },
       .twin = [](In in) { return triangle(in[0], [](std::int64_t off) { return off >= 0; }); },
       .samples = matrices(),
       .refused = {{Refusal::shape, {spread({3})}}}},
      {.name = "triu",
       .variant = "k = 1",
       .call = [](In in) { return triu(in[0], 1); },
       .twin = [](In in) { return triangle(in[0], [](std::int64_t off) { return off >= 1; }); },
       .samples = matrices()},
      {.name = "masked_fill",
       .call = [](In in) { return masked_fill(in[0], in[1], -2.5); },
       .twin =
           [](In in) {
             return each(in[0], in[1], [](double x, double mask) { return mask != 0 ? -2.5 : x; });
           },
       .samples = {{spread({3, 4}), indices({3, 4}, 1, 2)},
                   {spread({2, 3, 4}), indices({3, 1}, 2, 3)},
                   {spread({1}), indices({}, 3, 1)},
                   {spread({0, 3}), indices({3}, 3, 2)}},
       .refused = {{Refusal::shape, {spread({2, 3}), indices({2}, 1, 2)}},
                   {Refusal::type, {spread({3}), spread({3})}}}},
  };
}

std::vector<OpCase> scans() {
  const auto row = [](const char* variant, Counts dims, bool keepdim,
                      std::vector<Tensors> samples) -> OpCase {
    return {.name = "prod",
            .variant = variant,
            .call = [=](In in) { return prod(in[0], Dims(dims), keepdim); },
            .twin = [=](In in) { return reduced(in[0], dims, keepdim, product); },
            .samples = std::move(samples)};
  };
  // Rows with one zero, with two and of nothing else.
  const Tensor zeros_in_rows = tensor({2.0, -1.5, 0.5, 3.0, 0.0, 2.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0}, {4, 3});
  std::vector<OpCase> rows{
      {.name = "cumsum",
       .call = [](In in) { return cumsum(in[0], -1); },
       .twin = [](In in) { return along(in[0], -1, running_sum); },
       .samples = unary_samples()},
      {.name = "cumsum",
       .variant = "dim 1",
       .call = [](In in) { return cumsum(in[0], 1); },
       .twin = [](In in) { return along(in[0], 1, running_sum); },
       .samples = {{spread({2, 3, 4})}, {spread({3, 1})}, {spread({1, 1})}, {spread({2, 0, 3})}},
       .refused = {{Refusal::index, {spread({4})}}}},
      row("dim 0", {0}, false, {{spread({3, 5})}, {zeros_in_rows}, {spread({1})}, {spread({0, 3})}}),
      row("dim -1, keepdim", {-1}, true,
          {{spread({2, 3, 4})}, {zeros_in_rows}, {spread({1, 1})}, {spread({3, 0})}}),
      row("dims 0 and 2", {0, 2}, false, {{spread({2, 3, 2})}, {spread({1, 1, 1})}}),
      {.name = "prod",
       .variant = "all",
       .call = [](In in) { return prod(in[0]); },
       .twin = [](In in) { return reduced(in[0], {}, false, product); },
       .samples = {{spread({2, 3})},
                   {tensor({0.0, 2.0, 3.0})},
                   {tensor({0.0, 2.0, 0.0})},
                   {spread({})},
                   {spread({0})}}},
  };
  rows[4].refused = {{Refusal::index, {spread({3, 4})}}};  // dims 0 and 2
  return rows;
}

}  // namespace

std::vector<OpCase> array_cases() {
  std::vector<OpCase> rows = layouts();
  for (const OpCase& row : scans()) rows.push_back(row);
  return rows;
}

}  // namespace retort::tests
