// Convolution, pooling and indexing at the edges of their arguments.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <retort/retort.hpp>
#include <string>

namespace retort::tests {
namespace {

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();

template <class F>
std::string message_of(F f) {
  try {
    (void)f();
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(window_edges)

BOOST_AUTO_TEST_CASE(options_may_be_as_large_as_an_int64) {
  const Tensor x = arange(16, DType::float64);
  const Tensor image = reshape(x, {1, 1, 4, 4});
  const auto value = [](const Tensor& y) { return y.values<double>(); };
  const std::vector<double> five{5}, last{15};
  BOOST_TEST(value(max_pool2d(image, {.kernel_size = 2, .stride = Size2d(most)})) == five);
  BOOST_TEST(value(max_pool2d(image, {.kernel_size = 2, .stride = Size2d(most), .ceil_mode = true})) == five);
  BOOST_TEST(value(max_pool2d(image, {.kernel_size = most, .stride = Size2d(most), .ceil_mode = true})) ==
             last);
  BOOST_CHECK_THROW(adaptive_avg_pool2d(image, most), ShapeError);
  const Tensor wide = max_pool2d(image, {.kernel_size = most, .stride = Size2d(1), .padding = most / 2});
  BOOST_TEST(value(wide) == std::vector<double>(16, 15));
  BOOST_TEST(max_pool2d(image, {.kernel_size = 1, .dilation = most}).shape() == image.shape());
  BOOST_TEST(value(avg_pool2d(image, {.kernel_size = 2, .stride = Size2d(most)})) ==
             std::vector<double>{2.5});
  BOOST_TEST(conv2d(image, ones({1, 1, 2, 2}), {}, {.stride = most}).shape() == (Shape{1, 1, 1, 1}));
  BOOST_CHECK_THROW(conv2d(image, ones({1, 1, 2, 2}), {}, {.padding = most}), ShapeError);
  BOOST_CHECK_THROW(conv_transpose2d(image, ones({1, 1, 2, 2}), {}, {.stride = most}), ShapeError);
  BOOST_CHECK_THROW(conv_transpose2d(image, ones({1, 1, 2, 2}), {}, {.stride = 2, .output_padding = 2}),
                    ValueError);
}

// Against the definition, window by window: the first of equal elements and the first NaN count.
BOOST_AUTO_TEST_CASE(max_pools_of_any_geometry_match_their_definition) {
  const double infinity = std::numeric_limits<double>::infinity(),
               nan = std::numeric_limits<double>::quiet_NaN();
  for (std::int64_t seed = 0; seed < 60; ++seed) {
    const std::int64_t kernel_h = 1 + seed % 4, kernel_w = 1 + seed / 2 % 5, stride_h = 1 + seed % 3,
                       stride_w = 1 + seed / 3 % 3, dilation = 1 + seed % 2, height = 9, width = 21;
    const std::int64_t padding_h = seed % 2 * (kernel_h / 2), padding_w = seed % 3 % 2 * (kernel_w / 2);
    Generator generator(static_cast<std::uint64_t>(seed));
    Tensor x =
        (4 * rand({1, 2, height, width}, DType::float32, generator)).to(DType::int64).to(DType::float32);
    const Tensor chance = rand(x.shape(), DType::float32, generator);
    if (seed % 4 == 1) x = where(less(chance, 0.9), -infinity, x);
    if (seed % 4 == 2) x = where(less(chance, 0.05), nan, x);
    x.set_requires_grad();
    const Tensor y = max_pool2d(x, {.kernel_size = {kernel_h, kernel_w},
                                    .stride = Size2d(stride_h, stride_w),
                                    .padding = {padding_h, padding_w},
                                    .dilation = dilation});
    const Tensor g = rand(y.shape(), DType::float32, generator);
    const Tensor gx = grad({y}, {x}, {.grad_outputs = {g}})[0];
    const auto in = x.values<float>(), out = y.values<float>(), upstream = g.values<float>();
    std::vector<float> expected(in.size());
    std::size_t at = 0;
    for (std::int64_t plane = 0; plane < 2; ++plane)
      for (std::int64_t i = 0; i < y.size(-2); ++i)
        for (std::int64_t j = 0; j < y.size(-1); ++j, ++at) {
          std::int64_t best = -1;
          for (std::int64_t a = 0; a < kernel_h; ++a)
            for (std::int64_t b = 0; b < kernel_w; ++b) {
              const std::int64_t row = i * stride_h - padding_h + a * dilation,
                                 column = j * stride_w - padding_w + b * dilation;
              if (row < 0 || row >= height || column < 0 || column >= width) continue;
              const std::int64_t here = (plane * height + row) * width + column;
              const auto value = [&](std::int64_t k) { return in[static_cast<std::size_t>(k)]; };
              if (best < 0 || (!std::isnan(value(best)) && !(value(here) <= value(best)))) best = here;
            }
          BOOST_REQUIRE(best >= 0);
          const float value = in[static_cast<std::size_t>(best)];
          BOOST_REQUIRE((out[at] == value || (std::isnan(out[at]) && std::isnan(value))));
          expected[static_cast<std::size_t>(best)] += upstream[at];
        }
    const auto actual = gx.values<float>();
    for (std::size_t k = 0; k < expected.size(); ++k)
      BOOST_REQUIRE_SMALL(std::abs(actual[k] - expected[k]), 1e-5f);
  }
}

BOOST_AUTO_TEST_CASE(a_kernel_that_does_not_fit_names_its_dilation) {
  const std::string text = message_of([] {
    return max_pool2d(ones({1, 1, 4, 4}), {.kernel_size = 2, .dilation = {7, 9}});
  });
  BOOST_TEST(text.find("dilation (7, 9)") != std::string::npos, text);
}

// Windows of 2×2 have kernels of their own.
BOOST_AUTO_TEST_CASE(halving_pools_treat_ties_and_nan_as_the_general_form) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Generator generator(5);
  const Tensor levels = 4 * rand({3, 5, 7, 71}, DType::float64, generator);
  Tensor x = levels.to(DType::int64).to(DType::float64);  // many ties
  for (const std::int64_t i : {3, 4, 77, 500, 501, 999, 1000, 1071})
    x.mutable_data<double>()[static_cast<std::size_t>(i)] = nan;
  x.set_requires_grad();
  const Tensor y = max_pool2d(x, {.kernel_size = 2});
  const Tensor g = rand(y.shape(), DType::float64, generator);
  const Tensor fast = grad({y}, {x}, {.grad_outputs = {g}, .retain_graph = true})[0];
  const Tensor recorded = grad({y}, {x}, {.grad_outputs = {g}, .create_graph = true})[0];
  BOOST_TEST(fast.values<double>() == recorded.values<double>());
  const std::vector<double> in = x.values<double>(), out = y.values<double>();
  std::size_t at = 0;
  for (std::size_t plane = 0; plane < 15; ++plane)
    for (std::size_t r = 0; r < 3; ++r)
      for (std::size_t c = 0; c < 35; ++c, ++at) {
        double best = -std::numeric_limits<double>::infinity();
        for (const std::size_t k : {0, 1, 71, 72}) {
          const double v = in[plane * 497 + r * 142 + 2 * c + k];
          best = std::isnan(best) || v <= best ? best : v;
        }
        if (!(out[at] == best || (std::isnan(best) && std::isnan(out[at])))) BOOST_ERROR("window " << at);
      }
}

BOOST_AUTO_TEST_CASE(an_index_without_elements_may_have_any_shape) {
  const Tensor x = ones({2, 3}).set_requires_grad(), source = ones({0, 9}).set_requires_grad();
  const Tensor none = zeros({0, 9}, DType::int64);
  BOOST_TEST(gather(x, 0, none).shape() == (Shape{0, 9}));
  BOOST_TEST(gather(x, 0, zeros({0}, DType::int64)).shape() == Shape{0});
  const Tensor y = scatter_add(x, 0, none, source);
  const Tensors gradients = grad({sum(y)}, {x, source});
  BOOST_TEST(y.values<double>() == std::vector<double>(6, 1));
  BOOST_TEST(gradients[0].values<double>() == std::vector<double>(6, 1));
  BOOST_TEST(gradients[1].shape() == source.shape());
  const std::string text = message_of([] { return gather(ones({0, 3}), 0, zeros({1, 3}, DType::int64)); });
  BOOST_TEST(text.find("for a dimension of extent 0") != std::string::npos, text);
}

BOOST_AUTO_TEST_CASE(messages_name_what_does_not_fit) {
  const std::string text = message_of([] { return split(ones({4}), std::vector<std::int64_t>{1, 2})[0]; });
  BOOST_TEST(text.find("[1, 2]") != std::string::npos, text);
  BOOST_CHECK_THROW(repeat(ones({2}), {most}), ShapeError);
  BOOST_CHECK_THROW(repeat(ones({2}), {std::int64_t{1} << 45}), std::bad_alloc);
  BOOST_TEST(repeat(ones({0}), {most}).shape() == Shape{0});
  BOOST_CHECK_THROW(pad(zeros({2}, DType::int64), {1, 1}, 0.5), TypeError);
  BOOST_TEST(pad(zeros({2}, DType::int64), {1, 1}, 2.0).values<std::int64_t>() ==
             (std::vector<std::int64_t>{2, 0, 0, 2}));
}

BOOST_AUTO_TEST_CASE(modules_have_the_names_and_shapes_of_pytorch) {
  const Conv1d line(4, 6, 3, {.stride = 2, .groups = 2});
  BOOST_TEST(line.weight.shape() == (Shape{6, 2, 3}));
  BOOST_TEST(line(ones({2, 4, 9})).shape() == (Shape{2, 6, 4}));
  const ConvTranspose2d up(4, 6, {3, 2}, {.stride = 2, .padding = 1, .output_padding = 1, .groups = 2});
  BOOST_TEST(up.weight.shape() == (Shape{4, 3, 3, 2}));
  BOOST_TEST(up.bias.shape() == Shape{6});
  BOOST_TEST(up(ones({1, 4, 5, 5})).shape() == (Shape{1, 6, 10, 9}));
  BOOST_TEST(up.named_parameters()[0].first == "weight");
  BOOST_TEST(up.named_parameters()[1].first == "bias");
  BOOST_TEST(ConvTranspose2d(1, 1, 2, {.bias = false}).parameters().size() == 1);
  BOOST_TEST(AdaptiveAvgPool2d({2, 3})(ones({1, 2, 5, 7})).shape() == (Shape{1, 2, 2, 3}));
  BOOST_TEST(AdaptiveAvgPool2d(1)(ones({2, 5, 7})).shape() == (Shape{2, 1, 1}));
  BOOST_CHECK_THROW(Conv1d(1, 1, 0), ValueError);
  BOOST_CHECK_THROW(ConvTranspose2d(3, 4, 1, {.groups = 2}), ValueError);
  BOOST_CHECK_THROW(adaptive_avg_pool2d(ones({1, 2, 2}), 0), ValueError);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retort::tests
