// Rows of the op table: framework/ops/layout.hpp, scan.hpp, sorting.hpp, distance.hpp, sampling.hpp, and the
// sums of indexing.hpp.
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
       .reference =
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
       .reference =
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
       .reference =
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
       .reference =
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
       .reference =
           [](In in) {
             return build({in[0].size(0), in[0].size(1) + 1}, [](const Index&) { return 2.0; });
           },
       .samples = {{spread({2, 3})}, {spread({1, 1})}}},
      {.name = "repeat",
       .call =
           [](In in) {
             return repeat(in[0], {2, 1, 3});
           },
       .reference =
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
       .reference = [](In in) { return triangle(in[0], [](std::int64_t off) { return off <= 0; }); },
       .samples = matrices(),
       .refused = {{Refusal::shape, {spread({3})}}}},
      {.name = "tril",
       .variant = "k = -1",
       .call = [](In in) { return tril(in[0], -1); },
       .reference = [](In in) { return triangle(in[0], [](std::int64_t off) { return off <= -1; }); },
       .samples = matrices()},
      {.name = "triu",
       .call = [](In in) { return triu(in[0]); },
       .reference = [](In in) { return triangle(in[0], [](std::int64_t off) { return off >= 0; }); },
       .samples = matrices(),
       .refused = {{Refusal::shape, {spread({3})}}}},
      {.name = "triu",
       .variant = "k = 1",
       .call = [](In in) { return triu(in[0], 1); },
       .reference = [](In in) { return triangle(in[0], [](std::int64_t off) { return off >= 1; }); },
       .samples = matrices()},
      {.name = "masked_fill",
       .call = [](In in) { return masked_fill(in[0], in[1], -2.5); },
       .reference =
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
            .reference = [=](In in) { return reduced(in[0], dims, keepdim, product); },
            .samples = std::move(samples)};
  };
  // Rows with one zero, with two, and with zeros only.
  const Tensor zeros_in_rows = tensor({2.0, -1.5, 0.5, 3.0, 0.0, 2.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0}, {4, 3});
  std::vector<OpCase> rows{
      {.name = "cumsum",
       .call = [](In in) { return cumsum(in[0], -1); },
       .reference = [](In in) { return along(in[0], -1, running_sum); },
       .samples = unary_samples()},
      {.name = "cumsum",
       .variant = "dim 1",
       .call = [](In in) { return cumsum(in[0], 1); },
       .reference = [](In in) { return along(in[0], 1, running_sum); },
       .samples = {{spread({2, 3, 4})}, {spread({3, 1})}, {spread({1, 1})}, {spread({2, 0, 3})}},
       .refused = {{Refusal::index, {spread({4})}}}},
      row("dim 0", {0}, false, {{spread({3, 5})}, {zeros_in_rows}, {spread({1})}, {spread({0, 3})}}),
      row("dim -1, keepdim", {-1}, true,
          {{spread({2, 3, 4})}, {zeros_in_rows}, {spread({1, 1})}, {spread({3, 0})}}),
      row("dims 0 and 2", {0, 2}, false, {{spread({2, 3, 2})}, {spread({1, 1, 1})}}),
      {.name = "prod",
       .variant = "all",
       .call = [](In in) { return prod(in[0]); },
       .reference = [](In in) { return reduced(in[0], {}, false, product); },
       .samples = {{spread({2, 3})},
                   {tensor({0.0, 2.0, 3.0})},
                   {tensor({0.0, 2.0, 0.0})},
                   {spread({})},
                   {spread({0})}}},
  };
  rows[4].refused = {{Refusal::index, {spread({3, 4})}}};  // dims 0 and 2
  return rows;
}

