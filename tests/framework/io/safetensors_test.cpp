#include "retort/framework/io/safetensors.hpp"

#include <bit>
#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>

#include "retort/framework/base/error.hpp"
#include "retort/framework/base/random.hpp"
#include "retort/framework/io/input_impl.hpp"
#include "safetensors_files.hpp"
#include "tests_support.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

std::string data_file(const std::string& name) {
  return (std::filesystem::path(__FILE__).parent_path() / "data" / name).string();
}

// The entry of four zeros of type F32.
const std::string entry_a = R"("a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})";

}  // namespace

BOOST_AUTO_TEST_SUITE(safetensors)

BOOST_AUTO_TEST_CASE(tensors_come_back_as_they_were) {
  const TemporaryFolder folder;
  const StateDict saved{{"z.weight", randn({3, 5})},
                        {"count", tensor({7})},
                        {"double", randn({2, 1, 2}, DType::float64)},
                        {"scalar", full({}, 2.5)},
                        {"odd", randn({3})},
                        {"labels", tensor({-(std::int64_t{1} << 40), std::int64_t{3}, std::int64_t{0}})},
                        {"nothing", zeros({0, 4})},
                        {"\"quoted\" \n ä", ones({1})}};
  const Metadata metadata{{"b", "2"}, {"a", "\"1\"\n"}, {"", ""}};
  save_safetensors(folder / "f", saved, metadata);

  Metadata read_metadata;
  const StateDict read = load_safetensors(folder / "f", &read_metadata);
  BOOST_TEST(read.size() == saved.size());
  auto original = saved.begin();
  for (const auto& [name, tensor] : read) {  // in the same order
    BOOST_TEST(name == original->first);
    check_values(tensor, original->second.dtype(), original->second.shape(),
                 original->second.values<double>());
    ++original;
  }
  BOOST_TEST((read_metadata == metadata));
  BOOST_TEST((load_safetensors_metadata(folder / "f") == metadata));

  const auto entries = safetensors_entries(folder / "f");
  BOOST_TEST(entries.size() == saved.size());
  BOOST_TEST(entries[0].name == "z.weight");
  BOOST_TEST(entries[0].dtype == "F32");
  BOOST_TEST(entries[0].shape == (Shape{3, 5}));
  BOOST_TEST(entries[1].dtype == "I64");
}

BOOST_AUTO_TEST_CASE(the_bytes_are_known) {
  const TemporaryFolder folder;
  save_safetensors(folder / "f", {{"a", tensor({1.0F})}, {"b", tensor({2})}}, {{"k", "v"}});
  const std::string header =
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
      R"("b":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  std::string expected = make_file(header + padding);
  expected += std::string("\2\0\0\0\0\0\0\0", 8) + std::string("\0\0\x80\x3F", 4);
  BOOST_TEST(read_file(folder / "f") == expected);
}

BOOST_AUTO_TEST_CASE(no_tensor_at_all) {
  const TemporaryFolder folder;
  save_safetensors(folder / "f", StateDict{});
  BOOST_TEST(read_file(folder / "f") == make_file("{}      "));
  BOOST_TEST(load_safetensors(folder / "f").empty());
}

BOOST_AUTO_TEST_CASE(other_maps_are_taken) {
  const TemporaryFolder folder;
  const std::map<std::string, Tensor> tensors{{"a", ones({2})}};
  save_safetensors(folder / "f", tensors, std::map<std::string, std::string>{{"k", "v"}});
  check_values(load_safetensors(folder / "f").at("a"), DType::float32, {2}, {1, 1});
  BOOST_TEST(load_safetensors_metadata(folder / "f")[0].second == "v");
  save_safetensors(folder / "f", tensors);
  BOOST_TEST(load_safetensors_metadata(folder / "f").empty());
}

