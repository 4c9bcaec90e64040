// Rows of the op table: losses/*.hpp, in the reductions that they have.
#include <cmath>

#include "op_cases.hpp"
#include "retort/losses/linear_distillation_loss.hpp"

namespace retort::tests {

std::vector<OpCase> divergence_cases();  // in divergence_cases.cpp

namespace {

using In = const Tensors&;

double positive_part(double t) { return t == 0 ? 0 : t * std::log(t); }

Tensor scalar(double value) { return tensor(Doubles{value}, {}); }

/// The reduction of a loss's terms; `count` is the divisor of mean and batchmean.
Tensor put_together(const Tensor& terms, Reduction reduction, double count) {
  if (reduction == Reduction::none) return terms;
  const double sum = total(terms.values<double>());
  return scalar(reduction == Reduction::sum ? sum : sum / count);
}

std::vector<Tensors> log_probability_samples(bool log_target) {
  std::vector<Tensors> samples;
  for (const Shape& shape : {Shape{3, 5}, Shape{2, 3, 2, 4}, Shape{17}, Shape{1}, Shape{}}) {
    const Tensor t = probabilities(shape, 3);
    samples.push_back(
        {uniform(shape, 1, -4, -0.1), log_target ? each(t, [](double p) { return std::log(p); }) : t});
  }
  return samples;
}

std::vector<OpCase> divergences() {
  std::vector<OpCase> rows;
  for (const bool log_target : {false, true}) {
    for (const Reduction reduction :
         {Reduction::none, Reduction::sum, Reduction::mean, Reduction::batchmean}) {
      std::vector<Tensors> samples = log_probability_samples(log_target);
      if (reduction == Reduction::none || reduction == Reduction::sum)
        samples.push_back({uniform({0, 5}, 1), uniform({0, 5}, 1)});
      rows.push_back(
          {.name = "kl_div",
           .variant = std::string(name(reduction)) + (log_target ? ", log target" : ""),
           .call =
               [=](In in) {
                 return kl_div(in[0], in[1], {.reduction = reduction, .log_target = log_target});
               },
           .reference =
               [=](In in) {
                 const Tensor terms = each(in[0], in[1], [=](double x, double t) {
                   return log_target ? std::exp(t) * (t - x) : positive_part(t) - t * x;
                 });
                 const auto size = static_cast<double>(in[0].size());
                 const double rows_of_input = in[0].dim() == 0 ? 1 : static_cast<double>(in[0].size(0));
                 return put_together(terms, reduction, reduction == Reduction::mean ? size : rows_of_input);
               },
           .samples = samples,
           .refused = {{Refusal::shape, {uniform({3, 5}, 1), uniform({3, 1}, 1)}},
                       {Refusal::shape, {uniform({3, 5}, 1), uniform({5}, 1)}},
                       {Refusal::type, {indices({3}, 1, 2), uniform({3}, 1)}},
                       {Refusal::type, {uniform({3}, 1), indices({3}, 1, 2)}}}});
      if (reduction == Reduction::mean || reduction == Reduction::batchmean)
        rows.back().refused.push_back({Refusal::value, {uniform({0, 5}, 1), uniform({0, 5}, 1)}});
    }
  }
  return rows;
}

/// The place of the class at [n, d…] in an input [n, C, d…], or in one of [C] alone.
Index with_class(Index place, std::int64_t c) {
  place.insert(place.begin() + (place.empty() ? 0 : 1), c);
  return place;
}

/// -w[y]·x[y] (0 where ignored) and the effective weight per target.
struct Picked {
  Tensor terms, weights;
};
Picked picked(const Tensor& x, const Tensor& target, const Tensor& weight, std::int64_t ignored) {
  Doubles weights;
  const Tensor terms = build(target.shape(), [&](const Index& place) {
    const auto y = static_cast<std::int64_t>(at(target, place));
    const double w = y == ignored ? 0 : weight.defined() ? at(weight, {y}) : 1;
    weights.push_back(w);
    return y == ignored ? 0 : -w * at(x, with_class(place, y));
  });
  return {terms, tensor(weights, target.shape())};
}

std::vector<OpCase> classifications() {
  const std::vector<Tensors> plain{{uniform({5, 4}, 1), indices({5}, 2, 4)},
                                   {uniform({2, 3, 4, 2}, 1), indices({2, 4, 2}, 2, 3)},
                                   {uniform({4}, 1), indices({}, 2, 4)},
                                   {uniform({1, 1}, 1), indices({1}, 2, 1)}};
  const std::vector<Refused> refused{{Refusal::index, {uniform({20, 3}, 1), indices({20}, 1, 9)}},
                                     {Refusal::shape, {uniform({3, 3}, 1), indices({2}, 1, 3)}}};
  const Tensor weight = uniform({4}, 9, 0.2, 1);
  const auto log_probabilities = [](const Tensor& x) {
    return along(x, x.dim() == 1 ? 0 : 1, log_softmax_of);
  };
  std::vector<OpCase> rows;
  for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::mean}) {
    const std::string how(name(reduction));
    const auto settled = [=](const Picked& all) {
      return put_together(all.terms, reduction, total(all.weights.values<double>()));
    };
    std::vector<Tensors> samples = plain;
    samples.push_back({uniform({0, 3}, 1), indices({0}, 1, 3)});
    rows.push_back({.name = "nll_loss",
                    .variant = how,
                    .call = [=](In in) { return nll_loss(in[0], in[1], {.reduction = reduction}); },
                    .reference = [=](In in) { return settled(picked(in[0], in[1], Tensor(), -100)); },
                    .samples = samples,
                    .refused = refused});
    rows.push_back({.name = "nll_loss",
                    .variant = how + ", weights, an ignored class",
                    .call =
                        [=](In in) {
                          return nll_loss(in[0], in[1],
                                          {.weight = weight, .ignore_index = 2, .reduction = reduction});
                        },
                    .reference = [=](In in) { return settled(picked(in[0], in[1], weight, 2)); },
                    .samples = {{uniform({9, 4}, 1), indices({9}, 2, 4)},
                                {uniform({3, 4, 5}, 1), indices({3, 5}, 2, 4)}}});
    rows.push_back(
        {.name = "cross_entropy",
         .variant = how,
         .call = [=](In in) { return cross_entropy(in[0], in[1], {.reduction = reduction}); },
         .reference = [=](In in) { return settled(picked(log_probabilities(in[0]), in[1], Tensor(), -100)); },
         .samples = samples,
         .refused = refused});
    rows.push_back(
        {.name = "cross_entropy",
         .variant = how + ", weights, an ignored class, smoothing",
         .call =
             [=](In in) {
               return cross_entropy(
                   in[0], in[1],
                   {.weight = weight, .ignore_index = 2, .reduction = reduction, .label_smoothing = 0.1});
             },
         .reference =
             [=](In in) {
               const Tensor log_p = log_probabilities(in[0]);
               Picked all = picked(log_p, in[1], weight, 2);
               const Tensor spread_evenly = build(in[1].shape(), [&](const Index& place) {
                 if (at(in[1], place) == 2) return 0.0;
                 double sum = 0;
                 for (std::int64_t c = 0; c < 4; ++c)
                   sum -= at(weight, {c}) * at(log_p, with_class(place, c));
                 return sum / 4;
               });
               all.terms = each(all.terms, spread_evenly,
                                [](double hard, double soft) { return 0.9 * hard + 0.1 * soft; });
               return settled(all);
             },
         .samples = {{uniform({9, 4}, 1), indices({9}, 2, 4)},
                     {uniform({3, 4, 5}, 1), indices({3, 5}, 2, 4)}}});
    rows.push_back({.name = "cross_entropy",
                    .variant = how + ", probabilities, weights, smoothing",
                    .call =
                        [=](In in) {
                          return cross_entropy(
                              in[0], in[1],
                              {.weight = weight, .reduction = reduction, .label_smoothing = 0.2});
                        },
                    .reference =
                        [=](In in) {
                          const Tensor log_p = log_probabilities(in[0]);
                          Shape places = in[0].shape();
                          places.erase(places.begin() + (in[0].dim() == 1 ? 0 : 1));
                          const Tensor terms = build(places, [&](const Index& place) {
                            double sum = 0;
                            for (std::int64_t c = 0; c < 4; ++c) {
                              const Index index = with_class(place, c);
                              sum -= (0.8 * at(in[1], index) + 0.2 / 4) * at(weight, {c}) * at(log_p, index);
                            }
                            return sum;
                          });
                          return put_together(terms, reduction, static_cast<double>(terms.size()));
                        },
                    .samples = {{uniform({5, 4}, 1), probabilities({5, 4}, 2)},
                                {uniform({4}, 1), probabilities({4}, 2)},
                                {uniform({2, 4, 3}, 1), uniform({2, 4, 3}, 2, 0, 1)}},
                    .refused = {{Refusal::shape, {uniform({3, 4}, 1), uniform({3, 1}, 1)}}},
                    .mixed_tolerance = 1e-6});
  }
  return rows;
}

