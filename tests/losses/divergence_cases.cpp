// Rows of the op table: the divergences of distillation_loss.
#include <cmath>

#include "op_cases.hpp"
#include "retort/losses/distillation_loss.hpp"

namespace retort::tests {
namespace {

using In = const Tensors&;

Doubles softened(const Doubles& logits, double T) {
  Doubles scaled = logits;
  for (double& value : scaled) value /= T;
  Doubles p = log_softmax_of(scaled);
  for (double& value : p) value = std::exp(value);
  return p;
}

Doubles standardized(const Doubles& x) {
  double mean = 0, squares = 0;
  for (const double value : x) mean += value / static_cast<double>(x.size());
  for (const double value : x) squares += (value - mean) * (value - mean);
  const double deviation = x.size() > 1 ? std::sqrt(squares / static_cast<double>(x.size() - 1)) : 0;
  Doubles y = x;
  for (double& value : y) value = (value - mean) / (deviation + 1e-7);
  return y;
}

double kl(const Doubles& p, const Doubles& q) {
  double sum = 0;
  for (std::size_t c = 0; c < p.size(); ++c) sum += p[c] * std::log(p[c] / q[c]);
  return sum;
}

Doubles mixed(const Doubles& p, const Doubles& q, double of_p) {
  Doubles m = p;
  for (std::size_t c = 0; c < p.size(); ++c) m[c] = of_p * p[c] + (1 - of_p) * q[c];
  return m;
}

/// The divergence of one row with its factor.
double divergence_of(Doubles s, Doubles t, const DistillationLossOptions& options) {
  const double T = options.temperature, beta = options.beta;
  if (options.standardize) {
    s = standardized(s);
    t = standardized(t);
  }
  const Doubles p = softened(t, T), q = softened(s, T), m = mixed(p, q, beta);
  double sum = 0;
  switch (options.divergence) {
    case Divergence::forward_kl: return T * T * kl(p, q);
    case Divergence::reverse_kl: return T * T * kl(q, p);
    case Divergence::jensen_shannon: return T * T * (beta * kl(p, m) + (1 - beta) * kl(q, m));
    case Divergence::skew_kl: return T * T * kl(p, m);
    case Divergence::skew_reverse_kl: return T * T * kl(q, mixed(p, q, 1 - beta));
    case Divergence::total_variation:
      for (std::size_t c = 0; c < p.size(); ++c) sum += std::abs(p[c] - q[c]) / 2;
      return sum;
    case Divergence::logit_mse:
      for (std::size_t c = 0; c < s.size(); ++c)
        sum += (s[c] - t[c]) * (s[c] - t[c]) / static_cast<double>(s.size());
      return sum;
  }
  return sum;
}

/// Of student, teacher, labels and weights of rows [N]. float32 holds the weights exactly.
Tensor row_weights(const Tensor& logits) {
  return uniform({logits.size(0)}, 5, 0.5, 2).to(DType::float32).to(logits.dtype());
}

Tensor reference(In in, const DistillationLossOptions& options) {
  const Tensor weights = row_weights(in[0]);
  double divisor = 0, total = 0;
  const Tensor terms = build({in[0].size(0)}, [&](const std::vector<std::int64_t>& row) {
    Doubles s, t;
    for (std::int64_t c = 0; c < in[0].size(1); ++c) {
      s.push_back(at(in[0], {row[0], c}));
      t.push_back(at(in[1], {row[0], c}));
    }
    const auto label = static_cast<std::size_t>(at(in[2], row));
    const double entropy = options.alpha < 1 ? -log_softmax_of(s)[label] : 0;
    const double w = at(weights, row);
    divisor += w;
    const double term = w * (options.alpha * divergence_of(s, t, options) + (1 - options.alpha) * entropy);
    total += term;
    return term;
  });
  if (options.reduction == Reduction::none) return terms;
  if (options.reduction == Reduction::batchmean && divisor != 0) total /= divisor;
  return tensor(Doubles{total}, {});
}

}  // namespace

std::vector<OpCase> divergence_cases() {
  std::vector<OpCase> rows;
  for (int i = 0; i <= static_cast<int>(Divergence::logit_mse); ++i)
    for (const bool standardize : {false, true}) {
      const auto divergence = static_cast<Divergence>(i);
      DistillationLossOptions options{.temperature = 2,
                                      .alpha = standardize ? 0.7 : 1,
                                      .reduction = standardize ? Reduction::none : Reduction::batchmean,
                                      .detach_teacher = false,
                                      .divergence = divergence,
                                      .beta = 0.3,
                                      .standardize = standardize};
      const auto add = [&](const std::string& variant, const std::vector<Tensors>& samples) {
        rows.push_back(
            {.name = "distillation_loss",
             .variant = std::string(name(divergence)) + variant,
             .call =
                 [options](In in) {
                   return distillation_loss(
                       {.student = in[0], .teacher = in[1], .labels = in[2], .weight = row_weights(in[0])},
                       options);
                 },
             .reference = [options](In in) { return reference(in, options); },
             .samples = samples,
             .refused = {{Refusal::shape, {uniform({5, 4}, 1), uniform({5, 3}, 1), indices({5}, 1, 3)}}},
             .float32_tolerance = 1e-4});
      };
      add(standardize ? ", standardized, labels" : "",
          {{uniform({5, 4}, 1), uniform({5, 4}, 2), indices({5}, 3, 4)},
           {uniform({2, 70}, 1), uniform({2, 70}, 2), indices({2}, 3, 70)},
           {uniform({0, 4}, 1), uniform({0, 4}, 2), indices({0}, 3, 4)}});
      options.temperature = 3;
      options.alpha = 0.4;
      options.reduction = Reduction::sum;
      if (!standardize)
        add(", labels", {{uniform({5, 4}, 1), uniform({5, 4}, 2), indices({5}, 3, 4)},
                         {uniform({1, 1}, 1), uniform({1, 1}, 2), indices({1}, 3, 1)}});
    }
  return rows;
}

}  // namespace retort::tests
