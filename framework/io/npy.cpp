// The format (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): "\x93NUMPY", major and
// minor version, length of the header (two bytes in version 1, four in 2 and 3), the header: a Python literal
// such as {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }, then the elements.
#include "retort/framework/io/npy.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <vector>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/io/atomic_file.hpp"
#include "retort/framework/io/convert_impl.hpp"
#include "retort/framework/io/npy_impl.hpp"
#include "retort/framework/kernels/strided.hpp"

namespace retort {
namespace {

using detail::Input;
using detail::NpyStream;

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t max_header = 65'535;

constexpr std::size_t piece = 64 << 10;  // bytes converted at a time

struct StoredType {
  std::string_view name;  // without the byte order
  std::size_t size;
  DType dtype;  // of the resulting tensor
  detail::Convert convert;
};

constexpr std::array stored_types{
    StoredType{"f4", 4, DType::float32, detail::convert_each<float, float>},
    StoredType{"f8", 8, DType::float64, detail::convert_each<double, double>},
    StoredType{"i8", 8, DType::int64, detail::convert_each<std::int64_t, std::int64_t>},
    StoredType{"f2", 2, DType::float32, detail::convert_each<_Float16, float>},
    StoredType{"b1", 1, DType::int64, detail::convert_each<detail::Bool, std::int64_t>},
    StoredType{"u1", 1, DType::int64, detail::convert_each<std::uint8_t, std::int64_t>},
    StoredType{"i1", 1, DType::int64, detail::convert_each<std::int8_t, std::int64_t>},
    StoredType{"u2", 2, DType::int64, detail::convert_each<std::uint16_t, std::int64_t>},
    StoredType{"i2", 2, DType::int64, detail::convert_each<std::int16_t, std::int64_t>},
    StoredType{"u4", 4, DType::int64, detail::convert_each<std::uint32_t, std::int64_t>},
    StoredType{"i4", 4, DType::int64, detail::convert_each<std::int32_t, std::int64_t>},
};

struct Header {
  const StoredType* type = nullptr;
  bool big_endian = false;
  bool fortran_order = false;
  Shape shape;
};

std::string_view descr_of(DType dtype) {
  return dtype == DType::float32 ? "<f4" : dtype == DType::float64 ? "<f8" : "<i8";
}

// Parses the dictionary from left to right.
class HeaderParser {
 public:
  HeaderParser(const NpyStream& input, std::string_view text) : input_(input), rest_(text) {}

  void parse(Header& header) {
    bool seen[3] = {};
    expect('{');
    while (!take('}')) {
      const std::string_view key = quoted();
      expect(':');
      const std::size_t field = key == "descr" ? 0 : key == "fortran_order" ? 1 : 2;
      if ((field == 2 && key != "shape") || seen[field])
        input_.fail("the header has an unknown or a second key {}", detail::shown_name(key));
      seen[field] = true;
      if (field == 0) {
        parse_type(header);
      } else if (field == 1) {
        parse_order(header);
      } else {
        parse_shape(header);
      }
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (!rest_.empty() || !seen[0] || !seen[1] || !seen[2]) malformed();
  }

 private:
  void parse_type(Header& header) {
    skip_space();
    if (rest_.starts_with('[')) input_.fail("holds a structured array; only plain numbers can be read");
    const std::string_view descr = quoted();
    const std::string_view order("<>=|");  // "=" and "|" are native order, or none for single bytes
    const auto found = std::ranges::find(stored_types, descr.substr(std::min<std::size_t>(descr.size(), 1)),
                                         &StoredType::name);
    if (found == stored_types.end() || order.find(descr[0]) == std::string_view::npos ||
        (descr[0] == '|' && found->size > 1))
      input_.fail(
          "has the element type {}; bool, float16 to float64, int8 to int64 and uint8 to uint32 can be read "
          "(convert it with .astype)",
          detail::shown_name(descr));
    header.type = &*found;
    header.big_endian = descr[0] == '>';
  }
  void parse_order(Header& header) {
    skip_space();
    header.fortran_order = take_word("True");
    if (!header.fortran_order && !take_word("False")) malformed();
  }
  void parse_shape(Header& header) {
    expect('(');
    bool comma = true;
    while (!take(')')) {
      skip_space();
      std::int64_t extent = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), extent);
      // from_chars would accept -0 and 02.
      const bool signed_or_padded =
          rest_.starts_with('-') || (rest_.starts_with('0') && end != rest_.data() + 1);
      if (error != std::errc() || signed_or_padded)
        input_.fail("the header has an impossible extent in its shape");
      if (header.shape.size() == Shape::max_dims) input_.fail("has more than {} dimensions", Shape::max_dims);
      header.shape.push_back(extent);
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      comma = take(',');
      if (!comma) {
        expect(')');
        break;
      }
    }
    if (!comma && header.shape.size() == 1)
      input_.fail("the header has a shape that is a number, not a tuple");
  }

  void skip_space() {
    const std::size_t next = rest_.find_first_not_of(" \t\r\n");
    rest_.remove_prefix(next == std::string_view::npos ? rest_.size() : next);
  }
  bool take_word(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool take(char c) {
    skip_space();
    return take_word({&c, 1});
  }
  void expect(char c) {
    if (!take(c)) malformed();
  }
  // Escapes are not supported: no accepted word needs one.
  std::string_view quoted() {
    skip_space();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) malformed();
    const std::size_t end = rest_.find(rest_[0], 1);
    if (end == std::string_view::npos) malformed();
    const std::string_view text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return text;
  }
  [[noreturn]] void malformed() const {
    input_.fail("the header is not a dictionary of 'descr', 'fortran_order' and 'shape'");
  }

