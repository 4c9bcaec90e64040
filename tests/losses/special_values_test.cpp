// Zeros, infinities, NaN, tiny and huge numbers in the losses: the fast rules against the recorded ones, and
// rows that do not count.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "framework/ops/references.hpp"
#include "retort/losses/linear_distillation_loss.hpp"
#include "retort/retort.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
const double nan_value = std::nan("");

using Loss = std::function<Tensor(const Tensors&)>;

/// Ordinary numbers, a fraction `special` of which is replaced by special values.
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : engine_(seed) {}
  std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(engine_); }
  bool with_chance(double p) { return std::bernoulli_distribution(p)(engine_); }
  Tensor numbers(const Shape& shape, double special, double low = -3, double high = 3) {
    constexpr double specials[] = {0,     -0.0, inf, -inf, std::numeric_limits<double>::quiet_NaN(),
                                   1e-30, 1e5,  -1e5};
    return build(shape, [&](const std::vector<std::int64_t>&) {
      return with_chance(special) ? specials[below(std::size(specials))]
                                  : std::uniform_real_distribution(low, high)(engine_);
    });
  }
  Tensor integers(const Shape& shape, std::vector<std::int64_t> among) {
    const Tensor out = zeros(shape, DType::int64);
    for (std::int64_t& value : out.mutable_data<std::int64_t>()) value = among[below(among.size())];
    return out;
  }
  template <class T>
  T one_of(std::initializer_list<T> among) {
    return among.begin()[below(among.size())];
  }

 private:
  std::mt19937_64 engine_;
};

bool same(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b || std::abs(a - b) <= 1e-9 * std::max({1.0, std::abs(a), std::abs(b)});
}

/// First-order gradients with and without create_graph must be the same, for upstream gradients of any kind.
void check_rules_agree(const std::string& what, const Loss& loss, const Tensors& leaves, Draws& draws) {
  for (const Tensor& leaf : leaves) leaf.set_requires_grad();
  const Tensor y = loss(leaves);
  const Tensor g = draws.numbers(y.shape(), draws.one_of({0.0, 0.4}));
  const GradOptions fast{.grad_outputs = {g}, .retain_graph = true, .allow_unused = true};
  const GradOptions recorded{.grad_outputs = {g}, .create_graph = true, .allow_unused = true};
  const Tensors a = grad({y}, leaves, fast), b = grad({y}, leaves, recorded);
  for (std::size_t k = 0; k < leaves.size(); ++k) {
    BOOST_TEST_REQUIRE(a[k].defined() == b[k].defined());
    if (!a[k].defined()) continue;
    const std::vector<double> u = a[k].values<double>(), v = b[k].values<double>();
    for (std::size_t i = 0; i < u.size(); ++i) {
      if (same(u[i], v[i])) continue;
      BOOST_ERROR(what << ": input " << k << ", element " << i << ": fast " << u[i] << ", recorded " << v[i]
                       << "\ninputs " << leaves[0] << (leaves.size() > 1 ? leaves[1] : Tensor(leaves[0]))
                       << "\nupstream " << g << "\nfast " << a[k] << "\nrecorded " << b[k]);
      return;
    }
  }
}

/// Rows of `x` where `counts` is 0 have gradients of exactly 0, of first and second order, whatever the
/// upstream gradient is; the loss of the others is that without these rows.
void check_rows_left_out(const std::string& what, const Loss& loss, const Tensors& leaves,
                         const Tensor& counts) {
  for (const Tensor& leaf : leaves) leaf.set_requires_grad();
  for (const double upstream : {1.0, nan_value, inf, -inf}) {
    for (const bool create_graph : {false, true}) {
      const Tensor y = loss(leaves);
      if (y.dim() == 0) BOOST_TEST(!std::isnan(y.item<double>()), what << ": the loss is " << y);
      const Tensors g =
          grad({y}, leaves, {.grad_outputs = {full_like(y, upstream)}, .create_graph = create_graph});
      Tensors all = g;
      if (create_graph) {
        Tensor total = sum(g[0] * g[0]);
        for (std::size_t k = 1; k < g.size(); ++k) total = total + sum(g[k] * g[k]);
        if (total.requires_grad())
          for (const Tensor& second : grad({total}, leaves, {.allow_unused = true}))
            if (second.defined()) all.push_back(second);
      }
      for (const Tensor& each : all) {
        const Tensor left_out = where(counts, 0, each);
        for (const double value : left_out.values<double>())
          if (value != 0) {
            BOOST_ERROR(what << ", upstream " << upstream << (create_graph ? ", recorded" : ", fast")
                             << ": a row left out has gradient " << value << " in " << each);
            return;
          }
        if (upstream != 1) continue;
        const Tensor counted = where(counts, each, 0);
        for (const double value : counted.values<double>())
          if (!std::isfinite(value)) {
            BOOST_ERROR(what << (create_graph ? ", recorded" : ", fast")
                             << ": a row that counts has gradient " << value << " in " << each);
            return;
          }
      }
    }
  }
}

