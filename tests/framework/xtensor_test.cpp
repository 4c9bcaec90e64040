// The bridge to xtensor.
#include "retort/framework/xtensor.hpp"

#include <boost/test/unit_test.hpp>
#include <concepts>
#include <utility>
#include <xtensor/xmath.hpp>
#include <xtensor/xtensor.hpp>
#include <xtensor/xview.hpp>

#include "retort/retort.hpp"

namespace retort {
namespace {

template <class T>
std::vector<T> values(const Tensor& tensor) {
  BOOST_REQUIRE((tensor.dtype() == dtype_of<T>));
  return tensor.values<T>();
}

// A view of a temporary would dangle: none compiles.
template <class T>
concept Viewable = requires(T&& tensor) { std::forward<T>(tensor).template view<float>(); };
template <class T>
concept FreelyViewable = requires(T&& tensor) { xtensor_view<float>(std::forward<T>(tensor)); };
static_assert(Viewable<Tensor&> && Viewable<const Tensor&>);
static_assert(!Viewable<Tensor> && !Viewable<const Tensor>);
static_assert(FreelyViewable<Tensor&> && FreelyViewable<const Tensor&>);
static_assert(!FreelyViewable<Tensor> && !FreelyViewable<const Tensor>);

}  // namespace

BOOST_AUTO_TEST_SUITE(xtensor)

BOOST_AUTO_TEST_CASE(values_survive_the_round_trip_in_every_element_type) {
  for (const DType dtype : {DType::float32, DType::float64, DType::int64}) {
    const Tensor x = reshape(arange(24), {2, 3, 4}).to(dtype);
    visit_dtype(dtype, [&]<class T>(T) {
      const Tensor back = from_xtensor(x.view<T>());
      BOOST_TEST(back.shape() == x.shape());
      BOOST_TEST(values<T>(back) == values<T>(x), boost::test_tools::per_element());
      BOOST_TEST((back.data<T>().data() != x.data<T>().data()));
    });
  }
}

BOOST_AUTO_TEST_CASE(an_expression_over_views_is_evaluated) {
  const Tensor a = tensor({1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, {2, 3}), b = tensor({10.0, 20.0, 30.0});
  const Tensor y = from_xtensor(2.0 * a.view<double>() + xtensor_view<double>(b));
  BOOST_TEST(values<double>(y) == (std::vector<double>{12, 24, 36, 18, 30, 42}),
             boost::test_tools::per_element());
  const auto in = a.view<double>();
  const Tensor sums = from_xtensor(xt::sum(in, {1}));
  BOOST_TEST(values<double>(sums) == (std::vector<double>{6, 15}), boost::test_tools::per_element());
  const Tensor column = from_xtensor(xt::view(in, xt::all(), 1));
  BOOST_TEST(values<double>(column) == (std::vector<double>{2, 5}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(integers_and_bool_become_int64) {
  const xt::xarray<int> ints{{1, -2}, {3, 4}};
  BOOST_TEST(values<std::int64_t>(from_xtensor(ints)) == (std::vector<std::int64_t>{1, -2, 3, 4}),
             boost::test_tools::per_element());
  const Tensor comparison = from_xtensor(ints > 0);
  BOOST_TEST(comparison.shape() == (Shape{2, 2}));
  BOOST_TEST(values<std::int64_t>(comparison) == (std::vector<std::int64_t>{1, 0, 1, 1}),
             boost::test_tools::per_element());
  const xt::xarray<std::uint8_t> bytes{200, 255};
  BOOST_TEST(values<std::int64_t>(from_xtensor(bytes)) == (std::vector<std::int64_t>{200, 255}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(elements_come_in_row_major_order_from_any_layout) {
  xt::xarray<float, xt::layout_type::column_major> columns = xt::zeros<float>({2, 3});
  xt::xtensor<double, 2, xt::layout_type::column_major> fixed = xt::zeros<double>({2, 3});
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 3; ++j) columns(i, j) = static_cast<float>(fixed(i, j) = 10.0 * i + j);
  const std::vector<double> want{0, 1, 2, 10, 11, 12};
  BOOST_TEST(values<double>(from_xtensor(fixed)) == want, boost::test_tools::per_element());
  BOOST_TEST(values<double>(from_xtensor(fixed + xt::cast<double>(columns)) / 2.0) == want,
             boost::test_tools::per_element());
  BOOST_TEST((from_xtensor(columns).dtype() == DType::float32));
  BOOST_TEST(from_xtensor(columns).values<double>() == want, boost::test_tools::per_element());
  // A transposed view of row-major numbers.
  const Tensor x = tensor({1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, {2, 3});
  const auto in = x.view<double>();
  const Tensor transposed = from_xtensor(xt::transpose(in));
  BOOST_TEST(transposed.shape() == (Shape{3, 2}));
  BOOST_TEST(values<double>(transposed) == (std::vector<double>{1, 4, 2, 5, 3, 6}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_view_outlives_the_copy_that_made_it) {
  Tensor x = tensor({1.0f, 2.0f, 3.0f});
  const auto view = [&] {
    const Tensor copy = x;
    return copy.view<float>();
  }();
  Tensor noise = full({3}, 7);  // would reuse the buffer if it had been freed
  BOOST_TEST(view(1) == 2.0f);
  x.mutable_data<float>()[1] = 5;
  BOOST_TEST(view(1) == 5.0f);
  static_assert(std::same_as<decltype(view(1)), const float&>);  // read-only
}

BOOST_AUTO_TEST_CASE(empty_tensors_and_scalars_cross) {
  const Tensor none = zeros({0, 3});
  BOOST_TEST(none.view<float>().size() == 0u);
  BOOST_TEST(from_xtensor(none.view<float>() + 1.0f).shape() == (Shape{0, 3}));
  const Tensor scalar = tensor({2.5}, {});
  BOOST_TEST(scalar.view<double>().dimension() == 0u);
  const Tensor doubled = from_xtensor(2.0 * scalar.view<double>());
  BOOST_TEST(doubled.shape() == Shape{});
  BOOST_TEST(doubled.item<double>() == 5.0);
  BOOST_TEST(from_xtensor(xt::xscalar<double>(3.0)).item<double>() == 3.0);
}

BOOST_AUTO_TEST_CASE(a_view_needs_the_element_type_and_a_defined_tensor) {
  const Tensor x = zeros({2}), undefined;
  BOOST_CHECK_THROW((void)x.view<double>(), TypeError);
  BOOST_CHECK_THROW((void)xtensor_view<std::int64_t>(x), TypeError);
  BOOST_CHECK_THROW((void)undefined.view<float>(), Error);
}

BOOST_AUTO_TEST_CASE(an_operation_may_take_its_value_from_an_expression) {
  const auto square = [](const Tensors& in) {
    const Tensor& x = in[0];
    return record({.name = "square",
                   .inputs = {x},
                   .value = from_xtensor(xt::square(x.view<double>())),
                   .vjp = [x](const Tensor& g, Needs) { return 2.0 * x * g; }});
  };
  const Tensor x = tensor({-1.5, 0.5, 2.0}).set_requires_grad();
  BOOST_TEST(values<double>(square({x})) == (std::vector<double>{2.25, 0.25, 4}),
             boost::test_tools::per_element());
  BOOST_TEST(gradcheck(square, {x}).passed);
  BOOST_TEST(gradgradcheck(square, {x}).passed);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retort