std::vector<OpCase> regressions() {
  std::vector<OpCase> rows;
  for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::mean}) {
    rows.push_back({.name = "mse_loss",
                    .variant = std::string(name(reduction)),
                    .call = [=](In in) { return mse_loss(in[0], in[1], {.reduction = reduction}); },
                    .reference =
                        [=](In in) {
                          const Tensor terms =
                              each(in[0], in[1], [](double a, double b) { return (a - b) * (a - b); });
                          return put_together(terms, reduction, static_cast<double>(terms.size()));
                        },
                    .samples = {{spread({3, 5}), spread({3, 5}, 2)},
                                {spread({33}), spread({33}, 2)},
                                {spread({1}), spread({1}, 2)},
                                {spread({}), spread({}, 2)},
                                {spread({0, 3}), spread({0, 3})}},
                    .refused = {{Refusal::shape, {spread({4, 1}), spread({4})}},
                                {Refusal::type, {spread({2}), indices({2}, 1, 2)}}}});
  }
  return rows;
}

/// One row of the distillation loss: student and teacher logits of one example.
double distilled(const Doubles& student, const Doubles& teacher, std::int64_t label, double T, double alpha) {
  Doubles s = student, t = teacher;
  for (double& value : s) value /= T;
  for (double& value : t) value /= T;
  const Doubles log_q = log_softmax_of(s), log_p = log_softmax_of(t);
  double divergence = 0;
  for (std::size_t c = 0; c < s.size(); ++c) divergence += std::exp(log_p[c]) * (log_p[c] - log_q[c]);
  const double entropy = alpha == 1 ? 0 : -log_softmax_of(student)[static_cast<std::size_t>(label)];
  return alpha * T * T * divergence + (1 - alpha) * entropy;
}

