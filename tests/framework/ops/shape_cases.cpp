// Rows of the op table: framework/ops/shape_ops.hpp, indexing.hpp, and the copying operations of
// core/engine_ops.hpp.
#include "op_cases.hpp"

namespace retort::tests {
namespace {

using In = const Tensors&;

/// x along `dim` at the positions that `source` gives for each place of the result.
template <class F>
Tensor moved(const Tensor& x, const Shape& shape, F&& source) {
  return build(shape, [&](Index index) { return at(x, source(std::move(index))); });
}

std::vector<OpCase> rearranged() {
  const std::vector<Tensors> cubes{{spread({2, 3, 4})}, {spread({1, 1, 1})}, {spread({0, 3, 2})}};
  return {
      {.name = "reshape",
       .call =
           [](In in) {
             return reshape(in[0], {-1, 2});
           },
       .reference =
           [](In in) {
             return shaped(in[0], {in[0].size() / 2, 2});
           },
       .samples = {{spread({3, 4})}, {spread({2})}, {spread({0, 2})}},
       .refused = {{Refusal::shape, {spread({3})}}}},
      {.name = "reshape",
       .variant = "to one dimension",
       .call = [](In in) { return reshape(in[0], {-1}); },
       .reference = [](In in) { return shaped(in[0], {in[0].size()}); },
       .samples = unary_samples()},
      {.name = "flatten",
       .call = [](In in) { return flatten(in[0], 1); },
       .reference =
           [](In in) {
             return shaped(in[0], {in[0].size(0), in[0].size(1) * in[0].size(2)});
           },
       .samples = cubes},
      {.name = "squeeze",
       .call = [](In in) { return squeeze(in[0], 1); },
       .reference =
           [](In in) {
             return shaped(in[0], {in[0].size(0), in[0].size(2)});
           },
       .samples = {{spread({2, 1, 3})}, {spread({1, 1, 1})}, {spread({0, 1, 2})}},
       .refused = {{Refusal::index, {spread({3})}}}},
      {.name = "unsqueeze",
       .call = [](In in) { return unsqueeze(in[0], -1); },
       .reference =
           [](In in) {
             return shaped(in[0], {in[0].size(), 1});
           },
       .samples = {{spread({3})}, {spread({1})}, {spread({0})}}},
      {.name = "permute",
       .call =
           [](In in) {
             return permute(in[0], {2, 0, -2});
           },
       .reference =
           [](In in) {
             const Shape& s = in[0].shape();
             return moved(in[0], {s[2], s[0], s[1]}, [](Index i) { return Index{i[1], i[2], i[0]}; });
           },
       .samples = cubes,
       .refused = {{Refusal::value, {spread({2, 3})}}}},
      {.name = "transpose",
       .call = [](In in) { return transpose(in[0], 0, -1); },
       .reference =
           [](In in) {
             const Shape& s = in[0].shape();
             return moved(in[0], {s[2], s[1], s[0]}, [](Index i) { return Index{i[2], i[1], i[0]}; });
           },
       .samples = cubes},
      {.name = "slice",
       .call = [](In in) { return slice(in[0], 1, 1, 100, 2); },
       .reference =
           [](In in) {
             const Shape& s = in[0].shape();
             return moved(in[0], {s[0], s[1] / 2}, [](Index i) { return Index{i[0], 1 + 2 * i[1]}; });
           },
       .samples = {{spread({2, 7})}, {spread({3, 1})}, {spread({1, 2})}, {spread({0, 5})}},
       .refused = {{Refusal::index, {spread({3})}}}},
      {.name = "slice",
       .variant = "from the end",
       .call = [](In in) { return slice(in[0], 0, -2); },
       .reference =
           [](In in) {
             const std::int64_t n = in[0].size(0), kept = std::min<std::int64_t>(n, 2);
             return moved(in[0], {kept}, [=](Index i) { return Index{n - kept + i[0]}; });
           },
       .samples = {{spread({7})}, {spread({1})}, {spread({0})}}},
      {.name = "select",
       .call = [](In in) { return select(in[0], 1, -1); },
       .reference =
           [](In in) {
             const Shape& s = in[0].shape();
             return moved(in[0], {s[0]}, [&](Index i) { return Index{i[0], s[1] - 1}; });
           },
       .samples = {{spread({3, 4})}, {spread({1, 1})}, {spread({0, 2})}},
       .refused = {{Refusal::index, {spread({3})}}, {Refusal::index, {spread({2, 0})}}}},
      {.name = "unbind",
       .call =
           [](In in) {
             const Tensors parts = unbind(in[0], 1);
             return parts.front() * 2.0 + parts.back();
           },
       .reference =
           [](In in) {
             const Shape& s = in[0].shape();
             return build({s[0]}, [&](Index i) {
               return 2 * at(in[0], {i[0], 0}) + at(in[0], {i[0], s[1] - 1});
             });
           },
       .samples = {{spread({3, 4})}, {spread({1, 1})}, {spread({0, 2})}},
       .refused = {{Refusal::index, {spread({3})}}, {Refusal::index, {spread({})}}}},
      {.name = "split",
       .call =
           [](In in) {
             const Tensors parts = split(in[0], 3, 1);
             return concat({parts.back(), parts.front()}, 1);
           },
       .reference =
           [](In in) {
             const Shape& s = in[0].shape();
             const std::int64_t last = s[1] > 0 ? (s[1] - 1) / 3 * 3 : 0, tail = s[1] - last;
             return moved(in[0], {s[0], tail + std::min<std::int64_t>(s[1], 3)}, [=](Index i) {
               return Index{i[0], i[1] < tail ? last + i[1] : i[1] - tail};
             });
           },
       .samples = {{spread({2, 7})}, {spread({2, 3})}, {spread({1, 1})}, {spread({0, 4})}, {spread({2, 0})}},
       .refused = {{Refusal::index, {spread({3})}}, {Refusal::index, {spread({})}}}},
      {.name = "split",
       .variant = "by sizes",
       .call =
           [](In in) {
             const Tensors parts = split(in[0], std::vector<std::int64_t>{1, 0, 2}, -1);
             return concat({parts[2], parts[1], parts[0]}, -1);
           },
       .reference =
           [](In in) {
             return moved(in[0], in[0].shape(), [](Index i) { return Index{i[0], (i[1] + 1) % 3}; });
           },
       .samples = {{spread({2, 3})}, {spread({0, 3})}},
       .refused = {{Refusal::shape, {spread({2, 4})}}, {Refusal::shape, {spread({2, 2})}}}},
      {.name = "chunk",
       .call =
           [](In in) {
             const Tensors parts = chunk(in[0], 3, 0);
             return concat({parts.back(), parts.front()});
           },
       .reference =
           [](In in) {
             const std::int64_t n = in[0].size(0), size = std::max<std::int64_t>((n + 2) / 3, 1);
             const std::int64_t last = n > 0 ? (n - 1) / size * size : 0, tail = n - last;
             return moved(in[0], {tail + std::min(size, n)},
                          [=](Index i) { return Index{i[0] < tail ? last + i[0] : i[0] - tail}; });
           },
       .samples = {{spread({7})}, {spread({4})}, {spread({1})}, {spread({0})}},
       .refused = {{Refusal::index, {spread({})}}}},
      {.name = "concat",
       .call = [](In in) { return concat(in, 1); },
       .reference =
           [](In in) {
             std::int64_t width = 0;
             for (const Tensor& part : in) width += part.size(1);
             return build({in[0].size(0), width}, [&](Index i) {
               std::size_t part = 0;
               while (i[1] >= in[part].size(1)) i[1] -= in[part++].size(1);
               return at(in[part], i);
             });
           },
       .samples = {{spread({3, 2}), spread({3, 4}, 2)},
                   {spread({2, 1}), spread({2, 0}), spread({2, 3}, 2)},
                   {spread({2, 3}), spread({2, 3}, 2)},
                   {spread({1, 1})},
                   {spread({0, 1}), spread({0, 2})}},
       .refused = {{Refusal::shape, {spread({3, 2}), spread({2, 2})}}}},
      {.name = "stack",
       .call = [](In in) { return stack(in, 0); },
       .reference =
           [](In in) {
             return build({static_cast<std::int64_t>(in.size()), in[0].size()},
                          [&](const Index& i) { return at(in[static_cast<std::size_t>(i[0])], {i[1]}); });
           },
       .samples = {{spread({3}), spread({3}, 2), spread({3}, 3)}, {spread({1})}, {spread({0}), spread({0})}},
       .refused = {{Refusal::shape, {spread({3}), spread({2})}}}},
      {.name = "broadcast_to",
       .call =
           [](In in) {
             return broadcast_to(in[0], {2, 3, 4});
           },
       .reference =
           [](In in) {
             return build({2, 3, 4}, [&](const Index& i) { return at(in[0], i); });
           },
       .samples = {{spread({3, 1})}, {spread({})}, {spread({2, 3, 4})}, {spread({1})}, {spread({2, 1, 4})}},
       .refused = {{Refusal::shape, {spread({2, 4})}}}},
      {.name = "broadcast_to",
       .variant = "nothing",
       .call =
           [](In in) {
             return broadcast_to(in[0], {0, 3});
           },
       .reference =
           [](In) {
             return tensor(Doubles{}, {0, 3});
           },
       .samples = {{spread({3})}, {spread({0, 1})}}},
      {.name = "sum_to",
       .call =
           [](In in) {
             return sum_to(in[0], {3, 1});
           },
       .reference =
           [](In in) {
             return shaped(reduced(in[0], {0, 2}, false, total), {3, 1});
           },
       .samples = {{spread({2, 3, 4})}, {spread({1, 3, 1})}, {spread({0, 3, 2})}},
       .refused = {{Refusal::shape, {spread({2, 4, 1})}}}},
      {.name = "sum_to",
       .variant = "a scalar's shape",
       .call = [](In in) { return sum_to(in[0], {}); },
       .reference = [](In in) { return reduced(in[0], {}, false, total); },
       .samples = unary_samples()},
  };
}

std::vector<OpCase> indexed() {
  return {
      {.name = "gather",
       .call = [](In in) { return gather(in[0], 1, in[1]); },
       .reference =
           [](In in) {
             return build(in[1].shape(), [&](const Index& i) {
               return at(in[0], {i[0], static_cast<std::int64_t>(at(in[1], i))});
             });
           },
       .samples = {{spread({3, 4}), indices({3, 6}, 1, 4)},
                   {spread({3, 4}), indices({2, 2}, 2, 4)},
                   {spread({1, 1}), indices({1, 1}, 3, 1)},
                   {spread({3, 4}), indices({3, 0}, 3, 1)}},
       .refused = {{Refusal::index, {spread({3, 4}), indices({3, 20}, 1, 9)}},
                   {Refusal::type, {spread({3, 4}), spread({3, 4})}}}},
      {.name = "index_select",
       .call = [](In in) { return index_select(in[0], 1, in[1]); },
       .reference =
           [](In in) {
             return build({in[0].size(0), in[1].size()}, [&](const Index& i) {
               return at(in[0], {i[0], static_cast<std::int64_t>(at(in[1], {i[1]}))});
             });
           },
       .samples = {{spread({3, 4}), indices({7}, 1, 4)},
                   {spread({1, 1}), indices({1}, 2, 1)},
                   {spread({3, 4}), indices({0}, 3, 4)}},
       .refused = {{Refusal::index, {spread({3, 4}), indices({20}, 1, 9)}}}},
      {.name = "embedding",
       .call = [](In in) { return embedding(in[0], in[1]); },
       .reference =
           [](In in) {
             Shape shape = in[0].shape();
             shape.push_back(in[1].size(1));
             return build(shape, [&](Index i) {
               const std::int64_t feature = i.back();
               i.pop_back();
               return at(in[1], {static_cast<std::int64_t>(at(in[0], i)), feature});
             });
           },
       .samples = {{indices({5}, 1, 4), spread({4, 3})},
                   {indices({2, 3}, 2, 4), spread({4, 3})},
                   {indices({}, 3, 1), spread({1, 1})},
                   {indices({0}, 3, 1), spread({2, 3})}},
       .refused = {{Refusal::index, {indices({20}, 1, 9), spread({4, 3})}},
                   {Refusal::type, {spread({2}), spread({4, 3})}}}},
      {.name = "one_hot",
       .call = [](In in) { return one_hot(in[0], 4); },
       .reference =
           [](In in) {
             return as_int64(build({in[0].size(), 4}, [&](const Index& i) {
               return at(in[0], {i[0]}) == static_cast<double>(i[1]) ? 1.0 : 0.0;
             }));
           },
       .samples = {{indices({5}, 1, 4)}, {indices({1}, 2, 4)}, {indices({0}, 3, 4)}},
       .refused = {{Refusal::index, {indices({20}, 1, 9)}}, {Refusal::type, {spread({3})}}},
       .differentiable = false},
  };
}

}  // namespace

std::vector<OpCase> shape_cases() {
  std::vector<OpCase> rows = rearranged();
  for (const OpCase& row : indexed()) rows.push_back(row);
  return rows;
}

}  // namespace retort::tests
