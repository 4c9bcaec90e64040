// Narrower types in the file than in memory.
#include <bit>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "retort/framework/io/safetensors.hpp"
#include "safetensors_files.hpp"

using namespace retort;
using namespace retort::tests;

BOOST_AUTO_TEST_SUITE(safetensors_storage)

BOOST_AUTO_TEST_CASE(floats_are_rounded_to_16_bits_on_request) {
  struct Case {
    double value;
    std::uint16_t half;
    std::uint16_t brain;
  };
  const std::vector<Case> floats{
      {1, 0x3C00, 0x3F80},
      {-2.5, 0xC100, 0xC020},
      {-0.0, 0x8000, 0x8000},
      {65504, 0x7BFF, 0x4780},
      {65520, 0x7C00, 0x4780},    // half: a tie, to infinity
      {0x1p-24, 0x0001, 0x3380},  // half: the smallest number
      {0x1p-25, 0x0000, 0x3300},  // half: a tie, to even
      {0x1.8p-25, 0x0001, 0x3340},
      {1 + 0x1p-11, 0x3C00, 0x3F80},     // half: a tie, to even
      {1 + 0x3p-11, 0x3C02, 0x3F80},     // half: a tie, to even
      {1 + 0x1p-8, 0x3C04, 0x3F80},      // bfloat16: a tie, to even
      {1 + 0x3p-8, 0x3C0C, 0x3F82},      // bfloat16: a tie, to even
      {0x1.FFFFFEp127, 0x7C00, 0x7F80},  // bfloat16: the largest float rounds to infinity
      {0x1p-149, 0x0000, 0x0000},
      {-std::numeric_limits<double>::infinity(), 0xFC00, 0xFF80},
  };
  std::vector<Case> doubles = floats;
  doubles.insert(doubles.end(), {{1 + 0x1p-11 + 0x1p-40, 0x3C01, 0x3F80},  // not a tie: one rounding only
                                 {1 + 0x1p-8 + 0x1p-40, 0x3C04, 0x3F81},
                                 {-1 - 0x3p-8 + 0x1p-40, 0xBC0C, 0xBF81},
                                 {1e300, 0x7C00, 0x7F80},
                                 {-1e-300, 0x8000, 0x8000}});
  const TemporaryFolder folder;
  for (const bool wide : {false, true}) {
    std::vector<double> values;
    for (const Case& one : wide ? doubles : floats) values.push_back(one.value);
    const auto n = static_cast<std::int64_t>(values.size());
    const Tensor numbers = tensor(values, {n}).to(wide ? DType::float64 : DType::float32);
    for (const FloatStorage storage : {FloatStorage::float16, FloatStorage::bfloat16}) {
      save_safetensors(folder / "f", {{"x", numbers}, {"i", tensor({5})}}, {}, {.floats = storage});
      const std::string file = read_file(folder / "f");
      for (std::size_t i = 0; i < values.size(); ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, file.data() + file.size() - 2 * values.size() + 2 * i, sizeof(bits));
        const Case& one = (wide ? doubles : floats)[i];
        BOOST_TEST(bits == (storage == FloatStorage::float16 ? one.half : one.brain),
                   "value " << one.value << " became " << bits);
      }
      const StateDict read = load_safetensors(folder / "f");
      BOOST_TEST((read.at("x").dtype() == DType::float32));
      check_values(read.at("i"), DType::int64, {1}, {5});
    }
  }
}

BOOST_AUTO_TEST_CASE(nan_stays_nan_in_16_bits) {
  const TemporaryFolder folder;
  // Its payload is in bits that the conversion drops.
  const Tensor numbers = tensor({std::bit_cast<float>(0x7F800001U), std::bit_cast<float>(0xFFC00000U)});
  for (const FloatStorage storage : {FloatStorage::float16, FloatStorage::bfloat16}) {
    save_safetensors(folder / "f", {{"x", numbers}, {"y", numbers.to(DType::float64)}}, {},
                     {.floats = storage});
    const StateDict read = load_safetensors(folder / "f");
    for (const char* key : {"x", "y"})
      for (const float value : read.at(key).data<float>()) BOOST_TEST(std::isnan(value));
  }
}

BOOST_AUTO_TEST_CASE(every_16_bit_number_survives_reading_and_writing) {
  for (const std::string type : {"F16", "BF16"}) {
    const std::size_t bytes = 2 * 65536;
    std::string file =
        make_file(R"({"x":{"dtype":")" + type + R"(","shape":[65536],"data_offsets":[0,131072]}})");
    const std::size_t start = file.size();
    file.resize(start + bytes);
    for (std::uint32_t i = 0; i < 65536; ++i) std::memcpy(file.data() + start + 2 * i, &i, 2);
    const StateDict read = parse_safetensors(bytes_of(file));
    const TemporaryFolder folder;
    save_safetensors(folder / "f", read, {},
                     {.floats = type == "F16" ? FloatStorage::float16 : FloatStorage::bfloat16});
    const std::string written = read_file(folder / "f");
    std::size_t different = 0;
    for (std::uint32_t i = 0; i < 65536; ++i) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, written.data() + written.size() - bytes + 2 * i, 2);
      const bool nan = std::isnan(read.at("x").data<float>()[i]);
      different += bits != i && !nan;
    }
    BOOST_TEST(different == 0U);
  }
}

BOOST_AUTO_TEST_CASE(integers_can_be_stored_in_32_bits) {
  const TemporaryFolder folder;
  const std::int64_t most = std::numeric_limits<std::int32_t>::max();
  save_safetensors(folder / "f", {{"a", tensor({-most - 1, most})}, {"b", ones({1})}}, {},
                   {.integers = IntegerStorage::int32});
  BOOST_TEST(safetensors_entries(folder / "f")[0].dtype == "I32");
  check_values(load_safetensors(folder / "f").at("a"), DType::int64, {2},
               {-static_cast<double>(most) - 1, static_cast<double>(most)});
  BOOST_CHECK_EXCEPTION(
      save_safetensors(folder / "f", {{"a", tensor({most + 1})}}, {}, {.integers = IntegerStorage::int32}),
      ValueError, says("save_safetensors", "'a'", "2147483648"));
}

BOOST_AUTO_TEST_SUITE_END()
