// Rows of the op table: losses of pairs of elements and of embeddings.
#include <cmath>

#include "op_cases.hpp"

namespace retort::tests {
namespace {

using In = const Tensors&;
using Terms = std::function<Tensor(In)>;
using Call = std::function<Tensor(In, Reduction)>;

Tensor reduced(const Tensor& terms, Reduction reduction) {
  if (reduction == Reduction::none) return terms;
  const double sum = total(terms.values<double>());
  return tensor(Doubles{reduction == Reduction::sum ? sum : sum / static_cast<double>(terms.size())}, {});
}

/// A row for each reduction.
void append(std::vector<OpCase>& rows, const OpCase& row, const Call& call, const Terms& terms) {
  for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::mean}) {
    rows.push_back(row);
    rows.back().variant = std::string(name(reduction)) + (row.variant.empty() ? "" : ", " + row.variant);
    rows.back().call = [=](In in) { return call(in, reduction); };
    rows.back().reference = [=](In in) { return reduced(terms(in), reduction); };
  }
}

Terms of_errors(double (*f)(double)) {
  return [f](In in) { return each(in[0], in[1], [f](double x, double t) { return f(std::abs(x - t)); }); };
}

double softplus_of(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

Doubles row_of(const Tensor& x, Index place) {
  Doubles values;
  place.push_back(0);
  for (std::int64_t d = 0; d < x.shape().back(); ++d) {
    place.back() = d;
    values.push_back(at(x, place));
  }
  return values;
}

Shape without_last(Shape shape) {
  shape.pop_back();
  return shape;
}

double distance_of(const Doubles& a, const Doubles& b, double p) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(std::abs(a[i] - b[i] + 1e-6), p);
  return std::pow(sum, 1 / p);
}

double cosine_of(const Doubles& a, const Doubles& b) {
  double ab = 0, aa = 1e-12, bb = 1e-12;
  for (std::size_t i = 0; i < a.size(); ++i) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
  return ab / std::sqrt(aa * bb);
}

Tensor signs(const Shape& shape, std::uint64_t seed) { return 2 * indices(shape, seed, 2) - 1; }

}  // namespace

