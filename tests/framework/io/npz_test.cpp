#include "retort/framework/io/npz.hpp"

#include <boost/test/unit_test.hpp>
#include <cstring>

#include "files.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/random.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

std::string data_file(const std::string& name) {
  return (std::filesystem::path(__FILE__).parent_path() / "data" / name).string();
}

void check_same(const StateDict& read, const StateDict& expected) {
  BOOST_TEST(read.size() == expected.size());
  for (const auto& [name, tensor] : expected) {
    BOOST_REQUIRE(read.contains(name));
    BOOST_TEST((read.at(name).dtype() == tensor.dtype()), name);
    BOOST_TEST(read.at(name).shape() == tensor.shape());
    BOOST_TEST(read.at(name).values<double>() == tensor.values<double>(), boost::test_tools::per_element());
  }
}

// The position of the central directory's n-th entry.
std::size_t central(const std::string& file, std::size_t n) {
  std::size_t at = file.find("PK\1\2");
  for (; n > 0; --n) at = file.find("PK\1\2", at + 1);
  return at;
}

template <class T>
std::string changed(std::string file, std::size_t at, T value) {
  std::memcpy(file.data() + at, &value, sizeof(T));
  return file;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(npz)

BOOST_AUTO_TEST_CASE(tensors_come_back_as_they_were) {
  const TemporaryFolder folder;
  const StateDict saved{{"w", randn({3, 4})},    {"größe/x", randn({2}, DType::float64)},
                        {"n", arange(5)},        {"scalar", full({}, 2.5)},
                        {"none", zeros({0, 2})}, {"long", zeros({300'000})}};
  for (const bool compress : {false, true}) {
    save_npz(folder / "a.npz", saved, {.compress = compress});
    check_same(load_npz(folder / "a.npz"), saved);
    const std::string first = read_file(folder / "a.npz");
    BOOST_TEST((first.size() < 100'000) == compress);
    save_npz(folder / "a.npz", saved, {.compress = compress});
    BOOST_TEST((read_file(folder / "a.npz") == first));
  }
  save_npz(folder / "a.npz", {});
  BOOST_TEST(load_npz(folder / "a.npz").empty());
  BOOST_CHECK_THROW(save_npz(folder / "b.npz", {{"x", Tensor()}}), ValueError);
  BOOST_CHECK_THROW(save_npz(folder / "b.npz", {{"", ones({1})}}), ValueError);
  BOOST_TEST(folder.entries() == 1U);
}

// Written by data/make_fixtures.py.
BOOST_AUTO_TEST_CASE(files_of_numpy_are_read) {
  const StateDict expected{{"weight", tensor<float>({0, 1, 2, 3, 4, 5}, {2, 3})},
                           {"größe", tensor<double>({0.5}, Shape{})},
                           {"flags", tensor<std::int64_t>({0, 0, 0, 1, 1, 1}, {2, 3})},
                           {"empty", zeros({0, 3}, DType::float64)}};
  check_same(load_npz(data_file("stored.npz")), expected);
  BOOST_CHECK_EXCEPTION(load_npz(data_file("deflated.npz")), IoError,
                        says("deflated.npz", "'words'", "'<U1'"));
  check_same(load_npz(data_file("deflated.npz"), {"weight", "größe", "flags", "empty"}), expected);
  BOOST_TEST(load_npz(data_file("deflated.npz"), {"long"}).at("long").values<std::int64_t>() ==
                 std::vector<std::int64_t>(5000),
             boost::test_tools::per_element());
  BOOST_CHECK_EXCEPTION(load_npz(data_file("stored.npz"), {"x"}), IoError,
                        says("stored.npz", "no entry 'x'"));
}

BOOST_AUTO_TEST_CASE(broken_files_are_refused_with_their_cause) {
  const TemporaryFolder folder;
  save_npz(folder / "a.npz", {{"a", ones({4})}, {"b", ones({1000})}});
  const std::string good = read_file(folder / "a.npz");
  save_npz(folder / "a.npz", {{"a", ones({4})}, {"b", ones({1000})}}, {.compress = true});
  const std::string packed = read_file(folder / "a.npz");
  const auto refused = [&](const std::string& file, const auto&... causes) {
    BOOST_CHECK_EXCEPTION(parse_npz(bytes_of(file), "broken.npz"), IoError, says("broken.npz", causes...));
  };
  refused("", "not a .npz file");
  refused(std::string(100, 'x'), "not a .npz file");
  refused(good.substr(0, good.size() - 1), "not a .npz file");
  const std::size_t first = central(good, 0);
  refused(changed(good, first, std::uint32_t{0}), "damaged at entry 0");
  refused(changed(good, first + 8, std::uint16_t{1}), "'a' is encrypted");
  refused(changed(good, first + 10, std::uint16_t{12}), "'a' is compressed by method 12");
  refused(changed(good, first + 16, std::uint32_t{1}), "'a' is damaged: its checksum");
  refused(changed(good, first + 20, std::uint32_t{10'000'000}), "'a' is truncated");
  refused(changed(good, first + 24, std::uint32_t{10'000'000}), "'a' states 10000000 bytes");
  refused(changed(good, first + 24, std::uint32_t{0xFFFFFFFF}), "'a' states 4294967295 bytes");
  refused(changed(good, first + 42, std::uint32_t{5}), "'a' does not begin at byte 5");
  refused(changed(good, central(good, 1) + 42, std::uint32_t{0}), "overlaps");
  refused(changed(good, central(good, 1) + 46, 'a'), "'a' twice");
  refused(changed(good, good.size() - 6, std::uint32_t{0xFFFFFF}), "truncated");
  refused(changed(good, good.size() - 12, std::uint16_t{20'000}), "16384 entries");
  refused(changed(good, good.size() - 12, std::uint16_t{3}), "damaged at entry 2");
  const std::size_t data = good.find("PK\3\4", 4) - 3;  // of the first entry's last number
  refused(changed(good, data, 'x'), "'a' is damaged: its checksum");
  const std::size_t second = central(packed, 1);
  refused(changed(packed, second + 24, std::uint32_t{4127}), "'b' truncated: shape (1000)");
  refused(changed(packed, second + 24, std::uint32_t{4129}), "'b'");
  refused(changed(packed, second + 24, std::uint32_t{0x7FFFFFFF}), "'b' states 2147483647 bytes");
}

BOOST_AUTO_TEST_CASE(damaged_files_do_no_harm) {
  for (const char* name : {"stored.npz", "deflated.npz"}) {
    const std::string good = read_file(data_file(name));
    for (std::size_t length = 0; length < good.size(); length += 3)
      BOOST_CHECK_THROW(parse_npz(bytes_of(std::string_view(good).substr(0, length))), IoError);
    Generator generator(1);
    for (int i = 0; i < 5'000; ++i) {
      std::string bad = good;
      for (std::uint64_t changes = 1 + generator.below(3); changes > 0; --changes)
        bad[generator.below(bad.size())] = static_cast<char>(generator.below(256));
      try {
        parse_npz(bytes_of(bad));
      } catch (const IoError&) {
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
