// The format (http://yann.lecun.com/exdb/mnist/): two zero bytes, the element type, the number of dimensions,
// each extent as a big-endian 32-bit number, then the elements, big-endian.
#include "retort/framework/data/idx.hpp"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/io/input_impl.hpp"

namespace retort {
namespace {

using detail::Input;

constexpr std::size_t chunk = 64 << 10;  // bytes
constexpr std::uint64_t megabyte = 1 << 20;

// The bytes of a file in order, decompressed if it is gzip.
class Stream {
 public:
  explicit Stream(const Input& input) : input_(input) {
    std::array<unsigned char, 2> start{};
    if (input.size() >= start.size()) input.read(0, start.data(), start.size());
    compressed_ = start[0] == 0x1F && start[1] == 0x8B;
    if (!compressed_) return;
    buffer_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(chunk, input.size())));
    // 16: a gzip wrapper, whose checksum zlib verifies.
    if (inflateInit2(&zlib_, 16 + MAX_WBITS) != Z_OK) input.fail("cannot start zlib");
  }
  ~Stream() {
    if (compressed_) inflateEnd(&zlib_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  bool compressed() const { return compressed_; }

  // Reads up to `count` bytes; fewer only at the end.
  std::size_t read(std::byte* to, std::size_t count) {
    if (compressed_) return inflate_some(to, count);
    const auto now = static_cast<std::size_t>(std::min<std::uint64_t>(count, input_.size() - offset_));
    input_.read(offset_, to, now);
    offset_ += now;
    return now;
  }

 private:
  std::size_t inflate_some(std::byte* to, std::size_t count) {
    std::size_t done = 0;
    while (done < count) {
      if (zlib_.avail_in == 0) refill();
      if (member_ended_) {
        // As in gzip, consecutive members form one stream, and zero bytes after a member are padding.
        for (; zlib_.avail_in > 0 && *zlib_.next_in == 0; --zlib_.avail_in) ++zlib_.next_in;
        if (zlib_.avail_in == 0 && offset_ < input_.size()) continue;
        if (zlib_.avail_in == 0) break;
        inflateReset(&zlib_);
        member_ended_ = false;
      }
      const auto room = static_cast<uInt>(std::min<std::size_t>(count - done, 1U << 30));
      zlib_.next_out = reinterpret_cast<Bytef*>(to + done);
      zlib_.avail_out = room;
      const int result = inflate(&zlib_, Z_NO_FLUSH);
      done += room - zlib_.avail_out;
      member_ended_ = result == Z_STREAM_END;
      if (result == Z_BUF_ERROR) input_.fail("truncated: the compressed data ends early");
      if (result != Z_OK && result != Z_STREAM_END)
        input_.fail("the compressed data is damaged: {}", zlib_.msg ? zlib_.msg : "no gzip data");
    }
    return done;
  }
  void refill() {
    const auto now =
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), input_.size() - offset_));
    input_.read(offset_, buffer_.data(), now);
    offset_ += now;
    zlib_.next_in = buffer_.data();
    zlib_.avail_in = static_cast<uInt>(now);
  }

  const Input& input_;
  std::uint64_t offset_ = 0;
  bool compressed_ = false;
  bool member_ended_ = false;
  std::vector<Bytef> buffer_;
  z_stream zlib_{};
};

template <class T>
T from_big_endian(const std::byte* bytes) {
  std::array<std::byte, sizeof(T)> swapped;
  std::reverse_copy(bytes, bytes + sizeof(T), swapped.begin());
  return std::bit_cast<T>(swapped);
}

template <class From, class To>
void convert(const std::byte* from, std::size_t count, void* to, std::size_t at) {
  To* out = static_cast<To*>(to) + at;
  for (std::size_t i = 0; i < count; ++i)
    out[i] = static_cast<To>(from_big_endian<From>(from + i * sizeof(From)));
}

void convert_pixels(const std::byte* from, std::size_t count, void* to, std::size_t at) {
  float* out = static_cast<float*>(to) + at;
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<float>(from[i]) / 255.0F;
}

struct ElementType {
  std::size_t size;
  DType dtype;  // of the resulting tensor
  void (*convert)(const std::byte* from, std::size_t count, void* to, std::size_t at);
};

ElementType element_type(const Input& input, int code, std::size_t dims) {
  switch (code) {
    case 0x08:
      if (dims > 1) return {1, DType::float32, convert_pixels};
      return {1, DType::int64, convert<std::uint8_t, std::int64_t>};
    case 0x09: return {1, DType::int64, convert<std::int8_t, std::int64_t>};
    case 0x0B: return {2, DType::int64, convert<std::int16_t, std::int64_t>};
    case 0x0C: return {4, DType::int64, convert<std::int32_t, std::int64_t>};
    case 0x0D: return {4, DType::float32, convert<float, float>};
    case 0x0E: return {8, DType::float64, convert<double, double>};
    default: input.fail("has the unknown element type {}; IDX knows 8, 9, 11, 12, 13 and 14", code);
  }
}

struct Header {
  ElementType type;
  Shape shape;
  std::uint64_t bytes = 0;  // of the elements
};

