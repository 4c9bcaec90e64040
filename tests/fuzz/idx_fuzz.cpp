// The IDX reader, plain and gzip.
#include "retort/framework/data/idx.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "fuzz.hpp"

using namespace retort;

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using Bytes = std::vector<std::uint8_t>;

bool is_gzip(const std::uint8_t* data, std::size_t size) {
  return size >= 2 && data[0] == 0x1F && data[1] == 0x8B;
}

constexpr std::size_t most_content = 64 << 10;  // the limit of the checks and the mutator

// The contents of the gzip members in `data`, up to `most` bytes or the first error.
Bytes inflated(const std::uint8_t* data, std::size_t size, std::size_t most) {
  static std::array<std::uint8_t, most_content> out;
  z_stream stream{};
  stream.next_in = const_cast<Bytef*>(data);
  stream.avail_in = static_cast<uInt>(size);
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(most);
  if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) fuzz::fail("cannot start zlib");
  for (int result = Z_OK; stream.avail_out > 0 && (result == Z_OK || result == Z_STREAM_END);) {
    result = inflate(&stream, Z_NO_FLUSH);
    if (result != Z_STREAM_END) continue;
    // Zero bytes between members are padding, as in the reader.
    for (; stream.avail_in > 0 && *stream.next_in == 0; --stream.avail_in) ++stream.next_in;
    if (inflateReset(&stream) != Z_OK) break;
  }
  inflateEnd(&stream);
  return Bytes(out.data(), out.data() + most - stream.avail_out);
}

// Memory that is kept: zlib requests a quarter of a megabyte at each start, which takes longer than its work.
voidpf take_kept(voidpf used, uInt count, uInt size) {
  alignas(64) static std::array<std::uint8_t, 512 << 10> kept;
  auto& begin = *static_cast<std::size_t*>(used);
  const std::size_t bytes = (std::size_t{count} * size + 63) / 64 * 64;
  if (bytes > kept.size() - begin) return nullptr;
  return kept.data() + std::exchange(begin, begin + bytes);
}
void keep(voidpf, voidpf) {}

// `level` 0 stores, 9 compresses most.
Bytes deflated(const Bytes& content, int level) {
  std::size_t used = 0;
  z_stream stream{};
  stream.zalloc = take_kept;
  stream.zfree = keep;
  stream.opaque = &used;
  if (deflateInit2(&stream, level, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    fuzz::fail("cannot start zlib");
  Bytes out(deflateBound(&stream, content.size()) + 32);
  stream.next_in = const_cast<Bytef*>(content.data());
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) fuzz::fail("cannot compress");
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

// The size of the elements stated by the header in `content`, in bytes; 0 if there is no valid header or the
// size exceeds 60 bits.
std::size_t stated_bytes(const Bytes& content) {
  if (content.size() < 4 || content.size() < 4 + 4 * std::size_t{content[3]}) return 0;
  constexpr std::size_t sizes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 2, 4, 4, 8, 0};
  std::size_t bytes = content[2] < 16 ? sizes[content[2]] : 0;
  for (std::size_t i = 0; i < content[3]; ++i) {
    std::size_t extent = 0;
    for (std::size_t byte = 0; byte < 4; ++byte) extent = extent << 8 | content[4 + 4 * i + byte];
    if (__builtin_mul_overflow(bytes, extent, &bytes) || bytes >> 60 != 0) return 0;
  }
  return bytes;
}

// For gzip the bound follows from the header: 16 times the input would be far too little.
std::size_t memory_bound(const std::uint8_t* data, std::size_t size) {
  if (!is_gzip(data, size)) return fuzz::memory_bound(size);
  constexpr std::size_t longest_header = 4 + 4 * 255;
  return 64 * fuzz::megabyte + 4 * stated_bytes(inflated(data, size, longest_header));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto read = [](const std::uint8_t* from, std::size_t count) {
    return parse_idx(fuzz::bytes_of(from, count), fuzz::input_name);
  };
  fuzz::run(
      memory_bound(data, size), [&] { return read(data, size); },
      [&](const Tensor& loaded) {
        if (!is_gzip(data, size) || retort::detail::Access::array(loaded).byte_size() >= most_content / 2)
          return;
        const Bytes content = inflated(data, size, most_content);
        if (!fuzz::same_bits(read(content.data(), content.size()), loaded))
          fuzz::fail("plain and compressed, it differs");
      });
  return 0;
}

// Random changes of compressed bytes hardly get past zlib's checks. So every other time it is the content
// that changes, and is compressed again.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  std::minstd_rand random(seed);
  const bool gzip = is_gzip(data, size);
  if (random() % (gzip ? 2 : 16) != 0) return LLVMFuzzerMutate(data, size, max_size);

  const std::size_t most = std::min(4 * max_size, most_content);
  Bytes content = gzip ? inflated(data, size, most) : Bytes(data, data + size);
  const std::size_t length = std::min(content.size(), most);
  content.resize(most);
  content.resize(LLVMFuzzerMutate(content.data(), length, most));
  if (const std::size_t stated = stated_bytes(content); random() % 4 == 0 && stated <= most)
    content.resize(4 + 4 * std::size_t{content[3]} + stated);  // to make it complete
  const bool plain = random() % 16 == 0;
  const Bytes mutant = plain ? content : deflated(content, static_cast<int>(random() % 3 * 4));
  if (mutant.empty() || mutant.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, mutant.data(), mutant.size());
  return mutant.size();
}