/// The loss over the last dimension; labels and mask are undefined, or one number per row.
Tensor distilled_rows(const Tensor& student, const Tensor& teacher, const Tensor& labels, const Tensor& mask,
                      double T, double alpha, Reduction reduction) {
  Shape rows = student.shape();
  rows.pop_back();
  double counted = 0;
  const Tensor terms = build(rows, [&](Index place) {
    if (mask.defined() && at(mask, place) == 0) return 0.0;
    ++counted;
    const std::int64_t label = labels.defined() ? static_cast<std::int64_t>(at(labels, place)) : 0;
    Doubles s, t;
    place.push_back(0);
    for (place.back() = 0; place.back() < student.size(-1); ++place.back()) {
      s.push_back(at(student, place));
      t.push_back(at(teacher, place));
    }
    return distilled(s, t, label, T, alpha);
  });
  return put_together(terms, reduction, counted == 0 ? 1 : counted);
}

std::vector<OpCase> distillations() {
  std::vector<OpCase> rows;
  for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::batchmean}) {
    const std::string how(name(reduction));
    rows.push_back(
        {.name = "distillation_loss",
         .variant = how,
         .call =
             [=](In in) {
               return distillation_loss(
                   {.student = in[0], .teacher = in[1], .labels = in[2]},
                   {.temperature = 3, .alpha = 0.7, .reduction = reduction, .detach_teacher = false});
             },
         .reference = [=](In in) { return distilled_rows(in[0], in[1], in[2], Tensor(), 3, 0.7, reduction); },
         .samples = {{uniform({5, 4}, 1), uniform({5, 4}, 2), indices({5}, 3, 4)},
                     {uniform({2, 3, 17}, 1), uniform({2, 3, 17}, 2), indices({2, 3}, 3, 17)},
                     {uniform({1, 1}, 1), uniform({1, 1}, 2), indices({1}, 3, 1)},
                     {uniform({0, 4}, 1), uniform({0, 4}, 2), indices({0}, 3, 4)}},
         .refused = {{Refusal::shape, {uniform({5, 4}, 1), uniform({5, 3}, 1), indices({5}, 1, 3)}},
                     {Refusal::index, {uniform({20, 4}, 1), uniform({20, 4}, 1), indices({20}, 1, 9)}},
                     {Refusal::type, {uniform({5, 4}, 1), uniform({5, 4}, 1), uniform({5}, 1)}}}});
    rows.push_back(
        {.name = "distillation_loss",
         .variant = how + ", the teacher alone, a mask",
         .call =
             [=](In in) {
               return distillation_loss(
                   {.student = in[0], .teacher = in[1], .mask = in[2]},
                   {.temperature = 2, .alpha = 1, .reduction = reduction, .detach_teacher = false});
             },
         .reference = [=](In in) { return distilled_rows(in[0], in[1], Tensor(), in[2], 2, 1, reduction); },
         .samples = {{uniform({7, 4}, 1), uniform({7, 4}, 2), indices({7}, 3, 2)},
                     {uniform({3, 5}, 1), uniform({3, 5}, 2), zeros({3}, DType::int64)}},
         .refused = {{Refusal::value,
                      {uniform({5, 4}, 1), uniform({5, 4}, 1), full({5}, 2, DType::int64)}}}});
  }
  rows.push_back(
      {.name = "distillation_loss",
       .variant = "the labels alone",
       .call =
           [](In in) {
             return distillation_loss({.student = in[0], .teacher = in[1], .labels = in[2]}, {.alpha = 0});
           },
       .reference =
           [](In in) { return distilled_rows(in[0], in[1], in[2], Tensor(), 1, 0, Reduction::batchmean); },
       .samples = {{uniform({5, 4}, 1), uniform({5, 4}, 2), indices({5}, 3, 4)}},
       .promotes = false});  // the teacher is not read
  return rows;
}