/// Both results in one tensor: values, and positions that carry no gradient.
Tensor with_positions(const ValuesAndIndices& both) {
  return both.values + both.indices.to(both.values.dtype());
}
/// The first k of each slice along `dim` in order, each with its position added.
Tensor in_order(const Tensor& x, std::int64_t dim, bool descending, std::int64_t k,
                bool positions_alone = false) {
  const Tensor sorted = along(x, dim, [&](const Doubles& slice) {
    std::vector<std::size_t> order(slice.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return descending ? slice[a] > slice[b] : slice[a] < slice[b];
    });
    Doubles result;
    for (const std::size_t i : order)
      result.push_back((positions_alone ? 0 : slice[i]) + static_cast<double>(i));
    return result;
  });
  if (x.dim() == 0) return sorted;
  Shape shape = x.shape();
  shape[wrapped(dim, x.shape())] = std::min(k, shape[wrapped(dim, x.shape())]);
  return moved(sorted, shape, 0, [](const Index& i) { return i; });
}

std::vector<OpCase> sorts() {
  const auto row = [](const char* name, const char* variant, auto call, std::int64_t dim, bool descending,
                      std::int64_t k, std::vector<Tensors> samples) -> OpCase {
    return {.name = name,
            .variant = variant,
            .call = [=](In in) { return with_positions(call(in[0])); },
            .reference = [=](In in) { return in_order(in[0], dim, descending, k); },
            .samples = std::move(samples)};
  };
  const auto test = row;
  constexpr std::int64_t all = 1000;
  const std::vector<Tensors> some{{spread({3, 5})}, {spread({2, 3, 4})}, {spread({3, 1})}, {spread({1, 1})}};
  std::vector<OpCase> rows{
      test(
          "sort", "", [](const Tensor& x) { return sort(x); }, -1, false, all, unary_samples()),
      test(
          "sort", "descending", [](const Tensor& x) { return sort(x, 1, true); }, 1, true, all, some),
      test("topk", "", [](const Tensor& x) { return topk(x, 1); }, -1, true, 1,
           {{spread({3, 5})}, {spread({1})}, {spread({})}, {spread({0, 3})}}),
      test("topk", "smallest", [](const Tensor& x) { return topk(x, 3, 1, false); }, 1, false, 3,
           {{spread({3, 5})}, {spread({2, 4, 3})}, {spread({2, 3})}}),
      {.name = "argsort",
       .call = [](In in) { return argsort(in[0], 1, true); },
       .reference = [](In in) { return as_int64(in_order(in[0], 1, true, all, true)); },
       .samples = {{spread({3, 5})}, {spread({2, 3, 4})}, {spread({1, 1})}, {spread({2, 0})}},
       .refused = {{Refusal::index, {spread({3})}}},
       .differentiable = false},
      {.name = "multinomial",  // of one positive element each: the only draw there is
       .call = [](In in) { return multinomial(in[0], 1); },
       .reference =
           [](In in) {
             return as_int64(reduced(in[0], {-1}, true, [](const Doubles& x) {
               return static_cast<double>(std::max_element(x.begin(), x.end()) - x.begin());
             }));
           },
       .samples = {{tensor({0.0, 0.0, 2.0, 0.5, 0.0, 0.0}, {2, 3})},
                   {tensor({0.3}, {1})},
                   {zeros({0, 3}, DType::float64)}},
       .refused = {{Refusal::value, {tensor({0.5, -0.1})}},
                   {Refusal::value, {tensor({0.5, std::nan("")})}},
                   {Refusal::value, {tensor({0.0, 0.0})}},
                   {Refusal::type, {indices({3}, 1, 2)}},
                   {Refusal::shape, {spread({1, 2, 3})}}},
       .differentiable = false},
  };
  rows[1].refused = {{Refusal::index, {spread({4})}}};
  rows[2].refused = {{Refusal::value, {spread({2, 0})}}};
  rows[3].refused = {{Refusal::value, {spread({3, 2})}}};
  return rows;
}

double norm_of(const Doubles& x, double p) {
  double sum = 0;
  for (const double value : x) sum += std::pow(std::abs(value), p);
  return std::pow(sum, 1 / p);
}