// Written by data/make_fixtures.py.
BOOST_AUTO_TEST_CASE(a_file_of_pytorch_is_read) {
  Metadata metadata;
  const StateDict read = load_safetensors(data_file("pytorch.safetensors"), &metadata);
  BOOST_TEST(read.size() == 18U);
  check_values(read.at("0.weight"), DType::float32, {2, 3}, {-0.25, -0.125, 0, 0.125, 0.25, 0.375});
  check_values(read.at("0.bias"), DType::float32, {2}, {-0.25, -0.125});
  check_values(read.at("1.running_var"), DType::float32, {2}, {1, 1});
  check_values(read.at("1.num_batches_tracked"), DType::int64, {}, {0});
  check_values(read.at("half"), DType::float32, {5}, {1, -2.5, 65504, 0x1p-24, infinity});
  check_values(read.at("brain"), DType::float32, {2, 2},
               {1, -2.5, std::bit_cast<float>(0x7F62U << 16), std::bit_cast<float>(1U << 16)});
  check_values(read.at("double"), DType::float64, {2}, {0.1, -1e300});
  check_values(read.at("labels"), DType::int64, {2}, {-0x1p40, 7});
  check_values(read.at("int"), DType::int64, {2}, {-3, 0x1p30});
  check_values(read.at("short"), DType::int64, {2}, {-300, 300});
  check_values(read.at("signed"), DType::int64, {2}, {-128, 127});
  check_values(read.at("byte"), DType::int64, {2}, {0, 255});
  check_values(read.at("bool"), DType::int64, {3}, {1, 0, 1});
  check_values(read.at("scalar"), DType::float32, {}, {2.5});
  check_values(read.at("nothing"), DType::float32, {0, 4}, {});
  BOOST_TEST((metadata == Metadata{{"format", "pt"}, {"naïve", "\"quoted\"\n"}}));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_saved_is_refused_before_the_file_is_touched) {
  const TemporaryFolder folder;
  write_file(folder / "f", "old");
  const auto save = [&](const StateDict& tensors, const Metadata& metadata = {}) {
    save_safetensors(folder / "f", tensors, metadata);
  };
  BOOST_CHECK_EXCEPTION(save({{"x", Tensor()}}), ValueError, says("'x'", "undefined"));
  BOOST_CHECK_EXCEPTION(save({{"__metadata__", ones({1})}}), ValueError, says("__metadata__"));
  BOOST_CHECK_EXCEPTION(save({{"\xFF", ones({1})}}), ValueError, says("UTF-8"));
  BOOST_CHECK_EXCEPTION(save({}, {{"k", "\xC3"}}), ValueError, says("UTF-8"));
  BOOST_CHECK_EXCEPTION(save({}, {{"k", "1"}, {"k", "2"}}), ValueError, says("'k'", "twice"));
  BOOST_TEST(read_file(folder / "f") == "old");
  BOOST_TEST(folder.entries() == 1U);
}

BOOST_AUTO_TEST_CASE(a_failing_write_leaves_the_old_file) {
  const TemporaryFolder folder;
  save_safetensors(folder / "f", {{"a", ones({2})}});
  const std::string old = read_file(folder / "f");
  int writes = 0;
  for (bool happened = true; happened; ++writes) {
    const FailingCall failing(SystemCall::write, writes, ENOSPC);
    try {
      save_safetensors(folder / "f", {{"a", zeros({2})}, {"b", zeros({3})}});
    } catch (const IoError& error) {
      BOOST_TEST(says(folder / "f", "No space left on device")(error));
      BOOST_TEST(read_file(folder / "f") == old);
      BOOST_TEST(folder.entries() == 1U);
    }
    happened = failing.happened();
  }
  BOOST_TEST(writes == 5);  // length, header and two tensors; the fifth save went through
  BOOST_TEST(load_safetensors(folder / "f").size() == 2U);
}

