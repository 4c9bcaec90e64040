// The format (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): "\x93NUMPY", major and
// minor version, length of the header (two bytes in version 1, four in 2 and 3), the header: a Python literal
// such as {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }, then the elements.
#include "retort/framework/io/npy.hpp"

#include <array>
#include <charconv>
#include <cstdint>

#include "retort/framework/io/atomic_file.hpp"
#include "retort/framework/io/input_impl.hpp"

namespace retort {
namespace {

using detail::Input;

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t max_header = 65'535;

struct Header {
  DType dtype = DType::float32;
  Shape shape;
  std::uint64_t data = 0;  // where it begins in the file
};

std::string_view descr_of(DType dtype) {
  return dtype == DType::float32 ? "<f4" : dtype == DType::float64 ? "<f8" : "<i8";
}

// Reads the dictionary from left to right.
class HeaderParser {
 public:
  HeaderParser(const Input& input, std::string_view text) : input_(input), rest_(text) {}

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
        parse_order();
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
    for (const DType dtype : {DType::float32, DType::float64, DType::int64}) {
      if (descr == descr_of(dtype)) {
        header.dtype = dtype;
        return;
      }
    }
    input_.fail(
        "has the element type {}; float32 '<f4', float64 '<f8' and int64 '<i8' can be read "
        "(convert it with .astype)",
        detail::shown_name(descr));
  }
  void parse_order() {
    skip_space();
    if (take_word("True")) input_.fail("is in Fortran order; save it through numpy.ascontiguousarray");
    if (!take_word("False")) malformed();
  }
  void parse_shape(Header& header) {
    expect('(');
    bool comma = true;
    while (!take(')')) {
      skip_space();
      std::int64_t extent = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), extent);
      // from_chars would take -0 and 02.
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
  // No escapes: none of the words that are accepted needs one.
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

  const Input& input_;
  std::string_view rest_;
};

Header read_header(const Input& input) {
  std::array<char, 12> start{};
  const std::size_t known =
      input.size() < start.size() ? static_cast<std::size_t>(input.size()) : start.size();
  input.read(0, start.data(), known);
  if (!std::string_view(start.data(), known).starts_with(magic))
    input.fail("is not a .npy file: it does not begin with \\x93NUMPY");
  const int version = static_cast<unsigned char>(start[6]);
  const int minor = static_cast<unsigned char>(start[7]);
  if (version < 1 || version > 3 || minor != 0)
    input.fail("has format version {}.{}; 1.0, 2.0 and 3.0 can be read", version, minor);
  const std::size_t length_size = version == 1 ? 2 : 4;
  std::uint32_t length = 0;
  input.read(8, &length, length_size);
  if (length > max_header)
    input.fail("states a header of {} bytes; at most {} are accepted", std::size_t{length}, max_header);

  std::string text(length, '\0');
  input.read(8 + length_size, text.data(), text.size());
  Header header;
  header.data = 8 + length_size + length;
  HeaderParser(input, text).parse(header);
  return header;
}

Tensor read_npy(const Input& input) {
  const Header header = read_header(input);
  const auto bytes = detail::byte_count(header.shape, size_of(header.dtype));
  if (!bytes) input.fail("has the impossible shape {}", header.shape);
  const std::uint64_t have = input.size() - header.data;
  if (*bytes != have)
    input.fail("{}shape {} of {} takes {} bytes, but it has {}",
               *bytes > have ? "truncated: " : "trailing bytes: ", header.shape, header.dtype, *bytes, have);
  Array array = detail::allocate(input, "", header.shape, header.dtype);
  input.read(header.data, array.write(), array.byte_size());
  return Tensor(std::move(array));
}

}  // namespace

void save_npy(const std::string& path, const Tensor& tensor) {
  if (!tensor.defined()) throw ValueError("save_npy: the tensor is undefined");
  std::string header =
      "{'descr': '" + std::string(descr_of(tensor.dtype())) + "', 'fortran_order': False, 'shape': (";
  for (const std::int64_t extent : tensor.shape()) header += std::to_string(extent) + ", ";
  if (tensor.dim() > 1) header.resize(header.size() - 2);
  header += "), }";
  // The elements begin at a multiple of 64; the header ends in a newline.
  const std::size_t start = magic.size() + 4;
  header.resize((start + header.size() + 1 + 63) / 64 * 64 - start - 1, ' ');
  header += '\n';

  const char version_and_length[] = {1, 0, static_cast<char>(header.size() & 0xFFU),
                                     static_cast<char>(header.size() >> 8)};
  AtomicFile file("save_npy", path);
  file.write(magic);
  file.write(std::string_view(version_and_length, sizeof(version_and_length)));
  file.write(header);
  const Array& array = tensor.array();
  file.write(std::span(static_cast<const std::byte*>(array.read()), array.byte_size()));
  file.commit();
}

Tensor load_npy(const std::string& path) { return read_npy(Input("load_npy", path)); }

Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name) {
  return read_npy(Input("parse_npy", name, bytes));
}

}  // namespace retort