std::vector<OpCase> norms() {
  const auto row = [](const char* variant, double p, Counts dims, bool keepdim, auto f) -> OpCase {
    return {.name = "norm",
            .variant = variant,
            .call = [=](In in) { return norm(in[0], p, Dims(dims), keepdim); },
            .reference = [=](In in) { return reduced(in[0], dims, keepdim, f); },
            .samples = {{spread({3, 4})}, {spread({2, 3, 2})}, {spread({1, 1})}},
            .refused = {{Refusal::type, {indices({3, 2}, 1, 4)}}}};
  };
  const auto power = [](double p) { return [p](const Doubles& x) { return norm_of(x, p); }; };
  const auto most = [](const Doubles& x) {
    double result = 0;
    for (const double value : x) result = std::max(result, std::abs(value));
    return result;
  };
  std::vector<OpCase> rows{row("p = 2", 2, {}, false, power(2)),
                           row("p = 1, keepdim", 1, {-1}, true, power(1)),
                           row("p = 3", 3, {0, -1}, false, power(3)),
                           row("p = 0.5", 0.5, {1}, false, power(0.5)),
                           row("p = -1", -1, {1}, false, power(-1)),
                           row("p = inf", INFINITY, {1}, false, most),
                           row("p = -inf", -INFINITY, {1}, false, [](const Doubles& x) {
                             double result = INFINITY;
                             for (const double value : x) result = std::min(result, std::abs(value));
                             return result;
                           })};
  rows[0].samples = unary_samples();
  rows[5].refused.push_back({Refusal::value, {spread({2, 0})}});
  const auto cosine = [](In in) {
    const auto length = [](const Doubles& x) { return norm_of(x, 2); };
    const Tensor dot =
        reduced(each(in[0], in[1], [](double a, double b) { return a * b; }), {1}, false, total);
    const auto across = [&](const Tensor& x) {
      return reduced(each(x, in[0].dim() > in[1].dim() ? in[0] : in[1], [](double a, double) { return a; }),
                     {1}, false, length);
    };
    return each(each(dot, across(in[0]), [](double d, double a) { return d / a; }), across(in[1]),
                [](double d, double b) { return d / b; });
  };
  const auto distance = [](double p) {
    return [p](In in) {
      Shape shape = broadcast(Shape(in[0].shape().begin(), in[0].shape().end() - 2),
                              Shape(in[1].shape().begin(), in[1].shape().end() - 2));
      shape.push_back(in[0].size(-2));
      shape.push_back(in[1].size(-2));
      return build(shape, [&](const Index& i) {
        Doubles difference;
        Index a(i.begin(), i.end() - 1), b = a;
        b.back() = i.back();
        a.push_back(0), b.push_back(0);
        for (std::int64_t m = 0; m < in[0].size(-1); ++m) {
          a.back() = b.back() = m;
          difference.push_back(at(in[0], a) - at(in[1], b));
        }
        return norm_of(difference, p);
      });
    };
  };
  const auto b = [](const Shape& shape) { return spread(shape, 7, 0.6); };
  const std::vector<Tensors> pairs{{spread({3, 2}), b({4, 2})},
                                   {spread({2, 3, 2}), b({2, 2})},
                                   {spread({1, 1}), b({1, 1})},
                                   {spread({0, 2}), b({3, 2})}};
  const std::vector<Refused> unequal{{Refusal::shape, {spread({2, 3}), spread({2, 2})}},
                                     {Refusal::shape, {spread({2}), spread({2})}},
                                     {Refusal::type, {indices({2, 2}, 1, 4), spread({2, 2})}}};
  rows.push_back({.name = "cosine_similarity",
                  .call = [](In in) { return cosine_similarity(in[0], in[1]); },
                  .reference = cosine,
                  .samples = {{spread({3, 4}), b({3, 4})},
                              {spread({2, 3, 4}), b({3, 4})},
                              {spread({1, 1}), b({1, 1})},
                              {spread({0, 3}), b({0, 3})}},
                  .refused = {{Refusal::shape, {spread({2, 3}), spread({4})}},
                              {Refusal::index, {spread({3}), spread({3})}},
                              {Refusal::type, {indices({2, 2}, 1, 4), spread({2, 2})}}}});
  rows.push_back({.name = "cdist",
                  .call = [](In in) { return cdist(in[0], in[1]); },
                  .reference = distance(2),
                  .samples = pairs,
                  .refused = unequal});
  rows.push_back({.name = "cdist",
                  .variant = "p = 1",
                  .call = [](In in) { return cdist(in[0], in[1], 1); },
                  .reference = distance(1),
                  .samples = pairs});
  return rows;
}