BOOST_AUTO_TEST_CASE(interrupted_and_short_reads_go_on_and_failing_ones_are_told) {
  const std::string path = data_file("pytorch.safetensors");
  {
    const Interruptions interruptions(5);
    check_values(load_safetensors(path).at("0.bias"), DType::float32, {2}, {-0.25, -0.125});
  }
  const FailingCall failing(SystemCall::pread, 2, EIO);
  BOOST_CHECK_EXCEPTION(load_safetensors(path), IoError,
                        says("load_safetensors: " + path, "Input/output error"));
}

// With a mapped file, the program would crash here.
BOOST_AUTO_TEST_CASE(a_file_that_shrinks_while_it_is_read_is_told) {
  const TemporaryFolder folder;
  write_file(folder / "f", std::string(10'000, 'x'));
  const detail::Input input("load", folder / "f");
  std::filesystem::resize_file(folder / "f", 5000);
  std::string bytes(10'000, '\0');
  BOOST_CHECK_EXCEPTION(input.read(0, bytes.data(), bytes.size()), IoError,
                        says("load: " + (folder / "f"), "shorter"));
}

BOOST_AUTO_TEST_CASE(what_is_no_file_is_told) {
  const TemporaryFolder folder;
  BOOST_CHECK_EXCEPTION(load_safetensors(folder / "none"), IoError, says(folder / "none", "No such file"));
  BOOST_CHECK_EXCEPTION(load_safetensors(folder / ""), IoError, says("is a folder"));
  BOOST_CHECK_EXCEPTION(load_safetensors("/dev/zero"), IoError, says("/dev/zero", "not a regular file"));
}

BOOST_AUTO_TEST_CASE(entries_may_stand_in_any_order) {
  const std::string header = R"({"b":{"data_offsets":[4,8],"shape":[1],"dtype":"F32"}, )"
                             R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                             R"("e":{"dtype":"I64","shape":[3,0],"data_offsets":[4,4]}, "__metadata__":{}})";
  const StateDict read = parse_safetensors(bytes_of(make_file(header + "  ", 8)));
  BOOST_TEST(read.size() == 3U);
  BOOST_TEST(read.begin()->first == "b");
  BOOST_TEST(read.at("e").shape() == (Shape{3, 0}));
}

BOOST_AUTO_TEST_CASE(unknown_fields_and_null_metadata_are_ignored) {
  for (const std::string extra :
       {"1", "-1", "1.5", "\"text\"", "null", "true", "[]", "{}",
        R"({"dtype":"F64","shape":[7],"a":{"b":[{}]}})", R"([1,[2,{"x":[-1,0.5,null,false,"s"]}],3])"}) {
    for (const std::string& fields :
         {R"("x":)" + extra + R"(,"dtype":"F32","y":)" + extra + R"(,"shape":[1],"data_offsets":[0,4])",
          R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"x":)" + extra + R"(,"x":)" + extra}) {
      Metadata metadata{{"old", "1"}};
      const std::string header = R"({"__metadata__":null,"a":{)" + fields + "}}";
      const StateDict read = parse_safetensors(bytes_of(make_file(header, 4)), &metadata);
      BOOST_TEST(read.size() == 1U);
      BOOST_TEST(read.at("a").shape() == Shape{1});
      BOOST_TEST(metadata.empty());
    }
  }
}

BOOST_AUTO_TEST_CASE(broken_files_are_refused_with_their_cause) {
  struct Case {
    std::string header;
    std::size_t data;
    std::string cause;
  };
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  const std::vector<Case> cases{
      {"", 0, "begin with '{'"},
      {" {}", 0, "begin with '{'"},
      {"[]", 0, "begin with '{'"},
      {"\xEF\xBB\xBF{}", 0, "begin with '{'"},
      {"{", 0, "not valid JSON"},
      {"{} {}", 0, "not valid JSON"},
      {"{}\t}", 0, "not valid JSON"},
      {std::string("{}\0", 3), 0, "NUL"},
      {"{\"\xFF\":1}", 0, "not valid JSON"},
      {"{\"a\":{\"dtype\":\"F32\xC0\x80\"}}", 0, "not valid JSON"},
      {R"({"\ud800":{}})", 0, "not valid JSON"},
      {R"({"a":1})", 0, "'a' has a number instead of an object"},
      {R"({"a":null})", 0, "'a' has null instead of an object"},
      {R"({"a":"x"})", 0, "'a' has a string instead of an object"},
      {R"({"a":[]})", 0, "'a' has an array instead of an object"},
      {R"({"a":{}})", 0, "'a' has no dtype"},
      {R"({"a":{"dtype":"F32","shape":[0]}})", 0, "'a' has no data_offsets"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "'a' has no shape"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4,
       "'a' has the field 'dtype' twice"},
      {R"({"a":{"dtype":"F32","shape":[],"x":1}})", 4, "'a' has no data_offsets"},
      {R"({"a":{"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}})", 4, "'a' has no dtype"},
      {R"({"__metadata__":null,"__metadata__":{}})", 0, "'__metadata__' twice"},
      {R"({"__metadata__":null,"__metadata__":null})", 0, "'__metadata__' twice"},
      {R"({"__metadata__":[null]})", 0, "'__metadata__' has an array instead of an object"},
      {"{" + entry_a + "," + entry_a + "}", 16, "'a' twice"},
      {R"({"\u0061":{"dtype":"F32","shape":[0],"data_offsets":[16,16]},)" + entry_a + "}", 16, "'a' twice"},
      {R"({"__metadata__":{"k":"1","k":"2"}})", 0, "metadata 'k' twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "'__metadata__' twice"},
      {R"({"__metadata__":{"k":1}})", 0, "metadata 'k' is a number, not a string"},
      {R"({"__metadata__":{"k":null}})", 0, "metadata 'k' is null, not a string"},
      {R"({"__metadata__":{"k":{}}})", 0, "metadata 'k' is an object, not a string"},
      {R"({"__metadata__":{"k":[]}})", 0, "metadata 'k' is an array, not a string"},
      {R"({"__metadata__":"x"})", 0, "'__metadata__' has a string instead of an object"},
      {entry("1", "[]", "[0,4]"), 4, "'a' has a number in its dtype"},
      {entry("\"F8_E4M3\"", "[4]", "[4,0]"), 4, "'a' has shape (4) of an unsupported type"},
      {entry("\"F8_E4M3\"", "[4]", "[0,3]"), 4, "trailing bytes"},
      {entry("\"F32\"", "4", "[0,4]"), 4, "'a' has a number in its shape"},
      {entry("\"F32\"", "[-1]", "[0,4]"), 4, "'a' has a negative number in its shape"},
      {entry("\"F32\"", "[1.0]", "[0,4]"), 4, "'a' has a number that is not a 64-bit integer"},
      {entry("\"F32\"", "[1e0]", "[0,4]"), 4, "'a' has a number that is not a 64-bit integer"},
      {entry("\"F32\"", "[true]", "[0,4]"), 4, "'a' has a boolean in its shape"},
      {entry("\"F32\"", "[[1]]", "[0,4]"), 4, "'a' has an array in its shape"},
      {entry("\"F32\"", "[{}]", "[0,4]"), 4, "'a' has an object in its shape"},
      {entry("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "'a' has more than 8 dimensions"},
      {entry("\"F32\"", "[18446744073709551615]", "[0,4]"), 4, "'a' has an extent that is too large"},
      {entry("\"F32\"", "[18446744073709551617]", "[0,4]"), 4,
       "'a' has a number that is not a 64-bit integer"},
      {entry("\"F32\"", "[4611686018427387905]", "[0,4]"), 4,
       "'a' has the impossible shape (4611686018427387905)"},
      {entry("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, "'a' has the impossible shape"},
      {entry("\"F32\"", "[4294967296,0,4294967296]", "[0,0]"), 0, "'a' has the impossible shape"},
      {entry("\"F32\"", "[2]", "[0,4]"), 4, "'a' has shape (2) of F32, which takes 8 bytes"},
      {entry("\"F32\"", "[1]", "[4,0]"), 4, "data_offsets are [4, 0]"},
      {entry("\"F32\"", "[1]", "[18446744073709551612,0]"), 4, "data_offsets are [18446744073709551612, 0]"},
      {entry("\"F32\"", "[1]", "[0]"), 4, "'a' has 1 data_offsets"},
      {entry("\"F32\"", "[1]", "[0,4,4]"), 4, "'a' has more than 2 data_offsets"},
      {entry("\"F32\"", "[1]", "\"0,4\""), 4, "'a' has a string in its data_offsets"},
      {entry("\"F32\"", "[1]", "[4,8]"), 8, "'a' begins at data byte 4, but the entry before it ends at 0"},
      {R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)" + entry_a + "}", 16,
       "'b' begins at data byte 8, but the entry before it ends at 16"},
      {"{" + entry_a + "}", 15, "truncated"},
      {"{" + entry_a + "}", 17, "trailing bytes"},
      {"{}", 1, "trailing bytes"},
      {std::string(1'000'000, '['), 0, "begin with '{'"},
      {"{\"a\":" + std::string(1'000'000, '['), 0, "the header is nested too deeply"},
  };
  for (const Case& broken : cases) {
    const std::string file = make_file(broken.header, broken.data);
    BOOST_TEST_CONTEXT(broken.header.substr(0, 200))
    BOOST_CHECK_EXCEPTION(parse_safetensors(bytes_of(file), nullptr, "broken.safetensors"), IoError,
                          says("broken.safetensors", broken.cause));
  }
  Metadata kept{{"old", "1"}};
  BOOST_CHECK_THROW(parse_safetensors(bytes_of(make_file(R"({"__metadata__":{"k":"v"}})", 1)), &kept),
                    IoError);
  BOOST_TEST(kept[0].first == "old");
}

BOOST_AUTO_TEST_CASE(an_entry_of_an_unsupported_type_does_not_hide_the_others) {
  const std::string file = data_file("tied.safetensors");
  const StateDict all = load_safetensors(file);
  BOOST_TEST(all.size() == 2U);
  BOOST_TEST(all.at("model.norm.weight").values<float>() == (std::vector<float>{0.5F, 2}),
             boost::test_tools::per_element());
  BOOST_TEST(safetensors_entries(file).size() == 3U);
  BOOST_TEST((load_safetensors_metadata(file) == Metadata{{"format", "pt"}, {"license", "none"}}));
  const StateDict chosen = load_safetensors(file, {"model.embed.weight"});
  BOOST_TEST(chosen.size() == 1U);
  BOOST_TEST(chosen.at("model.embed.weight").values<float>() == (std::vector<float>{0, 1, 2, 3, 4, 5}),
             boost::test_tools::per_element());
  BOOST_CHECK_EXCEPTION(load_safetensors(file, {"model.eight"}), IoError,
                        says(file, "'model.eight'", "'F8_E4M3'", "not supported"));
  BOOST_CHECK_EXCEPTION(load_safetensors(file, {"model.nine"}), IoError, says(file, "no entry 'model.nine'"));
}

BOOST_AUTO_TEST_CASE(a_header_of_another_length_than_stated_is_refused) {
  std::string file = make_file("{}");
  for (const std::uint64_t length : {std::uint64_t{3}, std::uint64_t{100'000'000}, std::uint64_t{100'000'001},
                                     std::numeric_limits<std::uint64_t>::max()}) {
    std::memcpy(file.data(), &length, sizeof(length));
    BOOST_CHECK_EXCEPTION(parse_safetensors(bytes_of(file)), IoError,
                          says("header of " + std::to_string(length)));
  }
}

BOOST_AUTO_TEST_CASE(a_long_or_ugly_name_does_not_spoil_the_message) {
  const std::string header = "{\"" + std::string(100'000, 'x') + "\":1}";
  BOOST_CHECK_EXCEPTION(parse_safetensors(bytes_of(make_file(header))), IoError,
                        [](const IoError& error) { return std::string_view(error.what()).size() < 300; });
  BOOST_CHECK_EXCEPTION(parse_safetensors(bytes_of(make_file("{\"a\\n\\u001b[2J\":1}"))), IoError,
                        says("'a??[2J'"));
}

BOOST_AUTO_TEST_CASE(too_many_entries_are_refused) {
  std::string header = "{";
  for (int i = 0; i <= 16'384; ++i)
    header += "\"" + std::to_string(i) + "\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},";
  header.back() = '}';
  BOOST_CHECK_EXCEPTION(parse_safetensors(bytes_of(make_file(header))), IoError,
                        says("more than 16384 entries"));
}

BOOST_AUTO_TEST_CASE(a_header_beyond_the_limits_of_its_parser_is_refused) {
  const auto ignored = [](const std::string& value) {
    return make_file(R"({"a":{"x":)" + value + R"(,"dtype":"F32","shape":[0],"data_offsets":[0,0]}})");
  };
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  BOOST_TEST(parse_safetensors(bytes_of(ignored(nested(98)))).size() == 1U);
  BOOST_CHECK_EXCEPTION(parse_safetensors(bytes_of(ignored(nested(99)))), IoError, says("nested too deeply"));
  BOOST_CHECK_EXCEPTION(parse_safetensors(bytes_of(ignored(nested(5'000'000)))), IoError,
                        says("nested too deeply"));
  std::string list = "[0";
  for (int i = 0; i < 1'000'000; ++i) list += ",0";
  BOOST_CHECK_EXCEPTION(parse_safetensors(bytes_of(ignored(list + ']'))), IoError, says("too many parts"));
}

// Comparing each name with all before it would take time quadratic in their number.
BOOST_AUTO_TEST_CASE(long_names_take_linear_time) {
  const auto seconds_of_names = [](int count) {
    std::string header = "{";
    for (int i = 0; i < count; ++i)
      header += "\"" + std::string(2000, 'x') + std::to_string(100'000 + i) +
                "\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},";
    header.back() = '}';
    const std::string file = make_file(header);
    return seconds_of([&] { BOOST_TEST(parse_safetensors(bytes_of(file)).size() == std::size_t(count)); });
  };
  const double few = seconds_of_names(2048);
  BOOST_TEST(seconds_of_names(8 * 2048) < 32 * few);
}

// A sparse file takes no disk space, however long it is.
BOOST_AUTO_TEST_CASE(what_no_memory_can_hold_is_refused) {
  for (const std::uint64_t count : {std::uint64_t{1} << 45, std::uint64_t{1} << 61}) {
    const std::string length = std::to_string(count);
    const std::string file =
        make_file(R"({"a":{"dtype":"U8","shape":[)" + length + R"(],"data_offsets":[0,)" + length + "]}}");
    const std::span long_file(bytes_of(file).data(), file.size() + count);  // not read as far as that
    BOOST_CHECK_EXCEPTION(parse_safetensors(long_file, nullptr, "sparse.safetensors"), IoError,
                          says("sparse.safetensors", "'a'", "memory"));
  }
}

// Whatever byte changes and wherever the file ends, the result is tensors or an IoError.
BOOST_AUTO_TEST_CASE(damaged_files_do_no_harm) {
  const std::string good = read_file(data_file("pytorch.safetensors"));
  for (std::size_t length = 0; length < good.size(); ++length)
    BOOST_CHECK_THROW(parse_safetensors(bytes_of(std::string_view(good).substr(0, length))), IoError);
  Generator generator(1);
  std::size_t refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bad = good;
    for (std::uint64_t changes = 1 + generator.below(3); changes > 0; --changes)
      bad[generator.below(bad.size())] = static_cast<char>(generator.below(256));
    try {
      parse_safetensors(bytes_of(bad));
    } catch (const IoError&) {
      ++refused;
    }
  }
  BOOST_TEST(refused > 10'000U);
}

BOOST_AUTO_TEST_SUITE_END()
