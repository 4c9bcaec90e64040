#include "retort/framework/io/npy.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "files.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/random.hpp"
#include "retort/framework/ops/elementwise.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

std::string data_file(const std::string& name) {
  return (std::filesystem::path(__FILE__).parent_path() / "data" / name).string();
}

// A file of version 1 of that header and as many zero bytes of data.
std::string make_file(const std::string& header, std::size_t data = 0) {
  std::string file("\x93NUMPY\1\0", 8);
  file += static_cast<char>(header.size() & 0xFFU);
  file += static_cast<char>(header.size() >> 8);
  return file + header + std::string(data, '\0');
}

}  // namespace

BOOST_AUTO_TEST_SUITE(npy)

BOOST_AUTO_TEST_CASE(tensors_come_back_as_they_were) {
  const TemporaryFolder folder;
  for (const DType dtype : {DType::float32, DType::float64, DType::int64}) {
    for (const Shape& shape :
         {Shape{}, Shape{1}, Shape{7}, Shape{2, 3}, Shape{0, 3}, Shape{2, 1, 3, 1, 2, 1, 1, 2}}) {
      const Tensor saved = (rand(shape, DType::float64) * 100.0).to(dtype);
      save_npy(folder / "a.npy", saved);
      const Tensor read = load_npy(folder / "a.npy");
      BOOST_TEST((read.dtype() == dtype));
      BOOST_TEST(read.shape() == shape);
      BOOST_TEST(read.values<double>() == saved.values<double>(), boost::test_tools::per_element());
    }
  }
  BOOST_CHECK_THROW(save_npy(folder / "b.npy", Tensor()), ValueError);
  BOOST_TEST(folder.entries() == 1U);
}

// Written by data/make_fixtures.py.
BOOST_AUTO_TEST_CASE(files_of_numpy_are_read_and_written) {
  const Tensor first = load_npy(data_file("version1.npy"));
  BOOST_TEST(first.shape() == (Shape{2, 3}));
  const std::vector<float> expected{1.5F, -2, 3e-40F, std::numeric_limits<float>::infinity(), 0.1F, -0.0F};
  BOOST_TEST(std::memcmp(first.data<float>().data(), expected.data(), sizeof(float) * expected.size()) == 0);
  BOOST_TEST(load_npy(data_file("version2.npy")).values<std::int64_t>() ==
                 (std::vector<std::int64_t>{std::int64_t{1} << 40, -1}),
             boost::test_tools::per_element());
  const Tensor third = load_npy(data_file("version3.npy"));
  BOOST_TEST(third.dim() == 0);
  BOOST_TEST(third.item<double>() == 0.1);

  const TemporaryFolder folder;
  save_npy(folder / "a.npy", first);
  BOOST_TEST(read_file(folder / "a.npy") == read_file(data_file("version1.npy")));
}

BOOST_AUTO_TEST_CASE(other_element_types_and_orders_of_numpy_are_read) {
  const std::vector<double> values{0, 1, 2, 3, 4, 5};
  struct Case {
    std::string name;
    DType dtype;
  };
  for (const Case& each :
       {Case{"uint8", DType::int64}, Case{"int32", DType::int64}, Case{"big_int", DType::int64},
        Case{"float16", DType::float32}, Case{"big", DType::float64}}) {
    const Tensor read = load_npy(data_file(each.name + ".npy"));
    BOOST_TEST((read.dtype() == each.dtype), each.name);
    BOOST_TEST(read.shape() == (Shape{2, 3}));
    BOOST_TEST(read.values<double>() == values, boost::test_tools::per_element());
  }
  BOOST_TEST(
      load_npy(data_file("bool.npy")).values<std::int64_t>() == (std::vector<std::int64_t>{0, 1, 1, 1, 1, 1}),
      boost::test_tools::per_element());
  const Tensor fortran = load_npy(data_file("fortran.npy"));
  BOOST_TEST(fortran.shape() == (Shape{2, 3, 4}));
  BOOST_TEST(fortran.values<std::int64_t>() == arange(24).values<std::int64_t>(),
             boost::test_tools::per_element());
  BOOST_TEST(
      parse_npy(bytes_of(make_file("{'descr': '<f4', 'fortran_order': True, 'shape': (0, 3)}"))).shape() ==
      (Shape{0, 3}));
}

BOOST_AUTO_TEST_CASE(other_spellings_of_the_header_are_read) {
  for (const char* header : {"{'shape':(2,),'fortran_order':False,'descr':'<f4'}\n",
                             "  { \"descr\" : \"<f4\" , 'shape' : ( 2 , ) , 'fortran_order' : False , } \n",
                             "{'descr':'<f4','fortran_order':False,'shape':(1,2)}"})
    BOOST_TEST(parse_npy(bytes_of(make_file(header, 8))).size() == 2);
}