const Reduction plain_reductions[] = {Reduction::none, Reduction::mean, Reduction::sum};

}  // namespace

BOOST_AUTO_TEST_SUITE(special_values)

BOOST_AUTO_TEST_CASE(fast_and_recorded_rules_agree_kl_div_and_mse) {
  Draws draws(1);
  for (int round = 0; round < 600; ++round) {
    const Shape shape = draws.one_of<Shape>({{3, 4}, {5}, {}});
    const KLDivLossOptions options{
        .reduction = draws.one_of({Reduction::none, Reduction::sum, Reduction::batchmean}),
        .log_target = draws.with_chance(0.5)};
    const Tensor x = draws.numbers(shape, 0.3, -3, 0);
    const Tensor t = draws.numbers(shape, 0.3, options.log_target ? -3 : 0, options.log_target ? 0 : 1);
    check_rules_agree(
        options.log_target ? "kl_div, log_target" : "kl_div",
        [&](const Tensors& in) { return kl_div(in[0], in[1], options); }, {x, t}, draws);
    check_rules_agree(
        "mse_loss", [&](const Tensors& in) { return mse_loss(in[0], in[1], {.reduction = Reduction::none}); },
        {draws.numbers(shape, 0.3), draws.numbers(shape, 0.3)}, draws);
  }
}

BOOST_AUTO_TEST_CASE(fast_and_recorded_rules_agree_classification) {
  Draws draws(2);
  for (int round = 0; round < 600; ++round) {
    const Shape shape = draws.one_of<Shape>({{4, 5}, {2, 4, 3}, {6}, {3, 70}});
    const std::int64_t classes = shape.size() == 1 ? shape[0] : shape[1];
    Shape places = shape;
    places.erase(places.begin() + (shape.size() == 1 ? 0 : 1));
    const Tensor labels = draws.integers(places, {0, 1, 2, 3, -100});
    const Tensor weight = draws.with_chance(0.5) ? abs(draws.numbers({classes}, 0)) : Tensor();
    const Reduction reduction = plain_reductions[draws.below(3)];
    const double share = draws.one_of({0.1, 0.3});
    check_rules_agree(
        "nll_loss",
        [&](const Tensors& in) {
          return nll_loss(in[0], labels, {.weight = weight, .reduction = reduction});
        },
        {draws.numbers(shape, share)}, draws);
    const double smoothing = draws.one_of({0.0, 0.1});
    check_rules_agree(
        message("cross_entropy, smoothing {}", smoothing),
        [&](const Tensors& in) {
          return cross_entropy(in[0], labels,
                               {.weight = weight, .reduction = reduction, .label_smoothing = smoothing});
        },
        {draws.numbers(shape, share)}, draws);
    check_rules_agree(
        "cross_entropy of probabilities",
        [&](const Tensors& in) {
          return cross_entropy(in[0], in[1],
                               {.weight = weight, .reduction = reduction, .label_smoothing = smoothing});
        },
        {draws.numbers(shape, share), draws.numbers(shape, share, 0, 1)}, draws);
  }
}

BOOST_AUTO_TEST_CASE(fast_and_recorded_rules_agree_distillation) {
  Draws draws(3);
  for (int round = 0; round < 800; ++round) {
    const Shape shape = draws.one_of<Shape>({{4, 5}, {2, 3, 4}, {6}, {3, 70}, {2, 1}});
    Shape places = shape;
    places.pop_back();
    const DistillationLossOptions options{
        .temperature = draws.one_of({1.0, 2.0, 2.5}),
        .alpha = draws.one_of({0.0, 0.5, 1.0}),
        .reduction = draws.one_of({Reduction::none, Reduction::sum, Reduction::batchmean}),
        .detach_teacher = draws.with_chance(0.3)};
    const Tensor labels = draws.integers(
        places, shape.back() > 1 ? std::vector<std::int64_t>{0, 1, 2} : std::vector<std::int64_t>{0});
    const Tensor mask = draws.with_chance(0.5) ? draws.integers(places, {0, 1}) : Tensor();
    const double share = draws.one_of({0.05, 0.2});
    check_rules_agree(
        message("distillation_loss, T {}, alpha {}, {}", options.temperature, options.alpha,
                name(options.reduction)),
        [&](const Tensors& in) {
          return distillation_loss({.student = in[0], .teacher = in[1], .labels = labels, .mask = mask},
                                   options);
        },
        {draws.numbers(shape, share), draws.numbers(shape, share)}, draws);
    if (shape.size() == 1) continue;
    Shape hidden = shape;
    hidden.back() = 3;
    const Tensor teacher = draws.numbers(shape, share);
    check_rules_agree(
        message("linear_distillation_loss, T {}, alpha {}, {}", options.temperature, options.alpha,
                name(options.reduction)),
        [&](const Tensors& in) {
          return linear_distillation_loss(
              {.hidden = in[0], .weight = in[1], .teacher_logits = teacher, .labels = labels, .mask = mask},
              options);
        },
        {draws.numbers(hidden, draws.one_of({0.0, 0.1})), draws.numbers({shape.back(), 3}, 0)}, draws);
  }
}

