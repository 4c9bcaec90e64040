// The kernels of normalisation against the compositions that define them, over sizes that reach each of their
// paths.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "retort/framework/base/random.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/norm.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort::tests {
namespace {

using Norm = std::function<Tensor(const Tensor& x, const Tensor& weight, const Tensor& bias)>;

struct Layout {
  std::string name;
  Shape x, parameter;
  Norm norm, definition;
};

Shape broadcast(const Shape& x, std::int64_t channels) {
  Shape shape(x.size() - 1, 1);
  shape[0] = channels;
  return shape;
}

/// (x - mean) / sqrt(var + eps) over the last dimension of x seen as `view`.
Tensor standard(const Tensor& x, const Shape& view, const Dims& dims) {
  const Tensor rows = reshape(x, view), centred = rows - mean(rows, dims, true);
  return reshape(centred / sqrt(mean(centred * centred, dims, true) + 1e-5), x.shape());
}

std::vector<Layout> layouts() {
  std::vector<Layout> all;
  for (const auto& [rows, n] :
       {std::pair<std::int64_t, std::int64_t>{1, 1}, {3, 5}, {40, 16}, {300, 77}, {2, 5000}, {1100, 64}}) {
    const Shape x{rows, n}, parameter{n};
    all.push_back(
        {"layer_norm", x, parameter,
         [=](const Tensor& v, const Tensor& w, const Tensor& b) { return layer_norm(v, w.shape(), w, b); },
         [=](const Tensor& v, const Tensor& w, const Tensor& b) {
           return standard(v, v.shape(), {1}) * w + b;
         }});
    all.push_back({"rms_norm", x, parameter,
                   [=](const Tensor& v, const Tensor& w, const Tensor& b) {
                     return rms_norm(v, w.shape(), w, 1e-3) + b;
                   },
                   [=](const Tensor& v, const Tensor& w, const Tensor& b) {
                     return v / sqrt(mean(v * v, 1, true) + 1e-3) * w + b;
                   }});
  }
  for (const Shape& x : {Shape{5, 6}, Shape{130, 18}, Shape{700, 40}, Shape{4, 6, 3}, Shape{3, 18, 7, 7},
                         Shape{2, 6, 150, 130}, Shape{9, 64, 20},
                         // On both sides of the limits of channels and groups processed as a whole.
                         Shape{64, 8, 9}, Shape{65, 8, 9}, Shape{4, 8, 32, 32}, Shape{4, 8, 25, 41},
                         Shape{3, 8, 1024}, Shape{4, 6, 64}, Shape{3, 6, 64}, Shape{4, 6, 65}}) {
    const std::int64_t batch = x[0], channels = x[1], inner = element_count(x) / batch / channels;
    const Shape parameter{channels}, scale = broadcast(x, channels);
    all.push_back(
        {"batch_norm", x, parameter,
         [](const Tensor& v, const Tensor& w, const Tensor& b) {
           return batch_norm(v, {}, {}, w, b, {.training = true});
         },
         [=](const Tensor& v, const Tensor& w, const Tensor& b) {
           return standard(v, {batch, channels, inner}, {0, 2}) * reshape(w, scale) + reshape(b, scale);
         }});
    all.push_back({"batch_norm in evaluation", x, parameter,
                   [=](const Tensor& v, const Tensor& w, const Tensor& b) {
                     return batch_norm(v, full({channels}, 0.3, v.dtype()), full({channels}, 2, v.dtype()), w,
                                       b);
                   },
                   [=](const Tensor& v, const Tensor& w, const Tensor& b) {
                     return (v - 0.3) / std::sqrt(2 + 1e-5) * reshape(w, scale) + reshape(b, scale);
                   }});
    for (const std::int64_t groups : {std::int64_t{1}, std::int64_t{2}, channels})
      if (channels % groups == 0 &&
          channels / groups * inner > 1)  // a single element's gradient is rounding errors
        all.push_back(
            {"group_norm", x, parameter,
             [=](const Tensor& v, const Tensor& w, const Tensor& b) { return group_norm(v, groups, w, b); },
             [=](const Tensor& v, const Tensor& w, const Tensor& b) {
               return standard(v, {batch * groups, channels / groups * inner}, {1}) * reshape(w, scale) +
                      reshape(b, scale);
             }});
  }
  return all;
}

struct Found {
  Tensor y;
  Tensors gradients;
};
Found run(const Norm& norm, const Tensors& in, const Tensor& g) {
  const Tensor y = norm(in[0], in[1], in[2]);
  return {y.detach(), grad({y}, in, {.grad_outputs = {g}})};
}

double distance(const Tensor& a, const Tensor& b) {
  if (a.size() == 0) return 0;
  return (amax(abs(a.to(DType::float64) - b)) / (1 + amax(abs(b)))).item<double>();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(norms)

BOOST_AUTO_TEST_CASE(kernels_equal_their_definitions) {
  const int threads = get_num_threads();
  manual_seed(3);
  for (const Layout& layout : layouts())
    for (const DType dtype : {DType::float32, DType::float64}) {
      BOOST_TEST_INFO_SCOPE(layout.name << " of " << layout.x
                                        << (dtype == DType::float32 ? " in float32" : " in float64"));
      const auto leaf = [&](const Shape& shape, double offset) {
        return (randn(shape, dtype) + offset).detach().set_requires_grad();
      };
      const Tensors in{leaf(layout.x, 0.5), leaf(layout.parameter, 1), leaf(layout.parameter, 0)};
      const Tensor g = randn(layout.x, dtype);
      Tensors exact;
      for (const Tensor& t : in) exact.push_back(t.detach().to(DType::float64).set_requires_grad());
      const Found want = run(layout.definition, exact, g.to(DType::float64));
      set_num_threads(1);
      const Found got = run(layout.norm, in, g);
      const double tolerance = dtype == DType::float32 ? 3e-5 : 1e-11;
      BOOST_TEST(distance(got.y, want.y) < tolerance);
      for (std::size_t k = 0; k < 3; ++k)
        BOOST_TEST(distance(got.gradients[k], want.gradients[k]) < tolerance, "input " << k);
      for (const int count : {2, 4}) {
        set_num_threads(count);
        const Found again = run(layout.norm, in, g);
        BOOST_TEST((again.y.values<double>() == got.y.values<double>()));
        for (std::size_t k = 0; k < 3; ++k)
          BOOST_TEST((again.gradients[k].values<double>() == got.gradients[k].values<double>()),
                     "input " << k);
      }
      const Tensor y = layout.norm(in[0], in[1], in[2]);
      const Tensors recorded = grad({y}, in, {.grad_outputs = {g}, .create_graph = true});
      for (std::size_t k = 0; k < 3; ++k)
        BOOST_TEST(distance(recorded[k].detach(), want.gradients[k]) < tolerance, "recorded, input " << k);
      for (std::size_t k = 0; k < 3; ++k) {
        const Tensor alone =
            grad({layout.norm(k == 0 ? in[0] : in[0].detach(), k == 1 ? in[1] : in[1].detach(),
                              k == 2 ? in[2] : in[2].detach())},
                 {in[k]}, {.grad_outputs = {g}})[0];
        BOOST_TEST((alone.values<double>() == got.gradients[k].values<double>()), "alone, input " << k);
      }
    }
  set_num_threads(threads);
}

BOOST_AUTO_TEST_CASE(an_outlier_at_the_start_and_an_offset_keep_the_accuracy) {
  manual_seed(4);
  for (const double offset : {0.0, 3e4})
    for (const double first : {0.0, 1e5}) {
      const Tensor noise = randn({64, 100});
      Tensor x = (noise + offset).detach();
      x.mutable_data<float>()[0] += static_cast<float>(first);
      const Tensor exact = x.to(DType::float64);
      BOOST_TEST(distance(layer_norm(x, {100}), layer_norm(exact, {100})) < 2e-5);
      BOOST_TEST(distance(batch_norm(x, {}, {}, {}, {}, {.training = true}),
                          batch_norm(exact, {}, {}, {}, {}, {.training = true})) < 2e-5);
      const Tensor image = reshape(x, {4, 8, 200}), exact_image = reshape(exact, {4, 8, 200});
      BOOST_TEST(distance(group_norm(image, 2), group_norm(exact_image, 2)) < 2e-5);
      BOOST_TEST(distance(batch_norm(image, {}, {}, {}, {}, {.training = true}),
                          batch_norm(exact_image, {}, {}, {}, {}, {.training = true})) < 2e-5);
    }
}

BOOST_AUTO_TEST_CASE(a_number_that_is_none_spreads_over_its_set_alone) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const auto nans = [](const Tensor& t) { return sum(isnan(t)).item<std::int64_t>(); };
  Tensor x = ones({4, 6, 5}) + arange(5);
  x = x.detach();
  x.mutable_data<float>()[0] = static_cast<float>(nan);
  BOOST_TEST(nans(layer_norm(x, {5})) == 5);
  BOOST_TEST(nans(rms_norm(x, {5})) == 5);
  BOOST_TEST(nans(group_norm(x, 2)) == 15);
  BOOST_TEST(nans(batch_norm(x, {}, {}, {}, {}, {.training = true})) == 20);
}

BOOST_AUTO_TEST_CASE(with_running_statistics_the_gradient_does_not_depend_on_the_input) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  for (const Shape& shape : {Shape{4, 3}, Shape{4, 3, 9}, Shape{2, 3, 70, 70}}) {
    Tensor x = rand(shape);
    x.mutable_data<float>()[1] = nan;
    x.mutable_data<float>()[5] = -inf;
    x.set_requires_grad();
    const Tensor mean = tensor({1.f, 2.f, 3.f}), variance = tensor({1.f, 4.f, 0.25f}), weight = rand({3});
    const Tensor g = rand(shape);
    batch_norm(x, mean, variance, weight, {}).backward(g);
    Shape by_channel(shape.size() - 1, 1);
    by_channel[0] = 3;
    const Tensor expected = g * reshape(weight / sqrt(variance + 1e-5), by_channel);
    BOOST_TEST(distance(x.grad(), expected) < 1e-6);
  }
}

BOOST_AUTO_TEST_CASE(rms_norm_takes_the_machine_epsilon_of_its_input) {
  for (const DType dtype : {DType::float32, DType::float64}) {
    const double eps = dtype == DType::float32 ? 0x1p-23 : 0x1p-52;
    const Tensor x = full({1, 4}, std::sqrt(eps), dtype);
    BOOST_TEST(rms_norm(x, {4}).values<double>()[2] == 1 / std::sqrt(2.0),
               boost::test_tools::tolerance(1e-6));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retort::tests
