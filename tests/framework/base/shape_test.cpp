#include <boost/test/unit_test.hpp>
#include <sstream>
#include <vector>

#include "retort/retort.hpp"

using namespace retort;

BOOST_AUTO_TEST_SUITE(shapes)

BOOST_AUTO_TEST_CASE(prints_as_a_tuple) {
  BOOST_TEST(to_string(Shape{}) == "()");
  BOOST_TEST(to_string(Shape{3}) == "(3)");
  BOOST_TEST(to_string(Shape{2, 3}) == "(2, 3)");
  std::ostringstream stream;
  stream << Shape{0, 1, 2};
  BOOST_TEST(stream.str() == "(0, 1, 2)");
}

BOOST_AUTO_TEST_CASE(is_used_like_a_vector) {
  Shape shape{2, 3};
  shape.push_back(4);
  BOOST_TEST(shape.size() == 3u);
  BOOST_TEST(shape.back() == 4);
  shape.insert(shape.begin() + 1, 7);
  BOOST_TEST((shape == Shape{2, 7, 3, 4}));
  shape.erase(shape.begin());
  BOOST_TEST((shape == Shape{7, 3, 4}));
  shape.pop_back();
  shape[0] = 1;
  BOOST_TEST((shape == Shape{1, 3}));
  BOOST_TEST((shape != Shape{1, 3, 1}));
  BOOST_TEST((shape != Shape{1, 4}));
  const std::vector<std::int64_t> extents{5, 6};
  BOOST_TEST((Shape(extents) == Shape{5, 6}));
  BOOST_TEST((std::vector<std::int64_t>(shape.begin(), shape.end()) == std::vector<std::int64_t>{1, 3}));
  shape.clear();
  BOOST_TEST(shape.empty());
  BOOST_TEST((Shape(3, 2) == Shape{2, 2, 2}));
}

BOOST_AUTO_TEST_CASE(refuses_what_it_cannot_hold) {
  BOOST_CHECK_THROW(Shape(9, 1), ShapeError);
  Shape full(8, 1);
  BOOST_CHECK_THROW(full.push_back(1), ShapeError);
  BOOST_CHECK_THROW((Shape{2, 3}.at(2)), Error);
}

BOOST_AUTO_TEST_CASE(element_counts) {
  BOOST_TEST(element_count({}) == 1);
  BOOST_TEST(element_count({2, 3, 4}) == 24);
  BOOST_TEST(element_count({2, 0, 4}) == 0);
  BOOST_CHECK_THROW(element_count({2, -1}), ShapeError);
  BOOST_CHECK_THROW(element_count({std::int64_t{1} << 40, std::int64_t{1} << 40}), ShapeError);
  BOOST_CHECK_THROW(zeros({-1}), ShapeError);
}

BOOST_AUTO_TEST_CASE(dtypes_have_names_and_promote) {
  BOOST_TEST(name(DType::float32) == "float32");
  BOOST_TEST(name(DType::float64) == "float64");
  BOOST_TEST(name(DType::int64) == "int64");
  std::ostringstream stream;
  stream << DType::float64 << ' ' << Reduction::batchmean << ' ' << Divergence::reverse_kl;
  BOOST_TEST(stream.str() == "float64 batchmean reverse_kl");
  BOOST_TEST((promote(DType::float32, DType::float64) == DType::float64));
  BOOST_TEST((promote(DType::int64, DType::float32) == DType::float32));
  BOOST_TEST((promote(DType::int64, DType::int64) == DType::int64));
}

BOOST_AUTO_TEST_SUITE_END()
