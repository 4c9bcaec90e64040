// The format (https://github.com/huggingface/safetensors): eight bytes of header length, little-endian; the
// header, a JSON object {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …,
// "__metadata__": {"key": "value"}}, possibly followed by spaces; the data. A file is accepted if
//   - the header is at most 100 MB, as long as stated, starts with '{', and is valid JSON and UTF-8;
//   - names and keys are unique, each entry has those three fields (others are ignored), and the metadata
//     contains only strings or is null;
//   - shape × element size, without overflow, is the length of the entry's bytes. For an unsupported dtype
//     the length is not checked, and the entry is an error only if it is requested by name;
//   - the entries' bytes, sorted by position, cover the data from its first byte to the end of the file
//     without gaps or overlaps. (The header may list them in any order; Python's older writers did.)
#include "retort/framework/io/safetensors.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/io/atomic_file.hpp"
#include "retort/framework/io/convert_impl.hpp"
#include "retort/framework/io/input_impl.hpp"
#include "retort/framework/io/json_impl.hpp"

namespace retort {
namespace {

using detail::Input;
using detail::Json;
using detail::shown_name;

constexpr std::uint64_t max_header = 100'000'000;
constexpr std::size_t max_entries = 16'384;  // bounds the memory for a hostile header
constexpr detail::JsonLimits header_limits{.depth = 100, .parts = 1'000'000};
constexpr const char* metadata_name = "__metadata__";
constexpr std::size_t chunk = 16'384;  // elements converted at a time

// ---- element types --------------------------------------------------------------------------------------

using detail::BFloat16;
using detail::Bool;
using detail::Convert;
using detail::convert_each;

struct StoredType {
  std::string_view name;
  std::size_t size;
  DType dtype;      // of the resulting tensor
  Convert convert;  // null if the bytes are the same
};

constexpr std::array stored_types{
    StoredType{"F32", 4, DType::float32, nullptr},
    StoredType{"F64", 8, DType::float64, nullptr},
    StoredType{"I64", 8, DType::int64, nullptr},
    StoredType{"F16", 2, DType::float32, convert_each<_Float16, float>},
    StoredType{"BF16", 2, DType::float32, convert_each<BFloat16, float>},
    StoredType{"I32", 4, DType::int64, convert_each<std::int32_t, std::int64_t>},
    StoredType{"U32", 4, DType::int64, convert_each<std::uint32_t, std::int64_t>},
    StoredType{"I16", 2, DType::int64, convert_each<std::int16_t, std::int64_t>},
    StoredType{"U16", 2, DType::int64, convert_each<std::uint16_t, std::int64_t>},
    StoredType{"I8", 1, DType::int64, convert_each<std::int8_t, std::int64_t>},
    StoredType{"U8", 1, DType::int64, convert_each<std::uint8_t, std::int64_t>},
    StoredType{"BOOL", 1, DType::int64, convert_each<Bool, std::int64_t>},
};

// ---- reading --------------------------------------------------------------------------------------------

struct Entry {
  std::string name;
  std::string dtype;
  const StoredType* type = nullptr;  // null if not supported
  Shape shape;
  std::array<std::uint64_t, 2> range{};  // bytes [begin, end) after the header
};

struct Header {
  std::vector<Entry> entries;
  Metadata metadata;
  std::uint64_t data = 0;  // its offset in the file
};

std::string_view kind_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return "an array";
    case Json::value_t::string: return "a string";
    case Json::value_t::boolean: return "a boolean";
    case Json::value_t::null: return "null";
    case Json::value_t::number_unsigned: return "a number";
    case Json::value_t::number_integer: return "a negative number";
    default: return "a number that is not a 64-bit integer";
  }
}

// Reads the description of one tensor.
class EntryReader {
 public:
  EntryReader(const Input& input, const std::string& name) : input_(input) { entry_.name = name; }

  Entry read(const Json& value) {
    require_object(value);
    for (const auto& [key, field] : value.get_ref<const Json::object_t&>()) {
      const auto known = std::ranges::find(fields, key);
      if (known == fields.end()) continue;
      const Json*& given = given_[static_cast<std::size_t>(known - fields.begin())];
      if (std::exchange(given, &field)) fail("has the field {} twice", shown_name(key));
    }
    for (std::size_t i = 0; i < fields.size(); ++i)
      if (!given_[i]) fail("has no {}", fields[i]);
    if (!given_[dtype]->is_string()) unexpected(dtype, *given_[dtype]);
    entry_.dtype = given_[dtype]->get_ref<const std::string&>();
    const auto type = std::ranges::find(stored_types, entry_.dtype, &StoredType::name);
    entry_.type = type == stored_types.end() ? nullptr : &*type;
    read_shape();
    read_range();
    return std::move(entry_);
  }
  void require_object(const Json& value) const {
    if (!value.is_object()) fail("has {} instead of an object", kind_of(value));
  }