std::vector<OpCase> additions() {
  const auto added = [](In in, auto place) {
    std::vector<double> sums = in[0].values<double>();
    for_each_index(in[2].shape(), [&](const Index& i) {
      const Index to = place(i);
      if (to.empty()) return;
      std::int64_t flat = 0;
      for (std::size_t d = 0; d < to.size(); ++d) flat = flat * in[0].shape()[d] + to[d];
      sums[static_cast<std::size_t>(flat)] += at(in[2], i);
    });
    return tensor(sums, in[0].shape());
  };
  const auto b = [](const Shape& shape) { return spread(shape, 7, 0.6); };
  return {
      {.name = "scatter_add",
       .call = [](In in) { return scatter_add(in[0], 1, in[1], in[2]); },
       .reference =
           [=](In in) {
             return added(in, [&](Index i) -> Index {
               for (std::size_t d = 0; d < i.size(); ++d)
                 if (i[d] >= in[1].shape()[d]) return {};  // a source larger than the index
               i[1] = static_cast<std::int64_t>(at(in[1], i));
               return i;
             });
           },
       .samples = {{spread({3, 4}), indices({3, 6}, 1, 4), b({3, 6})},
                   {spread({2, 3, 2}), indices({1, 4, 2}, 2, 3), b({2, 5, 3})},
                   {spread({1, 1}), indices({1, 1}, 3, 1), b({1, 1})},
                   {spread({2, 3}), indices({2, 0}, 3, 1), b({2, 0})}},
       .refused = {{Refusal::index, {spread({3, 4}), indices({3, 20}, 1, 9), b({3, 20})}},
                   {Refusal::shape, {spread({3, 4}), indices({3, 5}, 1, 4), b({3, 4})}},
                   {Refusal::shape, {spread({3, 4}), indices({4, 2}, 1, 4), b({4, 2})}},
                   {Refusal::type, {spread({3, 4}), spread({3, 4}), b({3, 4})}}}},
      {.name = "index_add",
       .call = [](In in) { return index_add(in[0], 1, in[1], in[2]); },
       .reference =
           [=](In in) {
             return added(in, [&](Index i) {
               i[1] = static_cast<std::int64_t>(at(in[1], {i[1]}));
               return i;
             });
           },
       .samples = {{spread({3, 4}), indices({6}, 1, 4), b({3, 6})},
                   {spread({2, 3, 2}), indices({5}, 2, 3), b({2, 5, 2})},
                   {spread({1, 1}), indices({1}, 3, 1), b({1, 1})},
                   {spread({2, 3}), indices({0}, 3, 1), b({2, 0})}},
       .refused = {{Refusal::index, {spread({3, 4}), indices({20}, 1, 9), b({3, 20})}},
                   {Refusal::shape, {spread({3, 4}), indices({5}, 1, 4), b({3, 4})}},
                   {Refusal::shape, {spread({3, 4}), indices({2, 2}, 1, 4), b({3, 4})}},
                   {Refusal::type, {spread({3, 4}), spread({4}), b({3, 4})}}}},
  };
}

}  // namespace

std::vector<OpCase> array_cases() {
  std::vector<OpCase> rows = layouts();
  for (const auto& part : {scans(), sorts(), norms(), additions()})
    rows.insert(rows.end(), part.begin(), part.end());
  return rows;
}

}  // namespace retort::tests