Header read_header(const Input& input, Stream& stream) {
  std::array<std::byte, 4> magic;
  if (stream.read(magic.data(), magic.size()) != magic.size())
    input.fail("truncated: too short for an IDX file");
  if (magic[0] != std::byte{0} || magic[1] != std::byte{0})
    input.fail("is not an IDX file: it does not begin with two zero bytes");
  const auto dims = static_cast<std::size_t>(magic[3]);
  if (dims == 0 || dims > Shape::max_dims)
    input.fail("states {}; 1 to {} can be read", detail::counted(dims, "dimension"), Shape::max_dims);
  Header header{element_type(input, static_cast<int>(magic[2]), dims), {}, 0};
  for (std::size_t i = 0; i < dims; ++i) {
    std::array<std::byte, 4> extent;
    if (stream.read(extent.data(), extent.size()) != extent.size())
      input.fail("truncated: ends among the extents");
    header.shape.push_back(from_big_endian<std::uint32_t>(extent.data()));
  }
  const auto bytes = detail::byte_count(header.shape, header.type.size);
  // The number of bytes of the tensor must not overflow.
  if (!bytes || !detail::byte_count(header.shape, 8)) input.fail("has the impossible shape {}", header.shape);
  header.bytes = *bytes;
  return header;
}

// Reads the elements and passes them to use(bytes, count of elements, position) in chunks. Checks that they
// are complete and that nothing follows.
template <class Use>
void read_elements(const Input& input, Stream& stream, const Header& header, Use use) {
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(chunk, header.bytes)));
  std::uint64_t done = 0;
  while (done < header.bytes) {
    const auto now = static_cast<std::size_t>(std::min<std::uint64_t>(chunk, header.bytes - done));
    const std::size_t got = stream.read(buffer.data(), now);
    if (got != now)
      input.fail("truncated: shape {} takes {}, but it has {}", header.shape,
                 detail::counted(header.bytes, "byte"), done + got);
    use(buffer.data(), now / header.type.size, static_cast<std::size_t>(done / header.type.size));
    done += now;
  }
  std::byte extra;
  if (stream.read(&extra, 1) != 0)
    input.fail("trailing bytes: it continues after the {} that shape {} takes",
               detail::counted(header.bytes, "byte"), header.shape);
}

// A header can state any size. Memory is allocated only after the data is known to exist: for a plain file by
// its length, for a compressed one by a first decompression without storing, unless little memory is needed.
// Decompression stops one byte after the stated size. A compressed file may need 64 MB and four times the
// stated size (int64 labels reach this bound); the remainder is headroom for zlib and allocator rounding.
void check_amount(const Input& input, const Stream& stream, const Header& header) {
  const std::uint64_t needed = *detail::byte_count(header.shape, size_of(header.type.dtype));
  if (!stream.compressed()) {
    const std::uint64_t have = input.size() - 4 - 4 * header.shape.size();
    if (header.bytes > have)
      input.fail("truncated: shape {} takes {}, but it has {}", header.shape,
                 detail::counted(header.bytes, "byte"), have);
    return;
  }
  if (needed > 40 * megabyte + 4 * header.bytes)
    input.fail(
        "states {}, which take {} as {}; this much is refused from a compressed file (decompress it first)",
        detail::counted(header.bytes, "byte"), needed, header.type.dtype);
  if (needed <= megabyte + 16 * input.size()) return;
  Stream trial(input);
  read_header(input, trial);
  read_elements(input, trial, header, [](const std::byte*, std::size_t, std::size_t) {});
}

Tensor read_idx(const Input& input) {
  Stream stream(input);
  const Header header = read_header(input, stream);
  check_amount(input, stream, header);
  Array array = detail::allocate(input, "", header.shape, header.type.dtype);
  read_elements(input, stream, header, [&](const std::byte* bytes, std::size_t count, std::size_t at) {
    header.type.convert(bytes, count, array.write(), at);
  });
  return detail::Access::make(std::move(array));
}

std::string find_file(const std::string& folder, const std::string& stem, const std::string& kind) {
  for (const char* separator : {"-", "."}) {
    for (const char* ending : {"", ".gz"}) {
      std::string path = folder + "/" + stem + separator + kind + ending;
      struct stat status {};
      if (::stat(path.c_str(), &status) == 0 && !S_ISDIR(status.st_mode)) return path;
    }
  }
  throw IoError(message("load_idx_pair: {}: there is no {}-{} or {}-{}.gz", folder, stem, kind, stem, kind),
                folder, ENOENT);
}

Dataset load_set(const std::string& folder, const std::string& stem) {
  const std::string images_path = find_file(folder, stem + "-images", "idx3-ubyte");
  const std::string labels_path = find_file(folder, stem + "-labels", "idx1-ubyte");
  const Tensor images = load_idx(images_path);
  const Tensor labels = load_idx(labels_path);
  if (images.dim() != 3 || images.dtype() != DType::float32)
    throw IoError(message("load_idx_pair: {}: holds {} of shape {}, not images [N, rows, columns]",
                          images_path, images.dtype(), images.shape()),
                  images_path);
  if (labels.dim() != 1 || labels.dtype() != DType::int64)
    throw IoError(message("load_idx_pair: {}: holds {} of shape {}, not labels [N]", labels_path,
                          labels.dtype(), labels.shape()),
                  labels_path);
  if (images.size(0) != labels.size(0))
    throw IoError(message("load_idx_pair: {} holds {}, but {} {}", images_path,
                          detail::counted(images.size(0), "image"), labels_path,
                          detail::counted(labels.size(0), "label")),
                  labels_path);
  const Shape flat{images.size(0), images.size(1) * images.size(2)};
  return Dataset(detail::Access::make(detail::Access::array(images).reshaped(flat)), labels);
}

}  // namespace

Tensor load_idx(const std::string& path) { return read_idx(Input("load_idx", path)); }

Tensor parse_idx(std::span<const std::byte> bytes, std::string_view name) {
  return read_idx(Input("parse_idx", name, bytes));
}

std::pair<Dataset, Dataset> load_idx_pair(const std::string& folder) {
  return {load_set(folder, "train"), load_set(folder, "t10k")};
}

}  // namespace retort