  const NpyStream& input_;
  std::string_view rest_;
};

Header read_header(NpyStream& stream) {
  std::array<char, 8> start{};
  const auto known = static_cast<std::size_t>(std::min<std::uint64_t>(stream.left(), start.size()));
  stream.read(start.data(), known);
  if (!std::string_view(start.data(), known).starts_with(magic))
    stream.fail("is not a .npy file: it does not begin with \\x93NUMPY");
  if (known < start.size()) stream.fail("truncated: it ends after {}", detail::counted(known, "byte"));
  const int version = static_cast<unsigned char>(start[6]);
  const int minor = static_cast<unsigned char>(start[7]);
  if (version < 1 || version > 3 || minor != 0)
    stream.fail("has format version {}.{}; 1.0, 2.0 and 3.0 can be read", version, minor);
  std::uint32_t length = 0;
  stream.read(&length, version == 1 ? 2 : 4);
  if (length > max_header)
    stream.fail("states a header of {}; at most {} are accepted",
                detail::counted(std::size_t{length}, "byte"), max_header);
  std::string text(length, '\0');
  stream.read(text.data(), text.size());
  Header header;
  HeaderParser(stream, text).parse(header);
  return header;
}

// Reverses the bytes of each element.
void swap_bytes(std::span<std::byte> bytes, std::size_t size) {
  for (auto element = bytes.begin(); element != bytes.end(); element += static_cast<std::ptrdiff_t>(size))
    std::reverse(element, element + static_cast<std::ptrdiff_t>(size));
}

// Converts `from`, which contains the values in Fortran order, to C order.
Array in_c_order(const Array& from, Array to) {
  const Shape& shape = to.shape();
  std::array<std::int64_t, Shape::max_dims> strides{};
  std::int64_t stride = 1;
  for (std::size_t d = 0; d < shape.size(); stride *= shape[d++]) strides[d] = stride;
  visit_dtype(to.dtype(), [&]<class T>(T) {
    kernels::strided_copy(from.data<T>().data(), to.fill<T>().data(), static_cast<int>(shape.size()),
                          shape.begin(), strides.data());
  });
  return to;
}

}  // namespace

void detail::NpyStream::read(void* to, std::size_t count) {
  if (count > left_)
    fail("truncated: a part of {} was expected, but it has {}", counted(count, "byte"), left_);
  read_(to, count);
  left_ -= count;
}

Tensor detail::read_npy(NpyStream& stream) {
  const Header header = read_header(stream);
  const StoredType& type = *header.type;
  const auto bytes = detail::byte_count(header.shape, type.size);
  if (!bytes || !detail::byte_count(header.shape, size_of(type.dtype)))
    stream.fail("has the impossible shape {}", header.shape);
  if (*bytes != stream.left())
    stream.fail("{}shape {} of '{}' takes {}, but it has {}",
                *bytes > stream.left() ? "truncated: " : "trailing bytes: ", header.shape, type.name,
                detail::counted(*bytes, "byte"), stream.left());
  Array array = stream.allocate(header.shape, type.dtype);
  auto* to = static_cast<std::byte*>(array.write());
  if (type.size == size_of(type.dtype) && !header.big_endian) {
    stream.read(to, array.byte_size());
  } else {
    std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(piece, *bytes)));
    while (stream.left() > 0) {
      const std::span now(buffer.data(),
                          static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), stream.left())));
      stream.read(now.data(), now.size());
      if (header.big_endian) swap_bytes(now, type.size);
      type.convert(now.data(), now.size() / type.size, to);
      to += now.size() / type.size * size_of(type.dtype);
    }
  }
  if (header.fortran_order && header.shape.size() > 1 && array.size() > 0)
    array = in_c_order(array, stream.allocate(header.shape, type.dtype));
  return detail::Access::make(std::move(array));
}

namespace {

Tensor read_file(const Input& input) {
  std::uint64_t offset = 0;
  NpyStream stream(input, "", input.size(), [&](void* to, std::size_t count) {
    input.read(offset, to, count);
    offset += count;
  });
  return detail::read_npy(stream);
}

}  // namespace

std::string detail::npy_header(const Tensor& tensor) {
  std::string header =
      "{'descr': '" + std::string(descr_of(tensor.dtype())) + "', 'fortran_order': False, 'shape': (";
  for (const std::int64_t extent : tensor.shape()) header += std::to_string(extent) + ", ";
  if (tensor.dim() > 1) header.resize(header.size() - 2);
  header += "), }";
  // The elements start at a multiple of 64; the header ends with a newline.
  const std::size_t start = magic.size() + 4;
  header.resize((start + header.size() + 1 + 63) / 64 * 64 - start - 1, ' ');
  header += '\n';

  const char version_and_length[] = {1, 0, static_cast<char>(header.size() & 0xFFU),
                                     static_cast<char>(header.size() >> 8)};
  return std::string(magic) + std::string(version_and_length, sizeof(version_and_length)) + header;
}

void save_npy(const std::string& path, const Tensor& tensor) {
  if (!tensor.defined()) throw ValueError("save_npy: the tensor is undefined");
  AtomicFile file("save_npy", path);
  file.write(detail::npy_header(tensor));
  const Array& array = detail::Access::array(tensor);
  file.write(std::span(static_cast<const std::byte*>(array.read()), array.byte_size()));
  file.commit();
}

Tensor load_npy(const std::string& path) { return read_file(Input("load_npy", path)); }

Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name) {
  return read_file(Input("parse_npy", name, bytes));
}

}  // namespace retort