 private:
  enum Field : std::size_t { dtype, shape, data_offsets };
  static constexpr std::array<std::string_view, 3> fields{"dtype", "shape", "data_offsets"};

  void read_shape() {
    for (const std::uint64_t extent : numbers(shape)) {
      if (extent > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        fail("has an extent that is too large");
      if (entry_.shape.size() == Shape::max_dims) fail("has more than {} dimensions", Shape::max_dims);
      entry_.shape.push_back(static_cast<std::int64_t>(extent));
    }
  }
  void read_range() {
    const std::vector<std::uint64_t> offsets = numbers(data_offsets);
    if (offsets.size() > 2) fail("has more than 2 data_offsets");
    if (offsets.size() < 2) fail("has {} data_offsets instead of 2", offsets.size());
    const auto [begin, end] = entry_.range = {offsets[0], offsets[1]};
    const auto bytes = detail::byte_count(entry_.shape, entry_.type ? entry_.type->size : 1);
    if (!bytes) fail("has the impossible shape {}", entry_.shape);
    if (end < begin || (entry_.type && end - begin != *bytes))
      fail("has shape {} of {}, which takes {}, but its data_offsets are [{}, {}]", entry_.shape,
           entry_.type ? entry_.type->name : "an unsupported type", detail::counted(*bytes, "byte"), begin,
           end);
  }
  std::vector<std::uint64_t> numbers(Field field) const {
    if (!given_[field]->is_array()) unexpected(field, *given_[field]);
    std::vector<std::uint64_t> values;
    for (const Json& number : *given_[field]) {
      if (!number.is_number_unsigned()) unexpected(field, number);
      values.push_back(number.get<std::uint64_t>());
    }
    return values;
  }
  [[noreturn]] void unexpected(Field field, const Json& value) const {
    fail("has {} in its {}", kind_of(value), fields[field]);
  }
  template <class... Args>
  [[noreturn]] void fail(detail::Format<std::type_identity_t<Args>...> format, const Args&... args) const {
    input_.fail("entry {} {}", shown_name(entry_.name), detail::formatted(format.text, args...));
  }

  const Input& input_;
  Entry entry_;
  std::array<const Json*, 3> given_{};
};

Metadata read_metadata(const Input& input, const Json& value) {
  Metadata metadata;
  if (value.is_null()) return metadata;
  EntryReader(input, metadata_name).require_object(value);
  for (const auto& [key, text] : value.get_ref<const Json::object_t&>()) {
    if (!text.is_string()) input.fail("the metadata {} is {}, not a string", shown_name(key), kind_of(text));
    metadata.emplace_back(key, text.get_ref<const std::string&>());
  }
  if (metadata.size() > max_entries) input.fail("has more than {} entries", max_entries);
  if (const std::string* twice = detail::repeated_key(metadata))
    input.fail("has the metadata {} twice", shown_name(*twice));
  return metadata;
}

void check_ranges(const Input& input, const Header& header) {
  std::vector<const Entry*> entries;
  entries.reserve(header.entries.size());
  for (const Entry& entry : header.entries) entries.push_back(&entry);
  std::sort(entries.begin(), entries.end(),
            [](const Entry* a, const Entry* b) { return a->range < b->range; });
  std::uint64_t end = 0;
  for (const Entry* entry : entries) {
    if (entry->range[0] != end)
      input.fail("entry {} begins at data byte {}, but the entry before it ends at {}",
                 shown_name(entry->name), entry->range[0], end);
    end = entry->range[1];
  }
  const std::uint64_t length = input.size() - header.data;
  if (end != length)
    input.fail("{}its entries take {} of data, but it has {}",
               end > length ? "truncated: " : "trailing bytes: ", detail::counted(end, "byte"), length);
}

Header read_header(const Input& input) {
  std::uint64_t length = 0;
  input.read(0, &length, sizeof(length));
  if (length > max_header)
    input.fail("states a header of {}; at most {} are allowed (is it a safetensors file?)",
               detail::counted(length, "byte"), max_header);
  if (length > input.size() - sizeof(length))
    input.fail("truncated: states a header of {}, but has {}", detail::counted(length, "byte"),
               input.size() - sizeof(length));
  std::string text(length, '\0');
  input.read(sizeof(length), text.data(), text.size());
  // The parser would skip a byte order mark.
  if (text.empty() || text.front() != '{') input.fail("the header does not begin with '{'");
  Json json;
  try {
    json = detail::parse_strict(text, header_limits);
  } catch (const detail::JsonError& error) {
    input.fail("the header is not valid JSON at its byte {}: {}", error.byte, shown_name(error.what()));
  } catch (const ValueError& error) {
    input.fail("the header {}", error.what());
  }

  Header header;
  header.data = sizeof(length) + length;
  const auto& members = json.get_ref<const Json::object_t&>();
  if (const std::string* twice = detail::repeated_key(members))
    input.fail("has the entry {} twice", shown_name(*twice));
  for (const auto& [name, value] : members) {
    if (name == metadata_name) {
      header.metadata = read_metadata(input, value);
    } else if (header.entries.size() == max_entries) {
      input.fail("has more than {} entries", max_entries);
    } else {
      header.entries.push_back(EntryReader(input, name).read(value));
    }
  }
  check_ranges(input, header);
  return header;
}

Tensor read_tensor(const Input& input, const Entry& entry, std::uint64_t data) {
  Array array = detail::allocate(input, "entry " + shown_name(entry.name), entry.shape, entry.type->dtype);
  auto* to = static_cast<std::byte*>(array.write());
  if (!entry.type->convert) {
    input.read(data + entry.range[0], to, array.byte_size());
  } else {
    const std::size_t element = entry.type->size;
    const auto count = static_cast<std::size_t>(array.size());
    std::vector<std::byte> buffer(std::min(count, chunk) * element);
    for (std::size_t done = 0; done < count; done += chunk) {
      const std::size_t now = std::min(chunk, count - done);
      input.read(data + entry.range[0] + done * element, buffer.data(), now * element);
      entry.type->convert(buffer.data(), now, to + done * size_of(array.dtype()));
    }
  }
  return detail::Access::make(std::move(array));
}

StateDict read_safetensors(const Input& input, Metadata* metadata) {
  Header header = read_header(input);
  StateDict tensors;
  for (const Entry& entry : header.entries)
    if (entry.type) tensors[entry.name] = read_tensor(input, entry, header.data);
  if (metadata) *metadata = std::move(header.metadata);
  return tensors;
}

StateDict read_entries(const Input& input, const std::vector<std::string>& names) {
  const Header header = read_header(input);
  StateDict tensors;
  for (const std::string& name : names) {
    const auto entry = std::ranges::find(header.entries, name, &Entry::name);
    if (entry == header.entries.end()) input.fail("has no entry {}", shown_name(name));
    if (!entry->type)
      input.fail("entry {} has the dtype {}, which is not supported", shown_name(name),
                 shown_name(entry->dtype));
    tensors[name] = read_tensor(input, *entry, header.data);
  }
  return tensors;
}

// ---- writing --------------------------------------------------------------------------------------------

struct Written {
  const StoredType* type = nullptr;
  Convert convert = nullptr;
  std::uint64_t begin = 0;
  const Tensor* tensor = nullptr;
};

const StoredType* stored_type(std::string_view name) {
  return std::find_if(stored_types.begin(), stored_types.end(),
                      [&](const StoredType& type) { return type.name == name; });
}

Written how_to_write(DType dtype, const SafetensorsOptions& options) {
  const bool wide = dtype == DType::float64;
  const FloatStorage floats = options.floats;
  if (dtype == DType::int64 && options.integers == IntegerStorage::int32)
    return {stored_type("I32"), convert_each<std::int64_t, std::int32_t>};
  if (dtype == DType::int64) return {stored_type("I64")};
  if (floats == FloatStorage::float16)
    return {stored_type("F16"), wide ? convert_each<double, _Float16> : convert_each<float, _Float16>};
  if (floats == FloatStorage::bfloat16)
    return {stored_type("BF16"), wide ? convert_each<double, BFloat16> : convert_each<float, BFloat16>};
  return {stored_type(wide ? "F64" : "F32")};
}

void check_int32(const std::string& name, const Tensor& tensor) {
  for (const std::int64_t value : tensor.data<std::int64_t>())
    if (value != static_cast<std::int32_t>(value))
      throw ValueError(message("save_safetensors: {} contains {}, which does not fit into int32",
                               shown_name(name), value));
}

std::string json_string(const std::string& text) {
  try {
    return Json(text).dump();
  } catch (const Json::exception&) {
    throw ValueError(message("save_safetensors: the name or text {} is not valid UTF-8", shown_name(text)));
  }
}

void write_tensor(AtomicFile& file, const Written& how) {
  const Array& array = detail::Access::array(*how.tensor);
  const std::span bytes(static_cast<const std::byte*>(array.read()), array.byte_size());
  if (!how.convert) {
    file.write(bytes);
    return;
  }
  const std::size_t element = size_of(array.dtype());
  const auto count = static_cast<std::size_t>(array.size());
  std::vector<std::byte> buffer(std::min(count, chunk) * how.type->size);
  for (std::size_t done = 0; done < count; done += chunk) {
    const std::size_t now = std::min(chunk, count - done);
    how.convert(bytes.data() + done * element, now, buffer.data());
    file.write(std::span(buffer).first(now * how.type->size));
  }
}

}  // namespace