std::vector<OpCase> pair_loss_cases() {
  const std::vector<Tensors> pairs{{spread({3, 5}), spread({3, 5}, 2, 0.31)},
                                   {spread({33}), spread({33}, 2, 0.31)},
                                   {spread({1}), spread({1}, 2, 0.31)},
                                   {spread({}), spread({}, 2, 0.31)},
                                   {spread({0, 3}), spread({0, 3})}};
  const std::vector<Refused> refused{{Refusal::shape, {spread({4, 1}), spread({4})}},
                                     {Refusal::type, {spread({2}), indices({2}, 1, 2)}}};
  std::vector<OpCase> rows;
  append(
      rows, {.name = "l1_loss", .samples = pairs, .refused = refused},
      [](In in, Reduction r) { return l1_loss(in[0], in[1], {.reduction = r}); },
      of_errors([](double d) { return d; }));
  append(
      rows, {.name = "smooth_l1_loss", .samples = pairs, .refused = refused},
      [](In in, Reduction r) { return smooth_l1_loss(in[0], in[1], {.reduction = r, .beta = 0.5}); },
      of_errors([](double d) { return d < 0.5 ? d * d : d - 0.25; }));
  append(
      rows, {.name = "huber_loss", .samples = pairs, .refused = refused},
      [](In in, Reduction r) { return huber_loss(in[0], in[1], {.reduction = r, .delta = 0.5}); },
      of_errors([](double d) { return d <= 0.5 ? d * d / 2 : 0.5 * (d - 0.25); }));
  append(
      rows, {.name = "binary_cross_entropy_with_logits", .samples = pairs, .refused = refused},
      [](In in, Reduction r) { return binary_cross_entropy_with_logits(in[0], in[1], {.reduction = r}); },
      [](In in) {
        return each(in[0], in[1],
                    [](double x, double t) { return t * softplus_of(-x) + (1 - t) * softplus_of(x); });
      });
  append(
      rows,
      {.name = "binary_cross_entropy_with_logits",
       .variant = "weights",
       .samples = {{spread({3, 5}), uniform({3, 5}, 2, 0, 1), uniform({5}, 3, 0.2, 2),
                    uniform({3, 1}, 4, 0.2, 2)},
                   {spread({1}), uniform({1}, 2, 0, 1), uniform({}, 3, 0.2, 2), uniform({1}, 4, 0.2, 2)}},
       .refused = {{Refusal::shape, {spread({4}), spread({4}), uniform({2, 4}, 1), uniform({4}, 1)}},
                   {Refusal::shape, {spread({4}), spread({4}), uniform({4}, 1), uniform({3}, 1)}}}},
      [](In in, Reduction r) {
        return binary_cross_entropy_with_logits(in[0], in[1],
                                                {.weight = in[2], .reduction = r, .pos_weight = in[3]});
      },
      [](In in) {
        return build(in[0].shape(), [&](const Index& place) {
          const double x = at(in[0], place), t = at(in[1], place);
          return at(in[2], place) * (at(in[3], place) * t * softplus_of(-x) + (1 - t) * softplus_of(x));
        });
      });
  append(
      rows,
      {.name = "cosine_embedding_loss",
       .samples = {{uniform({6, 4}, 1), uniform({6, 4}, 2), signs({6}, 3)},
                   {uniform({2, 3, 5}, 1), uniform({2, 3, 5}, 2), signs({2, 3}, 3)},
                   {uniform({3}, 1), uniform({3}, 2), signs({}, 3)},
                   {uniform({1, 1}, 1), uniform({1, 1}, 2), signs({1}, 3)},
                   {uniform({0, 3}, 1), uniform({0, 3}, 2), signs({0}, 3)}},
       .refused = {{Refusal::shape, {uniform({3, 2}, 1), uniform({3, 4}, 1), signs({3}, 1)}},
                   {Refusal::shape, {uniform({3, 2}, 1), uniform({3, 2}, 1), signs({2}, 1)}},
                   {Refusal::shape, {uniform({}, 1), uniform({}, 1), signs({}, 1)}},
                   {Refusal::type, {uniform({3, 2}, 1), uniform({3, 2}, 1), uniform({3}, 1)}},
                   {Refusal::value, {uniform({3, 2}, 1), uniform({3, 2}, 1), zeros({3}, DType::int64)}}}},
      [](In in, Reduction r) {
        return cosine_embedding_loss(in[0], in[1], in[2], {.margin = 0.1, .reduction = r});
      },
      [](In in) {
        return build(in[2].shape(), [&](const Index& place) {
          const double cosine = cosine_of(row_of(in[0], place), row_of(in[1], place));
          return at(in[2], place) == 1 ? 1 - cosine : std::max(0.0, cosine - 0.1);
        });
      });
  for (const bool swap : {false, true})
    for (const double p : {2.0, 3.0})
      append(
          rows,
          {.name = "triplet_margin_loss",
           .variant = message("p {}{}", p, swap ? ", swap" : ""),
           .samples = {{uniform({6, 4}, 1), uniform({6, 4}, 2), uniform({6, 4}, 3)},
                       {uniform({2, 3, 5}, 1), uniform({2, 3, 5}, 2), uniform({2, 3, 5}, 3)},
                       {uniform({3}, 1), uniform({3}, 2), uniform({3}, 3)},
                       {uniform({1, 1}, 1), uniform({1, 1}, 2), uniform({1, 1}, 3)},
                       {uniform({0, 3}, 1), uniform({0, 3}, 2), uniform({0, 3}, 3)}},
           .refused = {{Refusal::shape, {uniform({3, 2}, 1), uniform({3, 4}, 1), uniform({3, 2}, 1)}},
                       {Refusal::shape, {uniform({3, 2}, 1), uniform({3, 2}, 1), uniform({2}, 1)}}}},
          [=](In in, Reduction r) {
            return triplet_margin_loss(in[0], in[1], in[2],
                                       {.margin = 0.7, .p = p, .swap = swap, .reduction = r});
          },
          [=](In in) {
            return build(without_last(in[0].shape()), [&](const Index& place) {
              const Doubles a = row_of(in[0], place), b = row_of(in[1], place), c = row_of(in[2], place);
              const double apart =
                  swap ? std::min(distance_of(a, c, p), distance_of(b, c, p)) : distance_of(a, c, p);
              return std::max(0.0, distance_of(a, b, p) - apart + 0.7);
            });
          });
  return rows;
}

}  // namespace retort::tests