BOOST_AUTO_TEST_CASE(an_ignored_target_leaves_its_row_alone) {
  Draws draws(4);
  for (const double junk : {nan_value, inf, -inf}) {
    for (const Shape& shape : {Shape{3, 4}, Shape{3, 4, 2}, Shape{2, 4, 3, 2}, Shape{3, 70}}) {
      Shape places = shape;
      places.erase(places.begin() + 1);
      const Tensor ignored = draws.integers(places, {0, 1});
      ignored.mutable_data<std::int64_t>()[0] = 1;  // at least one of each
      ignored.mutable_data<std::int64_t>()[1] = 0;
      const Tensor labels =
          where(ignored, full(places, -100, DType::int64), draws.integers(places, {0, 1, 2, 3}));
      const Tensor counts = unsqueeze(equal(ignored, 0), 1);
      for (const bool all : {false, true}) {
        // One entry of each ignored row, or all of them.
        Tensor hit = broadcast_to(unsqueeze(ignored, 1), shape);
        if (!all) hit = mul(hit, draws.integers(shape, {0, 1}));
        for (const bool weighted : {false, true}) {
          const Tensor weight = weighted ? uniform({shape[1]}, 5, 0.5, 2) : Tensor();
          for (const Reduction reduction : plain_reductions) {
            const std::string what = message("{}, {}, {}", shape, junk, name(reduction));
            const Tensor x = where(hit, full(shape, junk, DType::float64), uniform(shape, 6));
            check_rows_left_out(
                "nll_loss " + what,
                [&](const Tensors& in) {
                  return nll_loss(in[0], labels, {.weight = weight, .reduction = reduction});
                },
                {x.detach()}, counts);
            for (const double smoothing : {0.0, 0.2})
              check_rows_left_out(
                  message("cross_entropy {}, smoothing {}", what, smoothing),
                  [&](const Tensors& in) {
                    return cross_entropy(
                        in[0], labels,
                        {.weight = weight, .reduction = reduction, .label_smoothing = smoothing});
                  },
                  {x.detach()}, counts);
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_masked_row_is_left_alone) {
  for (const double junk : {1.0, nan_value, inf, -inf}) {
    for (const std::int64_t classes : {4, 70}) {
      for (const Tensor& mask : {tensor({1, 0, 1}), tensor({0, 0, 0})}) {
        const Tensor counts = unsqueeze(mask, 1), labels = tensor({1, 99, 2});
        const auto rows = [&](std::int64_t width, std::uint64_t seed) {
          return where(counts, uniform({3, width}, seed), full({3, width}, junk, DType::float64));
        };
        for (const double alpha : {0.0, 0.5, 1.0}) {
          for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::batchmean}) {
            const std::string what =
                message("{} classes, {}, alpha {}, {}", classes, junk, alpha, name(reduction));
            const DistillationLossOptions options{
                .temperature = 2, .alpha = alpha, .reduction = reduction, .detach_teacher = false};
            const Tensor teacher = rows(classes, 2), weight = uniform({classes, 3}, 3);
            check_rows_left_out(
                "distillation_loss " + what,
                [&](const Tensors& in) {
                  return distillation_loss({.student = in[0],
                                            .teacher = alpha > 0 ? in[1] : teacher,
                                            .labels = labels,
                                            .mask = mask},
                                           options);
                },
                alpha > 0 ? Tensors{rows(classes, 1), rows(classes, 2)} : Tensors{rows(classes, 1)}, counts);
            check_rows_left_out(
                "linear_distillation_loss " + what,
                [&](const Tensors& in) {
                  return linear_distillation_loss({.hidden = in[0],
                                                   .weight = weight,
                                                   .teacher_logits = teacher,
                                                   .labels = labels,
                                                   .mask = mask},
                                                  options);
                },
                {rows(3, 4)}, counts);
            // Only the rows that count contribute to the layer's gradients.
            for (const bool create_graph : {false, true}) {
              const Tensor w = weight.detach().set_requires_grad(),
                           b = uniform({classes}, 5).set_requires_grad();
              const Tensor y = linear_distillation_loss({.hidden = rows(3, 4),
                                                         .weight = w,
                                                         .bias = b,
                                                         .teacher_logits = teacher,
                                                         .labels = labels,
                                                         .mask = mask},
                                                        options);
              const bool none_left = mask.values<std::int64_t>()[0] == 0;
              for (const Tensor& g : grad({y}, {w, b},
                                          {.grad_outputs = {full_like(y, none_left ? nan_value : 1.0)},
                                          .create_graph = create_graph}))
                for (const double value : g.values<double>())
                  BOOST_TEST((none_left ? value == 0 : std::isfinite(value)),
                             what << ": layer gradient " << g);
            }
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_row_left_out_of_some_is_left_alone_where_its_upstream_gradient_alone_is_nan) {
  const Tensor upstream = tensor({1.0, nan_value, 2.0}), mask = tensor({1, 0, 1}),
               labels = tensor({1, -100, 2});
  const Tensor x = uniform({3, 4}, 1).set_requires_grad(), teacher = uniform({3, 4}, 2).set_requires_grad();
  const Tensor weight = uniform({4, 4}, 3).set_requires_grad();
  for (const bool create_graph : {false, true}) {
    const GradOptions with{.grad_outputs = {upstream}, .create_graph = create_graph};
    Tensors all =
        grad({distillation_loss(
                 {.student = x, .teacher = teacher, .labels = labels, .mask = mask},
                 {.temperature = 2, .alpha = 0.5, .reduction = Reduction::none, .detach_teacher = false})},
             {x, teacher}, with);
    for (const Tensor& g :
         grad({linear_distillation_loss(
                  {.hidden = x, .weight = weight, .teacher_logits = teacher, .labels = labels, .mask = mask},
                  {.temperature = 2, .alpha = 0.5, .reduction = Reduction::none})},
              {x, weight}, with))
      all.push_back(g);
    for (const double smoothing : {0.0, 0.1})
      all.push_back(
          grad({cross_entropy(x, labels, {.reduction = Reduction::none, .label_smoothing = smoothing})}, {x},
               with)[0]);
    all.push_back(grad({nll_loss(x, labels, {.reduction = Reduction::none})}, {x}, with)[0]);
    for (std::size_t k = 0; k < all.size(); ++k)
      for (const double value : all[k].values<double>())
        BOOST_TEST(std::isfinite(value),
                   "gradient " << k << (create_graph ? ", recorded: " : ", fast: ") << all[k]);
  }
}

// A long row is processed in blocks; those before the first finite element have no maximum.
BOOST_AUTO_TEST_CASE(long_rows_may_begin_with_many_impossible_classes) {
  for (const DType dtype : {DType::float32, DType::float64})
    for (const double shift : {-90.0, -1000.0, 1000.0}) {
      const std::int64_t classes = 1500;
      const Tensor possible = greater_equal(arange(classes), 1100);
      const auto logits = [&](std::uint64_t seed, double by) {
        const Tensor drawn = (8 * uniform({3, classes}, seed)).to(DType::int64).to(dtype) / 4;
        return where(possible, drawn + by, -inf);
      };
      const Tensor labels = tensor({1100, 1300, 1499});
      const auto losses = [&](double by) {
        const Tensor s = logits(1, by).set_requires_grad(), t = logits(2, by);
        const SparseTeacher sparse = sparse_teacher(t, 16, 2);
        Tensors all{softmax(s, 1), logsumexp(s, {1}) - by, cross_entropy(s, labels)};
        for (const Divergence divergence :
             {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jensen_shannon, Divergence::skew_kl,
              Divergence::total_variation})
          all.push_back(distillation_loss({.student = s, .teacher = t, .labels = labels},
                                          {.temperature = 2, .alpha = 0.5, .divergence = divergence}));
        all.push_back(
            sparse_distillation_loss({.student = s, .teacher = sparse, .labels = labels}, {.alpha = 0.5}));
        all.push_back(dist_loss(s, t));
        Tensors results = all;
        for (const Tensor& y : all) results.push_back(grad({sum(y * y)}, {s})[0]);
        return results;
      };
      const Tensors expected = losses(0), actual = losses(shift);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const auto a = actual[i].values<double>(), b = expected[i].values<double>();
        double apart = 0;
        for (std::size_t k = 0; k < a.size(); ++k)
          apart = std::isfinite(a[k]) ? std::max(apart, std::abs(a[k] - b[k])) : inf;
        BOOST_TEST(apart < 2e-4, "result " << i << " of logits moved by " << shift << ": " << apart);
      }
    }
}

BOOST_AUTO_TEST_SUITE_END()