BOOST_AUTO_TEST_CASE(broken_files_are_refused_with_their_cause) {
  struct Case {
    std::string header;
    std::size_t data;
    std::string cause;
  };
  const auto header = [](const std::string& descr, const std::string& order, const std::string& shape) {
    return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
  };
  const std::vector<Case> cases{
      {header("'<u8'", "False", "(1,)"), 8, "element type '<u8'"},
      {header("'<c8'", "False", "(1,)"), 8, "element type '<c8'"},
      {header("'|f4'", "False", "(1,)"), 4, "element type '|f4'"},
      {header("'f4'", "False", "(1,)"), 4, "element type 'f4'"},
      {header("''", "False", "(1,)"), 4, "element type ''"},
      {header("'|O'", "False", "(1,)"), 4, "element type '|O'"},
      {header("[('x', '<f4')]", "False", "(1,)"), 4, "structured"},
      {header("'<f4'", "True", "(2, 2)"), 12, "truncated"},
      {header("'<i4'", "False", "(1152921504606846976,)"), 4, "impossible shape"},
      {header("'<f4'", "0", "(2, 2)"), 16, "not a dictionary"},
      {header("'<f4'", "False", "(-1,)"), 4, "impossible extent"},
      {header("'<f4'", "False", "(x,)"), 4, "impossible extent"},
      {header("'<f4'", "False", "(99999999999999999999,)"), 4, "impossible extent"},
      {header("'<f4'", "False", "(4294967296, 4294967296)"), 4, "impossible shape"},
      {header("'<f4'", "False", "(4294967296, 4294967296, 0)"), 0, "impossible shape"},
      {header("'<f4'", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 1)"), 4, "more than 8 dimensions"},
      {header("'<f4'", "False", "(1 1)"), 4, "not a dictionary"},
      {header("'<f4'", "False", "1"), 4, "not a dictionary"},
      {header("'<f4'", "False", "(1)"), 4, "a number, not a tuple"},
      {header("'<f4'", "False", "(,)"), 4, "impossible extent"},
      {header("'<f4'", "False", "(-0,)"), 0, "impossible extent"},
      {header("'<f4'", "False", "(02,)"), 8, "impossible extent"},
      {header("'<f4'", "False", "(3,)"), 8, "truncated"},
      {header("'<f4'", "False", "(1000000000000,)"), 8, "truncated"},
      {header("'<f4'", "False", "(1,)"), 8, "trailing bytes"},
      {"", 4, "not a dictionary"},
      {"{}", 4, "not a dictionary"},
      {"{'descr': '<f4'", 4, "not a dictionary"},
      {"{'descr': '<f4", 4, "not a dictionary"},
      {"{'descr': '<f4', 'shape': (1,)}", 4, "not a dictionary"},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4, "second key 'descr'"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", 4, "unknown"},
      {header("'<f4'", "False", "(1,)") + "}", 4, "not a dictionary"},
  };
  for (const Case& broken : cases) {
    BOOST_TEST_CONTEXT(broken.header)
    BOOST_CHECK_EXCEPTION(parse_npy(bytes_of(make_file(broken.header, broken.data)), "broken.npy"), IoError,
                          says("broken.npy", broken.cause));
  }
  const std::string good = make_file(header("'<f4'", "False", "(1,)"), 4);
  std::string bad = good;
  bad[0] = 'x';
  BOOST_CHECK_EXCEPTION(parse_npy(bytes_of(bad)), IoError, says("NUMPY"));
  bad = good;
  bad[6] = 4;
  BOOST_CHECK_EXCEPTION(parse_npy(bytes_of(bad)), IoError, says("version 4.0"));
  bad[6] = '\xFF';
  BOOST_CHECK_EXCEPTION(parse_npy(bytes_of(bad)), IoError, says("version 255.0"));
  bad = good;
  bad[7] = 1;
  BOOST_CHECK_EXCEPTION(parse_npy(bytes_of(bad)), IoError, says("version 1.1"));
  bad = good;
  bad[6] = 2;  // now four bytes of length, two of them from the header
  BOOST_CHECK_EXCEPTION(parse_npy(bytes_of(bad)), IoError, says("states a header"));

  const TemporaryFolder folder;
  BOOST_CHECK_EXCEPTION(load_npy(folder / "none.npy"), IoError, says(folder / "none.npy", "No such file"));
}

// A sparse file takes no disk space, however long it is.
BOOST_AUTO_TEST_CASE(what_no_memory_can_hold_is_refused) {
  for (const std::uint64_t count : {std::uint64_t{1} << 45, std::uint64_t{1} << 57}) {
    const std::string file =
        make_file("{'descr': '<f8', 'fortran_order': False, 'shape': (" + std::to_string(count) + ",)}");
    const std::span long_file(bytes_of(file).data(), file.size() + 8 * count);  // not read as far as that
    BOOST_CHECK_EXCEPTION(parse_npy(long_file, "sparse.npy"), IoError, says("sparse.npy", "memory"));
  }
}

BOOST_AUTO_TEST_CASE(damaged_files_do_no_harm) {
  const std::string good = read_file(data_file("version1.npy"));
  for (std::size_t length = 0; length < good.size(); ++length)
    BOOST_CHECK_THROW(parse_npy(bytes_of(std::string_view(good).substr(0, length))), IoError);
  Generator generator(1);
  std::size_t refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bad = good;
    for (std::uint64_t changes = 1 + generator.below(3); changes > 0; --changes)
      bad[generator.below(100)] = static_cast<char>(generator.below(256));
    try {
      parse_npy(bytes_of(bad));
    } catch (const IoError&) {
      ++refused;
    }
  }
  BOOST_TEST(refused > 10'000U);
}

BOOST_AUTO_TEST_SUITE_END()
