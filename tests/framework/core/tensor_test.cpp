// Making tensors, reading and writing them, and how they print.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <sstream>

#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;
using retort::tests::thrown_text;

namespace {

std::string printed(const Tensor& tensor) {
  std::ostringstream stream;
  stream << tensor;
  return stream.str();
}

std::string without_spaces(std::string text) {
  std::erase_if(text, [](char c) { return c == ' ' || c == '\n'; });
  return text;
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

BOOST_AUTO_TEST_SUITE(tensors)

BOOST_AUTO_TEST_CASE(literals_choose_their_type) {
  BOOST_TEST((tensor({1.f, 2.f}).dtype() == DType::float32));
  BOOST_TEST((tensor({1.0, 2.0}).dtype() == DType::float64));
  BOOST_TEST((tensor({1, 2}).dtype() == DType::int64));
  BOOST_TEST((tensor({std::int64_t{1}}).dtype() == DType::int64));
  BOOST_TEST((tensor({1.f, 2.f}).shape() == Shape{2}));
  const Tensor matrix = tensor<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  BOOST_TEST((matrix.shape() == Shape{2, 3}));
  BOOST_TEST(matrix.data<float>()[5] == 6.f);
  const std::vector<std::int64_t> labels{3, 1};
  BOOST_TEST(tensor(labels).values<std::int64_t>() == labels, boost::test_tools::per_element());
  BOOST_TEST(tensor(std::vector<double>{2.5}, Shape{}).item<double>() == 2.5);
  const std::string text = thrown_text<ShapeError>([] { tensor<float>({1, 2, 3}, {2, 2}); });
  BOOST_TEST(holds(text, "(2, 2)"));
  BOOST_TEST(holds(text, "3"));
}

BOOST_AUTO_TEST_CASE(numbers_do_not_become_tensors_by_themselves) {
  BOOST_TEST((!std::is_convertible_v<double, Tensor>));
  BOOST_TEST((!std::is_convertible_v<int, Tensor>));
}

BOOST_AUTO_TEST_CASE(filled_tensors) {
  const auto all = [](const Tensor& t, double value) {
    for (const double element : t.values<double>())
      if (element != value) return false;
    return true;
  };
  BOOST_TEST(all(zeros({2, 3}), 0));
  BOOST_TEST(all(ones({2, 3}, DType::float64), 1));
  BOOST_TEST(all(full({4}, 2.5), 2.5));
  BOOST_TEST(all(full({4}, 7, DType::int64), 7));
  BOOST_TEST((zeros({2}).dtype() == DType::float32));
  BOOST_TEST((ones_like(tensor({1.0})).dtype() == DType::float64));
  BOOST_TEST((zeros_like(zeros({2, 5})).shape() == Shape{2, 5}));
  BOOST_TEST(all(full_like(zeros({3}), 4), 4));
  const std::vector<std::int64_t> counted{0, 1, 2, 3};
  BOOST_TEST(arange(4).values<std::int64_t>() == counted, boost::test_tools::per_element());
  BOOST_TEST(arange(0).size() == 0);
  BOOST_CHECK_THROW(arange(-1), ValueError);
  using Numbers = std::vector<std::int64_t>;
  BOOST_TEST(arange(2, 8, 3).values<std::int64_t>() == (Numbers{2, 5}));
  BOOST_TEST(arange(2, 9, 3).values<std::int64_t>() == (Numbers{2, 5, 8}));
  BOOST_TEST(arange(3, 0, -2).values<std::int64_t>() == (Numbers{3, 1}));
  BOOST_TEST(arange(4, 4).size() == 0);
  constexpr std::int64_t huge = std::int64_t{1} << 62;
  BOOST_TEST(arange(huge, huge + 3, 2).values<std::int64_t>() == (Numbers{huge, huge + 2}));
  BOOST_TEST(arange(-huge * 2, huge, huge).values<std::int64_t>() == (Numbers{-huge * 2, -huge, 0}));
  BOOST_TEST(arange(1.0, 0.0, -0.5).values<float>() == (std::vector<float>{1, 0.5}));
  BOOST_TEST(thrown_text<ValueError>([] { arange(0.0, 1e39, 5e38); }) ==
             "arange: start is 0, end 1e+39 and step 5e+38; a number is infinite in the element type; give "
             "smaller ones, or dtype float64");
  BOOST_CHECK_THROW(arange(1e39, 0.0, -6e38), ValueError);
  BOOST_TEST(arange(0.0, 1e39, 6e38, DType::float64).values<double>() == (std::vector<double>{0, 6e38}));
  BOOST_TEST(arange(0.0, 1e39, 1e39).values<float>() == (std::vector<float>{0}));
  BOOST_TEST(arange(0, 1, 0.25, DType::float64).values<double>() ==
             (std::vector<double>{0, 0.25, 0.5, 0.75}));
  BOOST_TEST(arange(0, 3, 1, DType::float32).values<float>() == (std::vector<float>{0, 1, 2}));
  BOOST_CHECK_THROW(arange(0, 5, 0), ValueError);
  BOOST_CHECK_THROW(arange(0, 5, -1), ValueError);
  BOOST_CHECK_THROW(arange(0.5, 0.4), ValueError);
  BOOST_CHECK_THROW(arange(0.0, std::numeric_limits<double>::infinity()), ValueError);
  BOOST_CHECK_THROW(arange(0.0, std::numeric_limits<double>::quiet_NaN()), ValueError);
  BOOST_CHECK_THROW(arange(0.0, 1.0, 1e-300), ValueError);
  // As PyTorch: each integer is rounded to float32 by itself.
  constexpr std::int64_t last = (1 << 24) + 8;
  const std::vector<float> rounded = arange(last, DType::float32).values<float>();
  for (std::int64_t i = last - 9; i < last; ++i)
    BOOST_TEST(rounded[static_cast<std::size_t>(i)] == static_cast<float>(i));
  BOOST_TEST((arange(last - 7, last, 1, DType::float32).values<float>() ==
              arange(static_cast<double>(last - 7), static_cast<double>(last)).values<float>()));
  BOOST_TEST(arange(0.0, 5.0, 2.0, DType::int64).values<std::int64_t>() == (Numbers{0, 2, 4}));
  BOOST_TEST(
      thrown_text<ValueError>([] { arange(0, 2, 0.5, DType::int64); }) ==
      "arange: start is 0, end 2 and step 0.5; for int64 they must be whole numbers of its range; or give "
      "a floating-point dtype");

  BOOST_TEST(linspace(0, 1, 5).values<float>() == (std::vector<float>{0, 0.25, 0.5, 0.75, 1}));
  const std::vector<double> tenths = linspace(-0.3, 0.7, 11, DType::float64).values<double>();
  BOOST_TEST(tenths.front() == -0.3);
  BOOST_TEST(tenths.back() == 0.7);
  BOOST_TEST(linspace(3, 4, 1).values<float>() == (std::vector<float>{3}));
  BOOST_TEST(linspace(3, 4, 0).size() == 0);
  BOOST_CHECK_THROW(linspace(3, 4, -1), ValueError);
  BOOST_CHECK_THROW(linspace(3, 4, 2, DType::int64), TypeError);
  constexpr double most = 1.7e308;
  BOOST_TEST(linspace(-most, most, 3, DType::float64).values<double>() == (std::vector{-most, 0.0, most}));
  BOOST_TEST(linspace(most, -most, 2, DType::float64).values<double>() == (std::vector{most, -most}));
  BOOST_TEST(thrown_text<ValueError>([] { linspace(0, std::nan(""), 3); }) ==
             "linspace: start is 0 and end nan; both must be finite numbers of float32");
  BOOST_CHECK_THROW(linspace(-std::numeric_limits<double>::infinity(), 1, 0, DType::float64), ValueError);
  BOOST_CHECK_THROW(linspace(0, 1e300, 3), ValueError);

  BOOST_TEST(eye(2).values<float>() == (std::vector<float>{1, 0, 0, 1}));
  BOOST_TEST(eye(3, DType::int64).values<std::int64_t>() == (Numbers{1, 0, 0, 0, 1, 0, 0, 0, 1}));
  BOOST_TEST(eye(0).shape() == (Shape{0, 0}));
  BOOST_CHECK_THROW(eye(-1), ValueError);
}

BOOST_AUTO_TEST_CASE(errors_name_the_factory) {
  const Shape negative{-2}, large{std::int64_t{1} << 32, std::int64_t{1} << 32};
  for (const Shape& shape : {negative, large}) {
    const auto text = [&](const auto& make) { return thrown_text<ShapeError>([&] { make(); }); };
    const std::string rule = shape == negative ? "shape (-2): an extent must not be negative"
                                               : message("shape {}: too many elements", shape);
    BOOST_TEST(text([&] { empty(shape); }) == "empty: " + rule);
    BOOST_TEST(text([&] { zeros(shape); }) == "zeros: " + rule);
    BOOST_TEST(text([&] { ones(shape); }) == "ones: " + rule);
    BOOST_TEST(text([&] { full(shape, 1); }) == "full: " + rule);
    BOOST_TEST(text([&] { rand(shape); }) == "rand: " + rule);
    BOOST_TEST(text([&] { randn(shape); }) == "randn: " + rule);
    BOOST_TEST(text([&] { randint(0, 2, shape); }) == "randint: " + rule);
    BOOST_TEST(text([&] { tensor({1, 2}, shape); }) == "tensor: " + rule);
  }
  constexpr std::int64_t many = std::int64_t{1} << 60;
  BOOST_TEST(holds(thrown_text<ShapeError>([] { eye(std::int64_t{1} << 32); }), "eye: shape (4294967296, "));
  BOOST_TEST(holds(thrown_text<ShapeError>([] { arange(many); }), "arange: shape (1152921504606846976)"));
  BOOST_TEST(holds(thrown_text<ShapeError>([] { arange(0.0, 1e18); }), "arange: shape ("));
  BOOST_TEST(holds(thrown_text<ShapeError>([] { linspace(0, 1, many); }), "linspace: shape ("));
  BOOST_TEST(holds(thrown_text<ShapeError>([] { randperm(many); }), "randperm: shape ("));
  const Tensor x = ones({2, 3}), classes = zeros({2}, DType::int64);
  BOOST_TEST(holds(thrown_text<ShapeError>([&] { one_hot(classes, many); }), "one_hot: shape ("));
  BOOST_TEST(holds(thrown_text<ShapeError>([&] { pad(x, {many, 0}); }), "pad: shape ("));
  BOOST_TEST(holds(thrown_text<ShapeError>([&] { repeat(x, {many, 1}); }), "repeat: shape ("));
  BOOST_TEST(holds(thrown_text<ShapeError>([&] { broadcast_to(x, {many, 2, 3}); }), "broadcast_to: shape ("));
  BOOST_TEST(holds(thrown_text<ShapeError>([] { Linear(many, 2); }), "Linear: shape ("));
  BOOST_TEST(holds(thrown_text<ShapeError>([] { Embedding(many, 2); }), "Embedding: shape ("));
  BOOST_TEST(holds(thrown_text<ShapeError>([] { Conv2d(1, many, 3); }), "Conv2d: shape ("));
  const auto undefined = [](const auto& make) { return thrown_text<ValueError>([&] { make(Tensor()); }); };
  BOOST_TEST(holds(undefined([](const Tensor& t) { empty_like(t); }), "empty_like: the input is undefined"));
  BOOST_TEST(holds(undefined([](const Tensor& t) { zeros_like(t); }), "zeros_like: the input is undefined"));
  BOOST_TEST(holds(undefined([](const Tensor& t) { ones_like(t); }), "ones_like: the input is undefined"));
  BOOST_TEST(holds(undefined([](const Tensor& t) { full_like(t, 1); }), "full_like: the input is undefined"));
  BOOST_TEST(holds(undefined([](const Tensor& t) { rand_like(t); }), "rand_like: the input is undefined"));
  BOOST_TEST(holds(undefined([](const Tensor& t) { randn_like(t); }), "randn_like: the input is undefined"));
  const Tensor integers = zeros({2}, DType::int64);
  BOOST_TEST(holds(thrown_text<TypeError>([&] { rand_like(integers); }), "rand_like: draws are"));
  BOOST_TEST(holds(thrown_text<ValueError>([&] { full_like(integers, 1e30); }), "full_like: 1e+30"));
}

BOOST_AUTO_TEST_CASE(sizes) {
  const Tensor t = zeros({2, 3, 4});
  BOOST_TEST(t.size() == 24);
  BOOST_TEST(t.dim() == 3);
  BOOST_TEST(t.size(0) == 2);
  BOOST_TEST(t.size(-1) == 4);
  BOOST_TEST(t.size(-3) == 2);
  BOOST_CHECK_THROW(t.size(3), IndexError);
  BOOST_CHECK_THROW(t.size(-4), IndexError);
  BOOST_TEST(zeros({}).size() == 1);
  BOOST_TEST(zeros({}).dim() == 0);
}

BOOST_AUTO_TEST_CASE(reading_and_writing) {
  const Tensor t = tensor({1.5f, 2.5f});
  t.mutable_data<float>()[1] = 4;
  BOOST_TEST(t.data<float>()[1] == 4.f);
  BOOST_TEST(t.values<double>()[0] == 1.5);
  BOOST_TEST(t.values<std::int64_t>()[0] == 1);
  BOOST_CHECK_THROW(t.data<double>(), TypeError);
  BOOST_CHECK_THROW(t.mutable_data<std::int64_t>(), TypeError);
  BOOST_CHECK_THROW(t.item<float>(), ShapeError);
  BOOST_TEST(tensor({3}).item<double>() == 3.0);
  BOOST_TEST(zeros({1, 1}).item<float>() == 0.f);
  const Tensor leaf = tensor({1.0}).set_requires_grad();
  leaf.mutable_data<double>()[0] = 2;
  BOOST_TEST(leaf.item<double>() == 2.0);
}

BOOST_AUTO_TEST_CASE(an_undefined_tensor_says_so) {
  const Tensor nothing;
  BOOST_TEST(!nothing.defined());
  BOOST_CHECK_THROW(nothing.shape(), Error);
  BOOST_CHECK_THROW(nothing.dtype(), Error);
  BOOST_CHECK_THROW(nothing + tensor({1.0}), Error);
  BOOST_TEST(!nothing.requires_grad());
}

BOOST_AUTO_TEST_CASE(copies_share_and_clones_do_not) {
  const Tensor t = tensor({1.0, 2.0}), copy = t, clone = t.clone(), detached = t.detach();
  t.mutable_data<double>()[0] = 9;
  BOOST_TEST(copy.data<double>()[0] == 9.0);
  BOOST_TEST(detached.data<double>()[0] == 9.0);
  BOOST_TEST(clone.data<double>()[0] == 1.0);
}

BOOST_AUTO_TEST_CASE(conversion) {
  const Tensor t = tensor({1.9, -1.9});
  const std::vector<std::int64_t> whole{1, -1};
  BOOST_TEST(t.to(DType::int64).values<std::int64_t>() == whole, boost::test_tools::per_element());
  BOOST_TEST(t.to(DType::float32).values<float>()[0] == 1.9f);
  BOOST_TEST(retort::detail::Access::same(t.to(DType::float64), t));
}

BOOST_AUTO_TEST_CASE(temporaries_give_no_view_but_their_values) {
  const auto data = []<class X>(X&& x) -> decltype(std::forward<X>(x).template data<float>()) { return x; };
  const auto mutable_data =
      []<class X>(X&& x) -> decltype(std::forward<X>(x).template mutable_data<float>()) { return x; };
  static_assert(std::is_invocable_v<decltype(data), Tensor&> &&
                std::is_invocable_v<decltype(data), const Tensor&>);
  static_assert(!std::is_invocable_v<decltype(data), Tensor> &&
                !std::is_invocable_v<decltype(data), const Tensor>);
  static_assert(std::is_invocable_v<decltype(mutable_data), Tensor&>);
  static_assert(std::is_invocable_v<decltype(mutable_data), const Tensor&>);
  static_assert(!std::is_invocable_v<decltype(mutable_data), Tensor>);
  static_assert(!std::is_invocable_v<decltype(mutable_data), const Tensor>);
  BOOST_TEST(ones({2}).values<float>()[1] == 1);
  BOOST_TEST(ones({1}).item<float>() == 1);
}

BOOST_AUTO_TEST_CASE(conversion_beyond_the_range_of_an_integer_saturates) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max(),
                         least = std::numeric_limits<std::int64_t>::min();
  const std::vector<std::int64_t> expected{most, least, most, least, 0, 2, -2};
  const Tensor x = tensor<double>({INFINITY, -INFINITY, 1e30, -1e30, NAN, 2.9, -2.9});
  BOOST_TEST(x.to(DType::int64).values<std::int64_t>() == expected, boost::test_tools::per_element());
  BOOST_TEST(x.values<std::int64_t>() == expected, boost::test_tools::per_element());
  BOOST_TEST(x.to(DType::float32).to(DType::int64).values<std::int64_t>() == expected,
             boost::test_tools::per_element());
  const std::vector<int> ints = x.values<int>();
  BOOST_TEST(ints[0] == std::numeric_limits<int>::max());
  BOOST_TEST(ints[3] == std::numeric_limits<int>::min());
  BOOST_TEST(tensor({3e9f}).item<int>() == std::numeric_limits<int>::max());
  BOOST_TEST(tensor({-1.5}).item<unsigned>() == 0U);
  BOOST_TEST(tensor({300.0}).item<std::uint8_t>() == 255);
  BOOST_TEST(tensor({0.5}).item<bool>());
  BOOST_TEST(tensor({0x1p63}).item<std::uint64_t>() == std::uint64_t{1} << 63);
  BOOST_TEST(Scalar(1e30).as<std::int64_t>() == most);
  BOOST_TEST(Scalar(NAN).as<std::int64_t>() == 0);
  BOOST_TEST(Scalar(most).as<std::int64_t>() == most);
  for (const double value : {double{INFINITY}, -double{INFINITY}, double{NAN}, 1e30, -1e30, 0x1p63})
    BOOST_CHECK_THROW(full({1}, value, DType::int64), ValueError);
  BOOST_TEST(full({1}, -0x1p63, DType::int64).item<std::int64_t>() == least);
  BOOST_TEST(full({1}, most, DType::int64).item<std::int64_t>() == most);
  BOOST_CHECK_THROW(full_like(x.to(DType::int64), INFINITY), ValueError);
}

BOOST_AUTO_TEST_CASE(data_is_aligned_for_vectors) {
  for (const std::int64_t n : {1, 3, 17, 1000}) {
    const Tensor t = zeros({n});
    BOOST_TEST(reinterpret_cast<std::uintptr_t>(t.data<float>().data()) % 64 == 0u);
  }
}

BOOST_AUTO_TEST_CASE(set_grad_takes_what_fits) {
  const Tensor x = tensor({1.0, 2.0}).set_requires_grad();
  x.set_grad(tensor({3.0, 4.0}));
  BOOST_TEST(x.grad().values<double>()[1] == 4.0);
  BOOST_CHECK_THROW(x.set_grad(tensor({3.0})), ShapeError);
  BOOST_CHECK_THROW(x.set_grad(tensor({3.f, 4.f})), TypeError);
  x.set_grad(Tensor());
  BOOST_TEST(!x.grad().defined());
}

BOOST_AUTO_TEST_CASE(prints_values_shape_and_dtype) {
  const std::string text = printed(tensor<double>({1, 2.5, -3, 4}, {2, 2}));
  BOOST_TEST(holds(without_spaces(text), "2.5"));
  BOOST_TEST(holds(without_spaces(text), "-3"));
  BOOST_TEST(holds(text, "(2, 2)"));
  BOOST_TEST(holds(text, "float64"));
  BOOST_TEST(holds(text, "[["));
  BOOST_TEST(to_string(tensor({1, 2})) == printed(tensor({1, 2})));
  BOOST_TEST(holds(printed(tensor({1, 20, 300})), "300"));
  BOOST_TEST(holds(printed(tensor({1, 20, 300})), "int64"));
}

BOOST_AUTO_TEST_CASE(prints_scalars_empty_ones_and_non_finite_values) {
  BOOST_TEST(holds(printed(full({}, 2.5)), "2.5"));
  BOOST_TEST(holds(printed(full({}, 2.5)), "()"));
  BOOST_TEST(holds(printed(zeros({0, 3})), "(0, 3)"));
  const double infinity = std::numeric_limits<double>::infinity();
  const std::string text = printed(tensor({std::nan(""), infinity, -infinity}));
  BOOST_TEST(holds(text, "nan"));
  BOOST_TEST(holds(text, "inf"));
  BOOST_TEST(holds(text, "-inf"));
  BOOST_TEST(holds(printed(Tensor()), "undefined"));
}

BOOST_AUTO_TEST_CASE(long_ones_are_shortened) {
  const std::string text = printed(arange(100'000));
  BOOST_TEST(text.size() < 400u);
  BOOST_TEST(holds(text, "..."));
  BOOST_TEST(holds(text, "99999"));
  const std::string wide = printed(zeros({500, 500}));
  BOOST_TEST(wide.size() < 2000u);
  BOOST_TEST(holds(wide, "(500, 500)"));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(errors_and_warnings)

BOOST_AUTO_TEST_CASE(every_error_is_an_error_and_a_runtime_error) {
  BOOST_TEST((std::is_base_of_v<std::runtime_error, Error>));
  BOOST_TEST((std::is_base_of_v<Error, ShapeError>));
  BOOST_TEST((std::is_base_of_v<Error, TypeError>));
  BOOST_TEST((std::is_base_of_v<Error, ValueError>));
  BOOST_TEST((std::is_base_of_v<Error, IndexError>));
  BOOST_TEST((std::is_base_of_v<Error, GraphError>));
  BOOST_TEST((std::is_base_of_v<Error, IoError>));
}

BOOST_AUTO_TEST_CASE(a_message_is_put_together_from_its_parts) {
  BOOST_TEST(message("input has shape {} and dtype {}, not {} or {}", Shape{2, 3}, DType::int64, 3, 2.5) ==
             "input has shape (2, 3) and dtype int64, not 3 or 2.5");
}

BOOST_AUTO_TEST_CASE(each_kind_warns_once_and_anew_after_a_handler_is_set) {
  std::vector<std::string> heard;
  const WarningHandler previous =
      set_warning_handler([&](std::string_view text) { heard.emplace_back(text); });
  detail::warn_once("test kind", "first");
  detail::warn_once("test kind", "first again");
  detail::warn_once("another test kind", "second");
  const std::vector<std::string> expected{"first", "second"};
  BOOST_TEST(heard == expected, boost::test_tools::per_element());
  set_warning_handler([&](std::string_view text) { heard.emplace_back(text); });
  detail::warn_once("test kind", "third");
  BOOST_TEST(heard.back() == "third");
  set_warning_handler(previous);
}

BOOST_AUTO_TEST_CASE(a_handler_may_throw_and_may_use_the_library) {
  const WarningHandler previous = set_warning_handler([](std::string_view) { throw ValueError("strict"); });
  BOOST_CHECK_THROW(detail::warn_once("strict kind", "text"), ValueError);
  double seen = 0;
  set_warning_handler([&](std::string_view) {
    detail::warn_once("nested kind", "nested");
    seen = (tensor({1.0}) + 1.0).item<double>();
  });
  detail::warn_once("outer kind", "outer");
  BOOST_TEST(seen == 2.0);
  set_warning_handler(previous);
}

BOOST_AUTO_TEST_SUITE_END()
