#include "retort/framework/data/idx.hpp"

#include <zlib.h>

#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <limits>

#include "framework/io/files.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/pool.hpp"
#include "retort/framework/base/random.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

// An IDX file of that element type and shape and those bytes of data.
std::string make_file(int type, const std::vector<std::uint32_t>& extents, const std::string& data) {
  std::string file{'\0', '\0', static_cast<char>(type), static_cast<char>(extents.size())};
  for (const std::uint32_t extent : extents)
    for (int shift = 24; shift >= 0; shift -= 8) file += static_cast<char>(extent >> shift & 0xFFU);
  return file + data;
}

std::string compress(const std::string& text) {
  z_stream stream{};
  BOOST_REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, text.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  BOOST_REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

const std::string images = make_file(8, {2, 1, 3}, std::string("\0\1\x7F\x80\xFE\xFF", 6));
const std::string labels = make_file(8, {3}, std::string("\0\x9\xFF", 3));

template <class T>
void check(const std::string& file, const Shape& shape, const std::vector<T>& values) {
  for (const std::string& form : {file, compress(file)}) {
    const Tensor read = parse_idx(bytes_of(form));
    BOOST_TEST((read.dtype() == dtype_of<T>), "is " << name(read.dtype()));
    BOOST_TEST(read.shape() == shape);
    BOOST_TEST(read.values<T>() == values, boost::test_tools::per_element());
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(idx)

BOOST_AUTO_TEST_CASE(every_element_type_plain_and_compressed) {
  check<float>(images, {2, 1, 3}, {0, 1 / 255.0F, 127 / 255.0F, 128 / 255.0F, 254 / 255.0F, 1});
  check<std::int64_t>(labels, {3}, {0, 9, 255});
  check<std::int64_t>(make_file(9, {2}, "\x80\x7F"), {2}, {-128, 127});
  check<std::int64_t>(make_file(11, {1, 2}, std::string("\xFF\xFE\1\0", 4)), {1, 2}, {-2, 256});
  check<std::int64_t>(make_file(12, {2}, std::string("\x80\0\0\0\0\0\1\0", 8)), {2}, {-2147483648, 256});
  check<float>(make_file(13, {1}, std::string("\x3F\xC0\0\0", 4)), {1}, {1.5F});
  check<double>(make_file(14, {1}, std::string("\xC0\x04\0\0\0\0\0\0", 8)), {1}, {-2.5});
  check<float>(make_file(8, {0, 28, 28}, ""), {0, 28, 28}, {});
}

BOOST_AUTO_TEST_CASE(more_than_one_chunk) {
  // 300,000 elements of four bytes: many chunks, and a compressed file of several gzip members.
  std::string data;
  std::vector<std::int64_t> expected;
  for (std::int64_t i = 0; i < 300'000; ++i) {
    const auto value = static_cast<std::uint32_t>(i * 12345);
    for (int shift = 24; shift >= 0; shift -= 8) data += static_cast<char>(value >> shift & 0xFFU);
    expected.push_back(static_cast<std::int32_t>(value));
  }
  const std::string file = make_file(12, {300, 1000}, data);
  check<std::int64_t>(file, {300, 1000}, expected);
  const std::string members = compress(file.substr(0, 7)) + compress(file.substr(7, 500'000)) + compress("") +
                              compress(file.substr(500'007));
  BOOST_TEST((parse_idx(bytes_of(members)).values<std::int64_t>() == expected));
}

// Tapes and block devices pad a file so; gzip -t accepts it.
BOOST_AUTO_TEST_CASE(zero_bytes_after_compressed_data_are_padding) {
  const std::string zipped = compress(images);
  const std::vector<float> expected = parse_idx(bytes_of(images)).values<float>();
  for (const std::size_t zeros : {1U, 2U, 511U, 70'000U, 200'000U}) {
    const std::string padding(zeros, '\0');
    BOOST_TEST((parse_idx(bytes_of(zipped + padding)).values<float>() == expected));
    const std::string members =
        compress(images.substr(0, 9)) + padding + compress(images.substr(9)) + padding;
    BOOST_TEST((parse_idx(bytes_of(members)).values<float>() == expected));
    BOOST_CHECK_EXCEPTION(parse_idx(bytes_of(zipped + padding + "x")), IoError, says("the compressed data"));
    BOOST_CHECK_EXCEPTION(parse_idx(bytes_of(zipped + padding + compress("x"))), IoError,
                          says("trailing bytes"));
    BOOST_CHECK_THROW(parse_idx(bytes_of(padding + zipped)), IoError);
  }
}

BOOST_AUTO_TEST_CASE(broken_files_are_refused_with_their_cause) {
  struct Case {
    std::string file;
    std::string cause;
  };
  const std::string zipped = compress(images);
  std::string damaged = zipped;
  damaged[damaged.size() - 6] ^= 1;  // the checksum
  const std::vector<Case> cases{
      {"", "truncated"},
      {std::string(3, '\0'), "truncated"},
      {"not an IDX file", "does not begin with two zero bytes"},
      {make_file(7, {1}, "x"), "unknown element type 7"},
      {make_file(10, {1}, "x"), "unknown element type 10"},
      {make_file(8, {}, "x"), "0 dimensions"},
      {make_file(8, {1, 1, 1, 1, 1, 1, 1, 1, 1}, "x"), "9 dimensions"},
      {images.substr(0, 15), "truncated: ends among the extents"},
      {images.substr(0, images.size() - 1), "truncated: shape (2, 1, 3) takes 6 bytes, but it has 5"},
      {images + "x", "trailing bytes"},
      {make_file(8, {4294967295U, 4294967295U}, "x"), "impossible shape (4294967295, 4294967295)"},
      {make_file(8, {0, 4294967295U, 4294967295U, 4294967295U}, ""), "impossible shape"},
      {make_file(8, {4294967295U}, "x"), "truncated"},
      {make_file(8, {65535, 65535, 255}, "x"), "truncated"},
      {zipped.substr(0, 2), "truncated: the compressed data ends early"},
      {zipped.substr(0, zipped.size() - 1), "truncated: the compressed data ends early"},
      {zipped.substr(0, 20), "truncated: the compressed data ends early"},
      {damaged, "damaged"},
      {zipped + "x", "the compressed data"},
      {zipped + compress("x"), "trailing bytes"},
      {compress(images + "x"), "trailing bytes"},
      {compress(images.substr(0, 15)), "truncated: ends among the extents"},
      {compress(images.substr(0, images.size() - 1)),
       "truncated: shape (2, 1, 3) takes 6 bytes, but it has 5"},
      {compress(make_file(8, {65535, 65535, 255}, "x")), "truncated: shape (65535, 65535, 255)"},
      {compress(""), "truncated"},
      {"\x1F\x8B no gzip at all", "damaged"},
  };
  for (const Case& broken : cases)
    BOOST_CHECK_EXCEPTION(parse_idx(bytes_of(broken.file), "broken.idx"), IoError,
                          says("broken.idx", broken.cause));

  const TemporaryFolder folder;
  BOOST_CHECK_EXCEPTION(load_idx(folder / "none"), IoError,
                        says("load_idx: " + (folder / "none"), "No such file"));
  write_file(folder / "a", images);
  const FailingCall failing(SystemCall::pread, 1, EIO);
  BOOST_CHECK_EXCEPTION(load_idx(folder / "a"), IoError, says(folder / "a", "Input/output error"));
}

BOOST_AUTO_TEST_CASE(interrupted_and_short_reads_go_on) {
  const TemporaryFolder folder;
  write_file(folder / "a", images);
  write_file(folder / "a.gz", compress(images));
  const Interruptions interruptions(3);
  BOOST_TEST(load_idx(folder / "a").size() == 6);
  BOOST_TEST(load_idx(folder / "a.gz").size() == 6);
}

BOOST_AUTO_TEST_CASE(a_little_file_that_states_much_takes_no_memory) {
  release_memory();
  reset_peak_memory();
  const std::int64_t before = memory_stats().peak_in_use;
  // Inflates to 40 MB and states less, more, or just that for labels, which would take eight times as much.
  const std::string zeros(40'000'000, '\0');
  const std::string bomb = compress(make_file(8, {static_cast<std::uint32_t>(zeros.size())}, zeros));
  BOOST_TEST(bomb.size() < 50'000U);
  BOOST_CHECK_EXCEPTION(parse_idx(bytes_of(bomb)), IoError, says("refused"));
  BOOST_CHECK_EXCEPTION(parse_idx(bytes_of(compress(make_file(8, {10'000}, zeros)))), IoError,
                        says("trailing"));
  BOOST_CHECK_EXCEPTION(parse_idx(bytes_of(compress(make_file(8, {60'000, 28, 28}, "")))), IoError,
                        says("truncated"));
  BOOST_TEST(memory_stats().peak_in_use - before < (1 << 20));
}

// Labels take eight times what the file states for them.
BOOST_AUTO_TEST_CASE(compressed_labels_take_at_most_64_mb_and_four_times_what_is_stated) {
  constexpr std::int64_t megabyte = 1 << 20;
  Generator generator(1);
  std::size_t loaded = 0;
  for (const std::int64_t stated : {8, 10, 12, 14, 15, 16, 20}) {
    // Of 14 MB also such as do not compress: the length of the file makes no difference.
    std::string data(static_cast<std::size_t>(stated * megabyte), '\0');
    if (stated == 14)
      for (char& byte : data) byte = static_cast<char>(generator.below(256));
    const std::string file = compress(make_file(8, {static_cast<std::uint32_t>(data.size())}, data));
    release_memory();
    reset_peak_memory();
    const std::int64_t before = memory_stats().peak_in_use;
    try {
      parse_idx(bytes_of(file));
      ++loaded;
    } catch (const IoError& error) {
      BOOST_TEST(says("refused")(error));
    }
    BOOST_TEST(memory_stats().peak_in_use - before + megabyte <= (64 + 4 * stated) * megabyte,
               stated << " MB of labels took " << (memory_stats().peak_in_use - before) / megabyte << " MB");
  }
  BOOST_TEST(loaded >= 2U);
}

BOOST_AUTO_TEST_CASE(what_no_memory_can_hold_is_refused) {
  const std::string file = make_file(9, {1U << 31, 1U << 14}, "");
  const std::span long_file(bytes_of(file).data(),
                            file.size() + (std::size_t{1} << 45));  // not read as far as that
  BOOST_CHECK_EXCEPTION(parse_idx(long_file, "sparse.idx"), IoError, says("sparse.idx", "memory"));
}

BOOST_AUTO_TEST_CASE(damaged_files_do_no_harm) {
  Generator generator(1);
  for (const std::string& good : {images, compress(images)}) {
    for (std::size_t length = 0; length < good.size(); ++length)
      BOOST_CHECK_THROW(parse_idx(bytes_of(std::string_view(good).substr(0, length))), IoError);
    for (int i = 0; i < 10'000; ++i) {
      std::string bad = good;
      for (std::uint64_t changes = 1 + generator.below(3); changes > 0; --changes)
        bad[generator.below(bad.size())] = static_cast<char>(generator.below(256));
      try {
        parse_idx(bytes_of(bad));
      } catch (const IoError&) {
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_folder_gives_training_and_test_set) {
  const TemporaryFolder folder;
  write_file(folder / "train-images-idx3-ubyte", images);
  write_file(folder / "train-labels.idx1-ubyte", make_file(8, {2}, "\1\2"));
  write_file(folder / "t10k-images.idx3-ubyte.gz", compress(make_file(8, {1, 1, 3}, "\1\2\3")));
  BOOST_CHECK_EXCEPTION(load_idx_pair(folder / ""), IoError, says(folder / "", "t10k-labels-idx1-ubyte"));
  write_file(folder / "t10k-labels-idx1-ubyte.gz", compress(make_file(8, {1}, "\7")));
  const auto [train, test] = load_idx_pair(folder / "");
  BOOST_TEST(train.inputs().shape() == (Shape{2, 3}));
  BOOST_TEST(train.inputs().data<float>()[5] == 1);
  BOOST_TEST(train.targets().values<std::int64_t>() == (std::vector<std::int64_t>{1, 2}),
             boost::test_tools::per_element());
  BOOST_TEST(test.size() == 1);
  BOOST_TEST(test.targets().item<std::int64_t>() == 7);

  write_file(folder / "train-labels.idx1-ubyte", labels);
  BOOST_CHECK_EXCEPTION(load_idx_pair(folder / ""), IoError,
                        says("train-images-idx3-ubyte holds 2 images", "train-labels.idx1-ubyte 3 labels"));
  write_file(folder / "train-labels.idx1-ubyte", images);
  BOOST_CHECK_EXCEPTION(load_idx_pair(folder / ""), IoError, says("train-labels.idx1-ubyte", "not labels"));
  write_file(folder / "train-images-idx3-ubyte", labels);
  BOOST_CHECK_EXCEPTION(load_idx_pair(folder / ""), IoError, says("train-images-idx3-ubyte", "not images"));
}

BOOST_AUTO_TEST_CASE(a_folder_of_a_files_other_name_is_passed_over) {
  const TemporaryFolder folder;
  for (const std::string set : {"train", "t10k"}) {
    write_file(folder / (set + "-images.idx3-ubyte"), images);
    write_file(folder / (set + "-labels-idx1-ubyte.gz"), compress(make_file(8, {2}, "\1\2")));
    std::filesystem::create_directory(folder / (set + "-images-idx3-ubyte"));
    std::filesystem::create_directory(folder / (set + "-images-idx3-ubyte.gz"));
    std::filesystem::create_directory(folder / (set + "-labels-idx1-ubyte"));
  }
  BOOST_TEST(load_idx_pair(folder / "").second.size() == 2);
  std::filesystem::remove(folder / "train-images.idx3-ubyte");
  BOOST_CHECK_EXCEPTION(load_idx_pair(folder / ""), IoError, says("there is no train-images-idx3-ubyte"));
}

// The numbers of https://github.com/zalandoresearch/fashion-mnist: 60,000 and 10,000 images, classes evenly
// spread.
BOOST_AUTO_TEST_CASE(fashion_mnist) {
  if (!std::filesystem::exists(RETORT_FASHION_MNIST)) {
    BOOST_TEST_MESSAGE("no Fashion-MNIST at " RETORT_FASHION_MNIST);
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  const auto [train, test] = load_idx_pair(RETORT_FASHION_MNIST);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  BOOST_TEST_MESSAGE("Fashion-MNIST loaded in " << seconds.count() << " s");
  BOOST_TEST(train.inputs().shape() == (Shape{60'000, 784}));
  BOOST_TEST(test.inputs().shape() == (Shape{10'000, 784}));
  for (const Dataset& data : {train, test}) {
    std::vector<std::int64_t> counts(10);
    for (const std::int64_t label : data.targets().data<std::int64_t>())
      ++counts.at(static_cast<std::size_t>(label));
    for (const std::int64_t count : counts) BOOST_TEST(count == data.size() / 10);
  }
  double sum = 0;
  std::int64_t outside = 0;
  for (const float pixel : train.inputs().data<float>()) {
    outside += !(pixel >= 0 && pixel <= 1);
    sum += pixel;
  }
  BOOST_TEST(outside == 0);
  BOOST_TEST(sum / static_cast<double>(train.inputs().size()) == 0.2860, boost::test_tools::tolerance(1e-3));
}

BOOST_AUTO_TEST_SUITE_END()
