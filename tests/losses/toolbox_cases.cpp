// Rows of the op table: the losses of the distillation toolbox.
#include <cmath>
#include <numeric>

#include "op_cases.hpp"
#include "retort/losses/decoupled_distillation_loss.hpp"
#include "retort/losses/dist_loss.hpp"
#include "retort/losses/feature_losses.hpp"
#include "retort/losses/sparse_distillation_loss.hpp"

namespace retort::tests {
namespace {

using In = const Tensors&;
using Matrix = std::vector<Doubles>;

Tensor scalar(double value) { return tensor(Doubles{value}, {}); }

/// The rows of x, flattened from the second dimension on.
Matrix rows_of(const Tensor& x) {
  const Doubles values = x.values<double>();
  const auto rows = static_cast<std::size_t>(x.size(0));
  const std::size_t columns = rows == 0 ? 0 : values.size() / rows;
  Matrix matrix;
  for (std::size_t i = 0; i < rows; ++i)
    matrix.emplace_back(values.begin() + static_cast<std::ptrdiff_t>(i * columns),
                        values.begin() + static_cast<std::ptrdiff_t>((i + 1) * columns));
  return matrix;
}

double dot(const Doubles& a, const Doubles& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

Doubles unit(Doubles x) {
  const double length = std::sqrt(dot(x, x));
  for (double& value : x) value = length > 0 ? value / length : 0;
  return x;
}

double mean_of(const Matrix& a, const Matrix& b, double (*f)(double)) {
  double sum = 0, count = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t j = 0; j < a[i].size(); ++j, ++count) sum += f(a[i][j] - b[i][j]);
  return sum / count;
}

double square(double d) { return d * d; }
double smooth(double d) { return std::abs(d) < 1 ? d * d / 2 : std::abs(d) - 0.5; }

Matrix maps(const Tensor& x) {
  Matrix result;
  for (std::int64_t n = 0; n < x.size(0); ++n) {
    Doubles map;
    for (std::int64_t h = 0; h < x.size(2); ++h)
      for (std::int64_t w = 0; w < x.size(3); ++w) {
        double sum = 0;
        for (std::int64_t c = 0; c < x.size(1); ++c) sum += square(at(x, {n, c, h, w}));
        map.push_back(sum / static_cast<double>(x.size(1)));
      }
    result.push_back(unit(map));
  }
  return result;
}

Matrix similarity(const Tensor& x) {
  const Matrix rows = rows_of(x);
  Matrix result;
  for (const Doubles& a : rows) {
    Doubles row;
    for (const Doubles& b : rows) row.push_back(dot(a, b));
    result.push_back(unit(row));
  }
  return result;
}

Doubles between(const Doubles& from, const Doubles& to) {
  Doubles d = to;
  for (std::size_t i = 0; i < d.size(); ++i) d[i] -= from[i];
  return d;
}

Matrix distances(const Tensor& x) {
  const Matrix rows = rows_of(x);
  Matrix result;
  double sum = 0, count = 0;
  for (const Doubles& a : rows) {
    Doubles row;
    for (const Doubles& b : rows) {
      row.push_back(std::sqrt(dot(between(a, b), between(a, b))));
      sum += row.back();
      count += row.back() > 0 ? 1 : 0;
    }
    result.push_back(row);
  }
  for (Doubles& row : result)
    for (double& value : row)
      if (count > 0) value *= count / sum;
  return result;
}

/// One row per triple's first example.
Matrix angles(const Tensor& x) {
  const Matrix rows = rows_of(x);
  Matrix result;
  for (const Doubles& a : rows) {
    Doubles row;
    for (const Doubles& b : rows)
      for (const Doubles& c : rows) row.push_back(dot(unit(between(a, b)), unit(between(a, c))));
    result.push_back(row);
  }
  return result;
}

std::vector<OpCase> feature_rows() {
  const auto images = [](std::int64_t n, std::int64_t c, std::int64_t size, std::uint64_t seed) {
    return uniform({n, c, size, size}, seed, 0.2, 2);
  };
  const std::vector<Tensors> vectors{{uniform({5, 3}, 1), uniform({5, 4}, 2)},
                                     {uniform({2, 7}, 3), uniform({2, 7}, 4)},
                                     {uniform({1, 1}, 3), uniform({1, 1}, 4)},
                                     {uniform({0, 3}, 1), uniform({0, 3}, 1)}};
  const std::vector<Refused> refused{{Refusal::shape, {uniform({3, 2}, 1), uniform({4, 2}, 1)}},
                                     {Refusal::shape, {uniform({}, 1), uniform({}, 1)}},
                                     {Refusal::type, {uniform({3, 2}, 1), indices({3, 2}, 1, 4)}}};
  return {{.name = "attention_transfer_loss",
           .call = [](In in) { return attention_transfer_loss(in[0], in[1]); },
           .reference = [](In in) { return scalar(mean_of(maps(in[0]), maps(in[1]), square)); },
           .samples = {{images(2, 3, 2, 1), images(2, 4, 2, 2)},
                       {images(1, 1, 3, 3), images(1, 1, 3, 4)},
                       {images(1, 1, 1, 5), images(1, 1, 1, 6)},
                       {images(0, 2, 2, 1), images(0, 2, 2, 1)}},
           .refused = {{Refusal::shape, {images(2, 3, 2, 1), images(2, 3, 3, 1)}},
                       {Refusal::shape, {images(2, 3, 2, 1), images(3, 3, 2, 1)}},
                       {Refusal::shape, {uniform({2, 3}, 1), uniform({2, 3}, 1)}}}},
          {.name = "similarity_preserving_loss",
           .call = [](In in) { return similarity_preserving_loss(in[0], in[1]); },
           .reference = [](In in) { return scalar(mean_of(similarity(in[0]), similarity(in[1]), square)); },
           .samples = {{uniform({4, 3}, 1), uniform({4, 5}, 2)},
                       {uniform({3, 2, 2}, 1), uniform({3, 7}, 2)},
                       {uniform({1, 1}, 1), uniform({1, 1}, 2)},
                       {uniform({0, 3}, 1), uniform({0, 2}, 2)}},
           .refused = refused},
          {.name = "relational_distance_loss",
           .call = [](In in) { return relational_distance_loss(in[0], in[1]); },
           .reference = [](In in) { return scalar(mean_of(distances(in[0]), distances(in[1]), smooth)); },
           .samples = vectors,
           .refused = refused},
          {.name = "relational_angle_loss",
           .call = [](In in) { return relational_angle_loss(in[0], in[1]); },
           .reference = [](In in) { return scalar(mean_of(angles(in[0]), angles(in[1]), smooth)); },
           .samples = {{uniform({4, 3}, 1), uniform({4, 2}, 2)},
                       {uniform({3, 3}, 5), uniform({3, 3}, 6)},
                       {uniform({1, 1}, 5), uniform({1, 1}, 6)},
                       {uniform({0, 3}, 1), uniform({0, 3}, 1)}},
           .refused = refused}};
}

Doubles softened(const Doubles& logits, double T) {
  Doubles scaled = logits;
  for (double& value : scaled) value /= T;
  return softmax_of(scaled);
}

double kl(const Doubles& p, const Doubles& q) {
  double sum = 0;
  for (std::size_t c = 0; c < p.size(); ++c)
    if (p[c] > 0) sum += p[c] * std::log(p[c] / q[c]);
  return sum;
}

double decoupled(const Doubles& s, const Doubles& t, std::size_t label) {
  if (s.size() == 1) return 0;
  const double T = 3;
  const auto split = [&](const Doubles& logits) {
    const Doubles p = softened(logits, T);
    Doubles rest = logits;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(label));
    return std::pair(Doubles{p[label], total(p) - p[label]}, softened(rest, T));
  };
  const auto [p, p_rest] = split(t);
  const auto [q, q_rest] = split(s);
  return T * T * (0.7 * kl(p, q) + 2 * kl(p_rest, q_rest));
}

double correlation(Doubles x, Doubles y) {
  for (Doubles* values : {&x, &y}) {
    const double mean = total(*values) / static_cast<double>(values->size());
    for (double& value : *values) value -= mean;
  }
  return dot(x, y) / (std::sqrt(dot(x, x) * dot(y, y)) + 1e-8);
}

Matrix transposed(const Matrix& x) {
  Matrix y(x[0].size(), Doubles(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i)
    for (std::size_t j = 0; j < x[i].size(); ++j) y[j][i] = x[i][j];
  return y;
}

double dist(const Tensor& student, const Tensor& teacher) {
  if (student.size() == 0) return std::nan("");
  const double T = 2;
  const auto softened_rows = [&](const Tensor& x) {
    Matrix rows = rows_of(x);
    for (Doubles& row : rows) row = softened(row, T);
    return rows;
  };
  const auto distance = [](const Matrix& a, const Matrix& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += 1 - correlation(a[i], b[i]);
    return sum / static_cast<double>(a.size());
  };
  const Matrix q = softened_rows(student), p = softened_rows(teacher);
  return T * T * (0.5 * distance(q, p) + 2 * distance(transposed(q), transposed(p)));
}

std::vector<OpCase> logit_rows() {
  const std::vector<Refused> refused{
      {Refusal::shape, {uniform({5, 4}, 1), uniform({5, 3}, 1), indices({5}, 1, 3)}},
      {Refusal::type, {uniform({5, 4}, 1), uniform({5, 4}, 1), uniform({5}, 1)}}};
  return {{.name = "decoupled_distillation_loss",
           .call =
               [](In in) {
                 return decoupled_distillation_loss(
                     {.student = in[0], .teacher = in[1], .labels = in[2]},
                     {.temperature = 3, .alpha = 0.7, .beta = 2, .detach_teacher = false});
               },
           .reference =
               [](In in) {
                 const Matrix s = rows_of(in[0]), t = rows_of(in[1]);
                 double sum = 0;
                 for (std::size_t i = 0; i < s.size(); ++i)
                   sum += decoupled(s[i], t[i],
                                    static_cast<std::size_t>(at(in[2], {static_cast<std::int64_t>(i)})));
                 return scalar(s.empty() ? 0 : sum / static_cast<double>(s.size()));
               },
           .samples = {{uniform({5, 4}, 1), uniform({5, 4}, 2), indices({5}, 3, 4)},
                       {uniform({1, 9}, 1), uniform({1, 9}, 2), indices({1}, 3, 9)},
                       {uniform({1, 1}, 1), uniform({1, 1}, 2), indices({1}, 3, 1)},
                       {uniform({0, 4}, 1), uniform({0, 4}, 2), indices({0}, 3, 4)}},
           .refused = refused},
          {.name = "dist_loss",
           .call =
               [](In in) {
                 return dist_loss(in[0], in[1],
                                  {.beta = 0.5, .gamma = 2, .temperature = 2, .detach_teacher = false});
               },
           .reference = [](In in) { return scalar(dist(in[0], in[1])); },
           .samples = {{uniform({5, 4}, 1), uniform({5, 4}, 2)},
                       {uniform({3, 6}, 1), uniform({3, 6}, 2)},
                       {uniform({1, 1}, 1), uniform({1, 1}, 2)},
                       {uniform({0, 4}, 1), uniform({0, 4}, 2)}},
           .refused = {{Refusal::shape, {uniform({5, 4}, 1), uniform({5, 3}, 1)}}}},
          {.name = "mix_teachers",
           .call =
               [](In in) {
                 return mix_teachers({in[0], in[1]}, {0.3, 0.6}, 2);
               },
           .reference =
               [](In in) {
                 const auto softened_rows = [](const Tensor& x) {
                   return along(x, -1, [](const Doubles& row) { return softened(row, 2); });
                 };
                 return each(softened_rows(in[0]), softened_rows(in[1]),
                             [](double a, double b) { return 2 * std::log(0.3 * a + 0.6 * b); });
               },
           .samples = {{uniform({3, 5}, 1), uniform({3, 5}, 2)},
                       {uniform({7}, 1), uniform({7}, 2)},
                       {uniform({1}, 1), uniform({1}, 2)},
                       {uniform({0, 3}, 1), uniform({0, 3}, 2)}},
           .refused = {{Refusal::shape, {uniform({5, 4}, 1), uniform({4}, 1)}}}}};
}

/// The sparse loss of one row with K = 2.
double sparse(const Doubles& student, const Doubles& teacher, std::size_t label, Tail tail) {
  const double T = 2;
  const Doubles p = softened(teacher, T), q = softened(student, T);
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
  Doubles kept_p, kept_q;
  for (std::size_t k = 0; k < std::min<std::size_t>(2, p.size()); ++k) {
    kept_p.push_back(p[order[k]]);
    kept_q.push_back(q[order[k]]);
  }
  if (tail == Tail::bucket) {
    kept_p.push_back(1 - total(kept_p));
    kept_q.push_back(1 - total(kept_q));
  }
  if (tail == Tail::renormalize)
    for (Doubles* values : {&kept_p, &kept_q}) {
      const double sum = total(*values);
      for (double& value : *values) value /= sum;
    }
  return 0.6 * T * T * kl(kept_p, kept_q) - 0.4 * log_softmax_of(student)[label];
}

std::vector<OpCase> sparse_rows() {
  std::vector<OpCase> rows;
  rows.push_back({.name = "dense_logits",
                  .call =
                      [](In in) {
                        const Tensor classes = broadcast_to(2 * arange(in[0].size(1)), in[0].shape());
                        return dense_logits({classes, in[0], in[1], 7, 3});
                      },
                  .reference =
                      [](In in) {
                        const Matrix kept = rows_of(in[0]);
                        Doubles values;
                        for (std::size_t i = 0; i < kept.size(); ++i)
                          for (std::size_t c = 0; c < 7; ++c) {
                            const double tail = at(in[1], {static_cast<std::int64_t>(i)}),
                                         rest = static_cast<double>(7 - kept[i].size());
                            values.push_back(3 * (c % 2 == 0 && c / 2 < kept[i].size()
                                                      ? kept[i][c / 2]
                                                      : tail - std::log(rest)));
                          }
                        return tensor(values, {in[0].size(0), 7});
                      },
                  .samples = {{uniform({5, 3}, 1, -3, -1), uniform({5}, 2, -3, -1)},
                              {uniform({1, 1}, 1, -3, -1), uniform({1}, 2, -3, -1)},
                              {uniform({0, 3}, 1, -3, -1), uniform({0}, 2, -3, -1)}},
                  .refused = {{Refusal::shape, {uniform({5, 3}, 1), uniform({4}, 2)}}},
                  .mixed_tolerance = 1e-6});
  for (const Tail tail : {Tail::bucket, Tail::drop, Tail::renormalize})
    for (const Reduction reduction : {Reduction::none, Reduction::batchmean})
      rows.push_back(
          {.name = "sparse_distillation_loss",
           .variant = std::to_string(static_cast<int>(tail)) + ", " + std::string(name(reduction)),
           .call =
               [=](In in) {
                 const Tensor teacher = uniform(in[0].shape(), 21).to(DType::float32).to(in[0].dtype());
                 return sparse_distillation_loss(
                     {.student = in[0],
                      .teacher = sparse_teacher(teacher, std::min<std::int64_t>(2, in[0].size(1)), 2),
                      .labels = in[1]},
                     {.alpha = 0.6, .tail = tail, .reduction = reduction});
               },
           .reference =
               [=](In in) {
                 const Matrix s = rows_of(in[0]);
                 const Matrix t = rows_of(uniform(in[0].shape(), 21).to(DType::float32).to(DType::float64));
                 Doubles terms;
                 for (std::size_t i = 0; i < s.size(); ++i)
                   terms.push_back(sparse(s[i], t[i],
                                          static_cast<std::size_t>(at(in[1], {static_cast<std::int64_t>(i)})),
                                          tail));
                 if (reduction == Reduction::none) return tensor(terms, {in[0].size(0)});
                 return scalar(terms.empty() ? 0 : total(terms) / static_cast<double>(terms.size()));
               },
           .samples = {{uniform({5, 7}, 1), indices({5}, 3, 7)},
                       {uniform({1, 19}, 1), indices({1}, 3, 19)},
                       {uniform({1, 1}, 1), indices({1}, 3, 1)},
                       {uniform({0, 4}, 1), indices({0}, 3, 4)}},
           .refused = {{Refusal::index, {uniform({20, 4}, 1), indices({20}, 1, 9)}},
                       {Refusal::type, {uniform({5, 4}, 1), uniform({5}, 1)}}}});
  return rows;
}

}  // namespace

std::vector<OpCase> toolbox_cases() {
  std::vector<OpCase> rows = feature_rows();
  for (const auto part : {logit_rows, sparse_rows})
    for (OpCase& row : part()) rows.push_back(std::move(row));
  return rows;
}

}  // namespace retort::tests
