#include "retort/framework/data/csv.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "framework/io/files.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/random.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

void check(const Dataset& data, const Shape& shape, const std::vector<double>& inputs,
           const std::vector<double>& labels, DType label_dtype = DType::int64) {
  BOOST_TEST(data.inputs().shape() == shape);
  BOOST_TEST(data.inputs().values<double>() == inputs, boost::test_tools::per_element());
  BOOST_TEST(data.targets().values<double>() == labels, boost::test_tools::per_element());
  BOOST_TEST((data.targets().dtype() == label_dtype), "labels are " << name(data.targets().dtype()));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(csv)

BOOST_AUTO_TEST_CASE(tables_with_and_without_a_header) {
  check(parse_csv("1,2,0\n3,4.5,1\n"), {2, 2}, {1, 2, 3, 4.5}, {0, 1});
  check(parse_csv("x,y,class\n1,2,0\n3,4.5,1\n"), {2, 2}, {1, 2, 3, 4.5}, {0, 1});
  // Names that are numbers have to be announced.
  check(parse_csv("1,2,0\n3,4.5,1\n", {.header = true}), {1, 2}, {3, 4.5}, {1});
  check(parse_csv("1,2\n", {.header = false}), {1, 1}, {1}, {2});
}

BOOST_AUTO_TEST_CASE(the_label_column_by_place_or_name) {
  const std::string text = "label,a,b\n7,1,2\n8,3,4\n";
  check(parse_csv(text, {.label_column = 0}), {2, 2}, {1, 2, 3, 4}, {7, 8});
  check(parse_csv(text, {.label_name = "label"}), {2, 2}, {1, 2, 3, 4}, {7, 8});
  check(parse_csv(text, {.label_name = "a"}), {2, 2}, {7, 2, 8, 4}, {1, 3});
  check(parse_csv(text, {.label_column = -3}), {2, 2}, {1, 2, 3, 4}, {7, 8});
}

BOOST_AUTO_TEST_CASE(element_types) {
  check(parse_csv("1,2.5\n3,4\n"), {2, 1}, {1, 3}, {2.5, 4}, DType::float32);
  check(parse_csv("1,2\n3,4\n", {.label_dtype = DType::float64}), {2, 1}, {1, 3}, {2, 4}, DType::float64);
  check(parse_csv("1,2.0\n3,-4e0\n", {.label_dtype = DType::int64}), {2, 1}, {1, 3}, {2, -4});
  check(parse_csv("0.1,9007199254740993\n", {.dtype = DType::float64}), {1, 1}, {0.1}, {0x1p53});
  BOOST_TEST(parse_csv("0,9007199254740993\n").targets().item<std::int64_t>() == 9007199254740993);
  BOOST_TEST(parse_csv("0.1,1\n").inputs().item<float>() == 0.1F);
  // Rounded once: the nearest float lies above this number, through double it would lie below.
  BOOST_TEST(parse_csv("1.00000005960464477540,1\n").inputs().item<float>() == 1.00000005960464477540F);
  BOOST_CHECK_THROW(parse_csv("1,2\n", {.dtype = DType::int64}), TypeError);
}

BOOST_AUTO_TEST_CASE(spellings_of_the_same_table) {
  for (const char* text :
       {"1,-2,3\n4,5,6\n", "1,-2,3\n4,5,6", "1,-2,3\r\n4,5,6\r\n", "1,-2,3\r\n4,5,6\r",
        "\n\n1,-2,3\n\n4,5,6\n\n", " 1 ,\t-2, +3\n4 , 5,6 \n", "\"1\",\" -2 \", \"3\" \n\"4\",5,\"6\"",
        "\xEF\xBB\xBF"
        "1,-2,3\n4,5,6\n",
        "1e0,-0.2e1,3\n4,5.0,6\n"})
    BOOST_TEST_CONTEXT(text) check(parse_csv(text), {2, 2}, {1, -2, 4, 5}, {3, 6});
  check(parse_csv("1;-2;3\n4;5;6\n", {.delimiter = ';'}), {2, 2}, {1, -2, 4, 5}, {3, 6});
  check(parse_csv("1\t -2 \t3\n4\t5\t6\n", {.delimiter = '\t'}), {2, 2}, {1, -2, 4, 5}, {3, 6});
  check(parse_csv("1 -2 3\n4 5 6\n", {.delimiter = ' '}), {2, 2}, {1, -2, 4, 5}, {3, 6});
  check(parse_csv("\"a, \"\"b\"\"\",\"c\nd\",class\n1,-2,3\n4,5,6", {.label_name = "class"}), {2, 2},
        {1, -2, 4, 5}, {3, 6});
  BOOST_TEST(std::isnan(parse_csv("nan,1\n").inputs().item<float>()));
  BOOST_TEST(std::isinf(parse_csv("-inf,1\n").inputs().item<float>()));
}

// Only what is too large for its type is refused.
BOOST_AUTO_TEST_CASE(numbers_too_small_for_their_type_are_zero) {
  const std::string zeros(400, '0');
  for (const std::string& tiny :
       {std::string("1e-50"), std::string("1e-400"), std::string("1e-9223372036854775808"),
        "0." + zeros + "1", "." + zeros + "12e10", "1" + zeros + "e-1000",
        "00" + zeros + "e-99999999999999999999"}) {
    const float positive = parse_csv(tiny + ",1\n").inputs().item<float>();
    BOOST_TEST(positive == 0, tiny);
    BOOST_TEST(!std::signbit(positive), tiny);
    const float negative = parse_csv("-" + tiny + ",1\n").inputs().item<float>();
    BOOST_TEST(negative == 0, tiny);
    BOOST_TEST(std::signbit(negative), tiny);
  }
  BOOST_TEST(parse_csv("1e-50,1\n", {.dtype = DType::float64}).inputs().item<double>() == 1e-50);
  BOOST_TEST(parse_csv("1,1e-400\n", {.label_dtype = DType::float64}).targets().item<double>() == 0);
  for (const std::string& large :
       {std::string("1e39"), std::string("1e99999999999999999999"), std::string("1e9223372036854775807"),
        "1" + zeros, "0.01" + zeros + "e500", "1" + zeros + ".5e-10"})
    BOOST_CHECK_EXCEPTION(parse_csv("1,2\n" + large + ",2\n"), IoError,
                          says("line 2, column 1", "is too large for float32"));
}

BOOST_AUTO_TEST_CASE(what_is_wrong_is_named_with_its_place) {
  struct Case {
    std::string text;
    CsvOptions options;
    std::string cause;
  };
  const std::vector<Case> cases{
      {"a,b,c\n1,2,3\n4,x,6\n", {}, "line 3, column 2 'b': 'x' is not a number"},
      {"1,2,3\n4,,6\n", {}, "line 2, column 2: '' is not a number"},
      {"a,b\n1,2\n3,2.5\n", {.label_dtype = DType::int64}, "line 3, column 2 'b': '2.5' is not an integer"},
      {"a,b\n1,2\n3,x\n", {}, "line 3, column 2 'b': 'x' is not a number"},
      {"1,2\n3,\n", {}, "line 2, column 2: the label is missing; CsvMissing::skip_row leaves such rows out"},
      {"1,2\n-1e39,2\n", {}, "line 2, column 1: '-1e39' is too large for float32"},
      {"1,2\n3,1e30\n", {.label_dtype = DType::int64}, "line 2, column 2: '1e30' is too large for int64"},
      {"a;b\n1;2\n", {}, "(.delimiter is ',', but line 1 contains ';')"},
      {"a\n1\n", {}, "has one column only; inputs and a label are needed (.delimiter is ',')"},
      {"a,b,a\n1,2,3\n", {.label_name = "a"}, "has the column 'a' twice, at 0 and 2 (from 0)"},
      {"a,b\n1,2\n", {.label_name = "klass"}, "has no column 'klass'; its columns are 'a', 'b'"},
      {"a,b\n1,2\n", {.categorical = {{"klass"}}}, "has no column 'klass'; its columns are 'a', 'b'"},
      {"1,2\n", {.categorical = {{"klass"}}}, "has no column 'klass'; its columns are numbered from 0 to 1"},
      {"1,2x\n", {}, "line 1, column 2: '2x' is not a number"},
      {"a,2\n3,4\n", {}, "set .header = true"},
      {"1,2\n1e999,2\n", {}, "line 2, column 1: '1e999' is too large for float32"},
      {"1,2\n--1,2\n", {}, "'--1'"},
      {"1,2\n+-1,2\n", {}, "'+-1'"},
      {"1,2\n0x10,2\n", {}, "'0x10'"},
      {"1,2\n\n1,2,3\n", {}, "line 3 has 3 columns instead of 2"},
      {"1,2\n1\n", {}, "line 2 has 1 column instead of 2"},
      {"a,b\n1,2,3\n", {}, "line 2 has 3 columns instead of 2"},
      {"1,2\n\"1,2\n", {}, "line 2, column 1: the quote is not closed"},
      {"1,2\n\"1\"5,2\n", {}, "line 2, column 1: text follows the closing quote"},
      {"\"a\n\nb\",c\n1,x\n", {}, "line 4, column 2 'c'"},
      {"", {}, "no rows"},
      {"\n \n", {}, "one column"},
      {"\n\r\n", {}, "no rows"},
      {"a,b\n", {}, "no rows"},
      {"1\n2\n", {}, "one column"},
      {"1,2\n", {.label_column = 2}, "has 2 columns, but the label column is 2"},
      {"1,2\n", {.label_column = -3}, "has 2 columns, but the label column is -3"},
      {"1,2\n", {.label_name = "y"}, "no header"},
      {"a,b\n1,2\n", {.label_name = "y"}, "no column 'y'"},
  };
  for (const Case& broken : cases) {
    BOOST_TEST_CONTEXT(broken.text)
    BOOST_CHECK_EXCEPTION(parse_csv(broken.text, broken.options, "table.csv"), IoError,
                          says("table.csv", broken.cause));
  }
  BOOST_CHECK_EXCEPTION(parse_csv("1,2\n", {.delimiter = '"'}), ValueError, says("parse_csv: the delimiter"));
  BOOST_CHECK_EXCEPTION(parse_csv("1,2\n", {.dtype = DType::int64}), TypeError, says("parse_csv: dtype"));
}

BOOST_AUTO_TEST_CASE(files) {
  const TemporaryFolder folder;
  write_file(folder / "t.csv", "a,b\n1,2\n3,4\n");
  const Interruptions interruptions(3);
  check(load_csv(folder / "t.csv", {.label_name = "a"}), {2, 1}, {2, 4}, {1, 3});
  BOOST_CHECK_EXCEPTION(load_csv(folder / "none.csv"), IoError,
                        says("load_csv: " + (folder / "none.csv"), "No such file"));
  write_file(folder / "t.csv", "");
  BOOST_CHECK_EXCEPTION(load_csv(folder / "t.csv"), IoError, says(folder / "t.csv", "no rows"));
}

BOOST_AUTO_TEST_CASE(damaged_text_does_no_harm) {
  const std::string good = "a,\"b\",c\r\n1,2,3\n\"4\",-5.5e3, 6\n7,8,9";
  const std::string letters = "\",\n\r 1e-.x+\t\xFF";
  Generator generator(1);
  std::size_t read = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bad = good;
    for (std::uint64_t changes = 1 + generator.below(4); changes > 0; --changes)
      bad[generator.below(bad.size())] = letters[generator.below(letters.size())];
    try {
      parse_csv(bad);
      ++read;
    } catch (const IoError&) {
    }
  }
  BOOST_TEST(read > 100U);
  BOOST_TEST(read < 19'900U);
}

// A sparse file costs its maker nothing, however long it is.
BOOST_AUTO_TEST_CASE(what_no_memory_can_hold_is_refused) {
  const TemporaryFolder folder;
  write_file(folder / "sparse.csv", "1,2\n");
  std::error_code refused;  // by a file system that has no such files
  std::filesystem::resize_file(folder / "sparse.csv", std::uintmax_t{1} << 43, refused);
  if (!refused)
    BOOST_CHECK_EXCEPTION(load_csv(folder / "sparse.csv"), IoError, says("load_csv", "sparse.csv", "memory"));
}

BOOST_AUTO_TEST_CASE(missing_cells) {
  const std::string text = "a,b,y\n1,2,0\nNA,4,1\n3,,1\n";
  BOOST_CHECK_EXCEPTION(
      parse_csv(text), IoError,
      says("line 3, column 1 'a': 'NA' is not a number (missing cells are treated as .missing specifies)"));
  BOOST_CHECK_EXCEPTION(parse_csv("a,b,y\n1,red,0\n"), IoError,
                        says("line 2, column 2 'b': 'red' is not a number (columns of text are listed in"));
  const Dataset with_nan = parse_csv(text, {.missing = CsvMissing::nan});
  BOOST_TEST(std::isnan(with_nan.inputs().data<float>()[2]));
  BOOST_TEST(with_nan.inputs().data<float>()[3] == 4);
  check(parse_csv(text, {.missing = CsvMissing::mean}), {3, 2}, {1, 2, 2, 4, 3, 3}, {0, 1, 1});
  check(parse_csv(text, {.missing = CsvMissing::mean, .means = {7, 8, 9}}), {3, 2}, {1, 2, 7, 4, 3, 8},
        {0, 1, 1});
  check(parse_csv(text, {.missing = CsvMissing::skip_row}), {1, 2}, {1, 2}, {0});
  check(parse_csv("a,y\n-,0\n1,2\n", {.missing = CsvMissing::skip_row, .missing_values = {"-"}}), {1, 1}, {1},
        {2});
  for (const CsvMissing missing : {CsvMissing::nan, CsvMissing::mean})
    BOOST_CHECK_EXCEPTION(parse_csv("1,2\n3,\n", {.missing = missing}), IoError, says("line 2, column 2"));
  BOOST_CHECK_EXCEPTION(parse_csv("a,b\nNA,1\n", {.header = true, .missing = CsvMissing::skip_row}), IoError,
                        says("no rows"));
  // A column without a single value has no mean and no categories.
  BOOST_CHECK_EXCEPTION(parse_csv("a,b,y\n1,?,3\n2,,4\n", {.missing = CsvMissing::mean}), IoError,
                        says("column 2 'b' has no values to take a mean of"));
  BOOST_CHECK_EXCEPTION(parse_csv("?,3\n,4\n", {.header = false, .missing = CsvMissing::mean}), IoError,
                        says("column 1 has no values to take a mean of"));
  check(parse_csv("?,3\n,4\n", {.header = false, .missing = CsvMissing::mean, .means = {5, 0}}), {2, 1},
        {5, 5}, {3, 4});
  BOOST_CHECK_EXCEPTION(
      parse_csv("a,b,y\n1,?,3\n2,,4\n", {.missing = CsvMissing::nan, .categorical = {{"b"}}}), IoError,
      says("column 2 'b' has no values to take categories from"));
}

BOOST_AUTO_TEST_CASE(categories_and_targets) {
  const std::string text = "colour,size,y\nred,M,1\nblue,S,2\n\"red\",L,3\n";
  check(parse_csv(text, {.categorical = {{"colour"},
                                         {.column = "size",
                                          .categories = {"S", "M", "L"},
                                          .encoding = CsvEncoding::code}}}),
        {3, 3}, {0, 1, 1, 1, 0, 0, 0, 1, 2}, {1, 2, 3});
  check(parse_csv(text, {.target = CsvTarget::regression, .categorical = {{"0"}, {"1"}}}), {3, 5},
        {0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0}, {1, 2, 3}, DType::float32);
  // A label of text.
  check(parse_csv("1,no\n2,yes\n3,no\n", {.header = false, .categorical = {{"1"}}}), {3, 1}, {1, 2, 3},
        {0, 1, 0});
  check(parse_csv("a,\"x \"\"1\"\"\"\n",
                  {.header = false, .label_column = 0, .categorical = {{"0"}, {"1", {"x \"1\""}}}}),
        {1, 1}, {1}, {0});
  BOOST_CHECK_EXCEPTION(
      parse_csv("c,y\nred,1\npink,2\ngreen,3\npink,4\n", {.categorical = {{"c", {"red", "blue"}}}}), IoError,
      says("unknown categories: 'pink' in the column 'c' (line 3), 'green' in the column 'c' (line 4)"));
  check(parse_csv("c,y\nred,1\npink,2\n",
                  {.categorical = {{"c", {"red", "blue"}}}, .unknown = CsvUnknown::no_category}),
        {2, 2}, {1, 0, 0, 0}, {1, 2});
  BOOST_CHECK_EXCEPTION(parse_csv(text, {.categorical = {{"x"}}}), IoError, says("no column 'x'"));
  BOOST_CHECK_THROW(parse_csv(text, {.categorical = {{"size", {"S", "S"}}}}), ValueError);
  std::string many = "c,y\n";
  for (int i = 0; i < 1001; ++i) many += "x" + std::to_string(i) + ",1\n";
  BOOST_CHECK_EXCEPTION(parse_csv(many, {.categorical = {{"c"}}}), IoError,
                        says("more than 1000 categories"));
}

BOOST_AUTO_TEST_CASE(a_table_that_stays_in_its_file) {
  const TemporaryFolder folder;
  std::string text = "colour,\"a\nb\",y\r\n";
  for (int i = 0; i < 3000; ++i) {
    text += i % 3 == 0 ? "red" : i % 3 == 1 ? "\"gr,een\"" : "\"b\n\"\"lue\"";
    text += "," + (i % 5 == 0 ? std::string("?") : std::to_string(i / 2.0)) + "," + std::to_string(i % 7) +
            "\r\n";
    if (i % 10 == 0) text += "\n";
  }
  write_file(folder / "t.csv", text);
  for (const CsvMissing missing : {CsvMissing::mean, CsvMissing::skip_row}) {
    const CsvOptions options{.missing = missing, .categorical = {{"colour"}}};
    const Dataset whole = load_csv(folder / "t.csv", options);
    const CsvSource source(folder / "t.csv", options);
    BOOST_TEST(source.size() == whole.size());
    Generator generator(3);
    const std::vector<std::int64_t> rows = random_permutation(source.size(), generator);
    const Batch batch = source.fetch(rows);
    const Batch expected = whole.rows(rows);
    BOOST_TEST((batch.input.values<float>() == expected.input.values<float>()));
    BOOST_TEST((batch.target.values<std::int64_t>() == expected.target.values<std::int64_t>()));
    // The options that were learnt read a part in the same way.
    const CsvOptions fitted = fit_csv(folder / "t.csv", options);
    BOOST_TEST(fitted.categorical[0].categories == (std::vector<std::string>{"b\n\"lue", "gr,een", "red"}),
               boost::test_tools::per_element());
    BOOST_TEST(source.options().categorical[0].categories.size() == 3U);
    BOOST_TEST(fitted.columns.size() == 3U);
    BOOST_TEST(fitted.columns[0] == "colour");
    BOOST_CHECK_EXCEPTION(
        parse_csv("x,colour,y\n8,red,1\n", fitted), IoError,
        says("memory", "column 2 is 'colour', not 'a?b'; the columns must be in the order"));
    BOOST_CHECK_EXCEPTION(parse_csv("colour,y\nred,1\n", fitted), IoError,
                          says("memory", "has 2 columns, but 3 names are given in .columns"));
    const Dataset part = parse_csv("colour,x,y\nred,8,1\n\"gr,een\",9,2\n", fitted);
    BOOST_TEST(part.inputs().values<float>() == (std::vector<float>{0, 0, 1, 8, 0, 1, 0, 9}),
               boost::test_tools::per_element());
  }
  BOOST_CHECK_THROW(CsvSource(folder / "none.csv"), IoError);
  write_file(folder / "t.csv", "a,b\n1,2\n\n3,x\n");
  const CsvSource broken(folder / "t.csv");
  const std::int64_t rows[] = {0, 1};
  BOOST_CHECK_EXCEPTION(broken.fetch(rows), IoError,
                        says("t.csv", "line 4, column 2 'b': 'x' is not a number"));
  const std::int64_t beyond[] = {2};
  BOOST_CHECK_THROW(broken.fetch(beyond), IndexError);
}

BOOST_AUTO_TEST_SUITE_END()