/// The teacher of a row whose gradients are those of the student alone: numbers that float32 holds exactly.
Tensor fixed_teacher(const Shape& shape, const Tensor& like) {
  return uniform(shape, 21).to(DType::float32).to(like.dtype());
}

Tensor linear_logits(const Tensor& hidden, const Tensor& weight, const Tensor& bias) {
  const Tensor turned = build({weight.size(1), weight.size(0)}, [&](const Index& i) {
    return at(weight, {i[1], i[0]});
  });
  const Tensor product = matrix_product(hidden, turned);
  return bias.defined() ? each(product, bias, [](double a, double b) { return a + b; }) : product;
}

std::vector<OpCase> linear_distillations() {
  const std::vector<Refused> refused{
      {Refusal::shape, {uniform({5, 3}, 1), uniform({4, 2}, 1), uniform({4}, 1), indices({5}, 1, 4)}}};
  std::vector<OpCase> rows;
  for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::batchmean}) {
    const DistillationLossOptions options{.temperature = 2, .alpha = 0.6, .reduction = reduction};
    rows.push_back(
        {.name = "linear_distillation_loss",
         .variant = std::string(name(reduction)),
         .call =
             [=](In in) {
               Shape logits = in[0].shape();
               logits.back() = in[1].size(0);
               return linear_distillation_loss({.hidden = in[0],
                                                .weight = in[1],
                                                .bias = in[2],
                                                .teacher_logits = fixed_teacher(logits, in[0]),
                                                .labels = in[3]},
                                               options);
             },
         .reference =
             [=](In in) {
               const Tensor student = linear_logits(in[0], in[1], in[2]);
               return distilled_rows(student, fixed_teacher(student.shape(), in[0]), in[3], Tensor(), 2, 0.6,
                                     reduction);
             },
         .samples = {{uniform({5, 3}, 1), uniform({4, 3}, 2), uniform({4}, 3), indices({5}, 4, 4)},
                     {uniform({2, 3, 7}, 1), uniform({17, 7}, 2), uniform({17}, 3), indices({2, 3}, 4, 17)},
                     {uniform({1, 1}, 1), uniform({1, 1}, 2), uniform({1}, 3), indices({1}, 4, 1)},
                     {uniform({0, 3}, 1), uniform({4, 3}, 2), uniform({4}, 3), indices({0}, 4, 4)}},
         .refused = refused});
  }
  rows.push_back({.name = "linear_distillation_loss",
                  .variant = "a teacher by its layer, a mask, no bias",
                  .call =
                      [](In in) {
                        return linear_distillation_loss(
                            {.hidden = in[0],
                             .weight = in[1],
                             .teacher_hidden = fixed_teacher({in[0].size(0), 5}, in[0]),
                             .teacher_weight = fixed_teacher({in[1].size(0), 5}, in[0]),
                             .teacher_bias = fixed_teacher({in[1].size(0)}, in[0]),
                             .mask = in[2]},
                            {.temperature = 3});
                      },
                  .reference =
                      [](In in) {
                        const Tensor teacher = linear_logits(fixed_teacher({in[0].size(0), 5}, in[0]),
                                                             fixed_teacher({in[1].size(0), 5}, in[0]),
                                                             fixed_teacher({in[1].size(0)}, in[0]));
                        return distilled_rows(linear_logits(in[0], in[1], Tensor()), teacher, Tensor(), in[2],
                                              3, 1, Reduction::batchmean);
                      },
                  .samples = {{uniform({7, 3}, 1), uniform({4, 3}, 2), indices({7}, 4, 2)},
                              {uniform({3, 3}, 1), uniform({3, 3}, 2), zeros({3}, DType::int64)}}});
  rows.push_back({.name = "linear_distillation_loss",
                  .variant = "a sparse teacher of all classes",
                  .call =
                      [](In in) {
                        const Tensor teacher = fixed_teacher({in[0].size(0), in[1].size(0)}, in[0]);
                        return linear_distillation_loss(
                            {.hidden = in[0],
                             .weight = in[1],
                             .labels = in[2],
                             .teacher_sparse = sparse_teacher(teacher.to(DType::float64), in[1].size(0), 3)},
                            {.alpha = 0.7});
                      },
                  .reference =
                      [](In in) {
                        const Tensor teacher = fixed_teacher({in[0].size(0), in[1].size(0)}, in[0]);
                        return distilled_rows(linear_logits(in[0], in[1], Tensor()), teacher, in[2], Tensor(),
                                              3, 0.7, Reduction::batchmean);
                      },
                  .samples = {{uniform({5, 3}, 1), uniform({4, 3}, 2), indices({5}, 4, 4)},
                              {uniform({1, 1}, 1), uniform({1, 1}, 2), indices({1}, 4, 1)},
                              {uniform({0, 3}, 1), uniform({4, 3}, 2), indices({0}, 4, 4)}}});
  rows.push_back({.name = "linear_distillation_loss",
                  .variant = "a teacher that learns",
                  .call =
                      [](In in) {
                        return linear_distillation_loss(
                            {.hidden = in[0], .weight = in[1], .teacher_logits = in[2]},
                            {.temperature = 2, .detach_teacher = false});
                      },
                  .reference =
                      [](In in) {
                        return distilled_rows(linear_logits(in[0], in[1], Tensor()), in[2], Tensor(),
                                              Tensor(), 2, 1, Reduction::batchmean);
                      },
                  .samples = {{uniform({5, 3}, 1), uniform({4, 3}, 2), uniform({5, 4}, 3)}}});
  return rows;
}

}  // namespace

std::vector<OpCase> loss_cases() {
  std::vector<OpCase> rows;
  for (const auto& part : {divergences(), classifications(), regressions(), distillations(),
                           linear_distillations(), divergence_cases()})
    rows.insert(rows.end(), part.begin(), part.end());
  return rows;
}

}  // namespace retort::tests