void save_safetensors(const std::string& path, const StateDict& tensors, const Metadata& metadata,
                      const SafetensorsOptions& options) {
  if (tensors.size() > max_entries || metadata.size() > max_entries)
    throw ValueError(message("save_safetensors: {} entries are given; a file holds at most {}",
                             std::max(tensors.size(), metadata.size()), max_entries));
  if (const std::string* twice = detail::repeated_key(metadata))
    throw ValueError(message("save_safetensors: the metadata {} is given twice", shown_name(*twice)));

  std::vector<Written> written;
  for (const auto& [name, tensor] : tensors) {
    if (name == metadata_name)
      throw ValueError(
          "save_safetensors: no tensor can be named '__metadata__'; pass metadata as the third argument");
    if (!tensor.defined())
      throw ValueError(message("save_safetensors: the tensor {} is undefined", shown_name(name)));
    written.push_back(how_to_write(tensor.dtype(), options));
    if (written.back().type->name == "I32") check_int32(name, tensor);
    written.back().tensor = &tensor;
  }
  std::vector<std::size_t> order(written.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return written[a].type->size > written[b].type->size;
  });
  std::uint64_t end = 0;
  for (const std::size_t i : order) {
    written[i].begin = end;
    end += static_cast<std::uint64_t>(written[i].tensor->size()) * written[i].type->size;
  }

  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) header += json_string(key) + ":" + json_string(value) + ",";
    header.back() = '}';
    header += ',';
  }
  const Written* how = written.data();
  for (const auto& [name, tensor] : tensors) {
    header += json_string(name) + ":{\"dtype\":\"" + std::string(how->type->name) + "\",\"shape\":[";
    for (const std::int64_t extent : tensor.shape()) header += std::to_string(extent) + ",";
    if (header.back() == ',') header.pop_back();
    const std::uint64_t bytes = static_cast<std::uint64_t>(tensor.size()) * how->type->size;
    header += "],\"data_offsets\":[" + std::to_string(how->begin) + "," + std::to_string(how->begin + bytes) +
              "]},";
    ++how;
  }
  if (header.back() == ',') header.pop_back();
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = header.size();
  if (length > max_header)
    throw ValueError(message("save_safetensors: names and metadata take {}; the format allows {}",
                             detail::counted(length, "byte"), max_header));

  AtomicFile file("save_safetensors", path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  for (const std::size_t i : order) write_tensor(file, written[i]);
  file.commit();
}

StateDict load_safetensors(const std::string& path, Metadata* metadata) {
  return read_safetensors(Input("load_safetensors", path), metadata);
}

StateDict parse_safetensors(std::span<const std::byte> bytes, Metadata* metadata, std::string_view name) {
  return read_safetensors(Input("parse_safetensors", name, bytes), metadata);
}

StateDict load_safetensors(const std::string& path, const std::vector<std::string>& names) {
  return read_entries(Input("load_safetensors", path), names);
}

Metadata load_safetensors_metadata(const std::string& path) {
  return read_header(Input("load_safetensors_metadata", path)).metadata;
}

std::vector<SafetensorsEntry> safetensors_entries(const std::string& path) {
  std::vector<SafetensorsEntry> entries;
  for (Entry& entry : read_header(Input("safetensors_entries", path)).entries)
    entries.push_back({std::move(entry.name), std::move(entry.dtype), entry.shape});
  return entries;
}

}  // namespace retort
