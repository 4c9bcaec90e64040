// The format is ZIP (APPNOTE.TXT of PKWARE, version 6.3): for each entry a local header and the bytes, stored
// or deflated; then the central directory, which repeats the headers with the offset of each; then an end
// record that locates the directory. Sizes and offsets beyond 32 bits are in the ZIP64 records. Each entry is
// a .npy file. The reader uses the central directory.
#include "retort/framework/io/npz.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/io/atomic_file.hpp"
#include "retort/framework/io/npy_impl.hpp"

namespace retort {
namespace {

using detail::Input;
using detail::shown_name;

constexpr std::size_t max_entries = 16'384;
constexpr std::uint64_t buffer_size = 64 << 10;
constexpr std::uint64_t megabyte = 1 << 20;
constexpr std::uint64_t largest_ratio = 1032;  // maximum compression ratio of deflate
constexpr std::uint64_t in_zip64 = 0xFFFFFFFF;
constexpr std::uint32_t local_magic = 0x04034B50;
constexpr std::uint32_t central_magic = 0x02014B50;
constexpr std::uint32_t end_magic = 0x06054B50;
constexpr std::uint32_t end64_magic = 0x06064B50;
constexpr std::uint32_t locator64_magic = 0x07064B50;
constexpr std::uint16_t zip64_tag = 1;
constexpr std::uint16_t is_encrypted = 1;
constexpr std::uint16_t is_utf8 = 0x800;
constexpr std::uint16_t stored = 0;
constexpr std::uint16_t deflated = 8;

// ---- reading --------------------------------------------------------------------------------------------

template <class T>
T number_at(std::string_view bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

struct Entry {
  std::string name;  // without ".npy"
  std::uint16_t flags = 0;
  std::uint16_t method = stored;
  std::uint32_t crc = 0;
  std::uint64_t packed = 0;  // bytes in the file
  std::uint64_t size = 0;    // bytes of the .npy file
  std::uint64_t header = 0;  // offset of the local header
  std::uint64_t data = 0;    // offset of the bytes

  std::string shown() const { return "entry " + shown_name(name); }
};

std::string read_text(const Input& input, std::uint64_t offset, std::uint64_t count) {
  if (offset > input.size() || count > input.size() - offset)
    input.fail("truncated: its directory is not whole");
  std::string text(static_cast<std::size_t>(count), '\0');
  input.read(offset, text.data(), text.size());
  return text;
}

struct Directory {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint64_t count = 0;
};

Directory find_directory(const Input& input) {
  constexpr std::size_t end_size = 22;
  constexpr std::size_t most_comment = 0xFFFF;
  if (input.size() < end_size) input.fail("is not a .npz file: it is shorter than the end of a ZIP file");
  const std::uint64_t tail_size = std::min<std::uint64_t>(input.size(), end_size + most_comment);
  const std::uint64_t tail_begin = input.size() - tail_size;
  const std::string tail = read_text(input, tail_begin, tail_size);
  std::size_t at = tail.size() - end_size + 1;
  do {
    if (at-- == 0) input.fail("is not a .npz file, or truncated: a ZIP file's directory is not found");
  } while (number_at<std::uint32_t>(tail, at) != end_magic ||
           at + end_size + number_at<std::uint16_t>(tail, at + 20) != tail.size());

  Directory directory{number_at<std::uint32_t>(tail, at + 16), number_at<std::uint32_t>(tail, at + 12),
                      number_at<std::uint16_t>(tail, at + 10)};
  const std::uint64_t end = tail_begin + at;
  if (end >= 20) {
    const std::string locator = read_text(input, end - 20, 20);
    if (number_at<std::uint32_t>(locator, 0) == locator64_magic) {
      const std::string record = read_text(input, number_at<std::uint64_t>(locator, 8), 56);
      if (number_at<std::uint32_t>(record, 0) != end64_magic) input.fail("its ZIP64 directory is not found");
      directory = {number_at<std::uint64_t>(record, 48), number_at<std::uint64_t>(record, 40),
                   number_at<std::uint64_t>(record, 32)};
    }
  }
  if (directory.count > max_entries) input.fail("has more than {} entries", max_entries);
  return directory;
}

// Reads the numbers that do not fit into 32 bits from an entry's extra fields.
void read_zip64(const Input& input, std::string_view extra, Entry& entry) {
  while (extra.size() >= 4) {
    const auto size = number_at<std::uint16_t>(extra, 2);
    if (size > extra.size() - 4) return;
    std::string_view field = extra.substr(4, size);
    if (number_at<std::uint16_t>(extra, 0) == zip64_tag) {
      for (std::uint64_t* number : {&entry.size, &entry.packed, &entry.header}) {
        if (*number != in_zip64) continue;
        if (field.size() < 8) input.fail("{} has no ZIP64 sizes", entry.shown());
        *number = number_at<std::uint64_t>(field, 0);
        field.remove_prefix(8);
      }
      return;
    }
    extra.remove_prefix(4 + std::size_t{size});
  }
}

void check_entry(const Input& input, Entry& entry) {
  if ((entry.flags & is_encrypted) != 0) input.fail("{} is encrypted", entry.shown());
  if (entry.method != stored && entry.method != deflated)
    input.fail("{} is compressed by method {}; stored and deflated entries can be read", entry.shown(),
               int{entry.method});
  const std::string local = read_text(input, entry.header, 30);
  if (number_at<std::uint32_t>(local, 0) != local_magic)
    input.fail("{} does not begin at byte {}, where the directory places it", entry.shown(), entry.header);
  entry.data = entry.header + 30 + number_at<std::uint16_t>(local, 26) + number_at<std::uint16_t>(local, 28);
  if (entry.data > input.size() || entry.packed > input.size() - entry.data)
    input.fail("{} is truncated", entry.shown());
  if (entry.method == stored ? entry.packed != entry.size : entry.size / largest_ratio > entry.packed)
    input.fail("{} states {}, which {} cannot hold", entry.shown(), detail::counted(entry.size, "byte"),
               detail::counted(entry.packed, "byte"));
}

std::vector<Entry> read_directory(const Input& input) {
  const Directory directory = find_directory(input);
  const std::string text = read_text(input, directory.offset, directory.size);
  std::string_view rest = text;
  std::vector<Entry> entries;
  for (std::uint64_t i = 0; i < directory.count; ++i) {
    constexpr std::size_t fixed = 46;
    if (rest.size() < fixed || number_at<std::uint32_t>(rest, 0) != central_magic)
      input.fail("its directory is damaged at entry {}", i);
    const std::size_t name_size = number_at<std::uint16_t>(rest, 28);
    const std::size_t extra_size = number_at<std::uint16_t>(rest, 30);
    const std::size_t whole = fixed + name_size + extra_size + number_at<std::uint16_t>(rest, 32);
    if (rest.size() < whole) input.fail("its directory is damaged at entry {}", i);
    std::string_view name = rest.substr(fixed, name_size);
    const bool is_array = name.ends_with(".npy");
    if (is_array) {
      name.remove_suffix(4);
      Entry entry{std::string(name),
                  number_at<std::uint16_t>(rest, 8),
                  number_at<std::uint16_t>(rest, 10),
                  number_at<std::uint32_t>(rest, 16),
                  number_at<std::uint32_t>(rest, 20),
                  number_at<std::uint32_t>(rest, 24),
                  number_at<std::uint32_t>(rest, 42)};
      read_zip64(input, rest.substr(fixed + name_size, extra_size), entry);
      entries.push_back(std::move(entry));
    }
    rest.remove_prefix(whole);
  }
  return entries;
}

// With entries that share bytes, a small file could contain any amount of data.
void check_overlaps(const Input& input, const std::vector<Entry>& entries) {
  std::vector<const Entry*> sorted;
  for (const Entry& entry : entries) sorted.push_back(&entry);
  std::ranges::sort(sorted, {}, &Entry::header);
  for (std::size_t i = 1; i < sorted.size(); ++i)
    if (sorted[i]->header < sorted[i - 1]->data + sorted[i - 1]->packed)
      input.fail("{} overlaps the entry before it", sorted[i]->shown());
}

// The bytes of an entry in order.
class EntryBytes {
 public:
  EntryBytes(const Input& input, const Entry& entry) : input_(input), entry_(entry) {
    if (entry.method == stored) return;
    buffer_.resize(static_cast<std::size_t>(std::min(buffer_size, entry.packed)));
    if (inflateInit2(&zlib_, -MAX_WBITS) != Z_OK) input.fail("cannot start zlib");
  }
  ~EntryBytes() {
    if (entry_.method == deflated) inflateEnd(&zlib_);
  }
  EntryBytes(const EntryBytes&) = delete;
  EntryBytes& operator=(const EntryBytes&) = delete;

  void read(void* to, std::size_t count) {
    if (entry_.method == stored) {
      input_.read(entry_.data + taken_, to, count);
      taken_ += count;
    } else {
      inflate_into(static_cast<Bytef*>(to), count);
    }
    crc_ = crc32_z(crc_, static_cast<const Bytef*>(to), count);
  }
  // Checks that the data ends at this point, and its checksum.
  void finish() {
    if (entry_.method == deflated && !ended_) {
      Bytef extra = 0;
      zlib_.next_out = &extra;
      zlib_.avail_out = 1;
      while (!ended_ && zlib_.avail_out > 0) step();
      if (!ended_)
        input_.fail("{} holds more than the {} that it states", entry_.shown(),
                    detail::counted(entry_.size, "byte"));
    }
    if (crc_ != entry_.crc) input_.fail("{} is damaged: its checksum does not match", entry_.shown());
  }

 private:
  void inflate_into(Bytef* to, std::size_t count) {
    while (count > 0) {
      const auto now = static_cast<uInt>(std::min<std::size_t>(count, 1U << 30));
      zlib_.next_out = to;
      zlib_.avail_out = now;
      while (zlib_.avail_out > 0) {
        if (ended_) input_.fail("{} is truncated: its compressed data ends early", entry_.shown());
        step();
      }
      to += now;
      count -= now;
    }
  }
  void step() {
    if (zlib_.avail_in == 0) {
      const std::uint64_t left = entry_.packed - taken_;
      const auto now = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), left));
      input_.read(entry_.data + taken_, buffer_.data(), now);
      taken_ += now;
      zlib_.next_in = buffer_.data();
      zlib_.avail_in = static_cast<uInt>(now);
    }
    const int result = inflate(&zlib_, Z_NO_FLUSH);
    ended_ = result == Z_STREAM_END;
    if (result == Z_BUF_ERROR) input_.fail("{} is truncated: its compressed data ends early", entry_.shown());
    if (result != Z_OK && !ended_)
      input_.fail("{} is damaged: {}", entry_.shown(), zlib_.msg ? zlib_.msg : "not deflated data");
  }

  const Input& input_;
  const Entry& entry_;
  std::uint64_t taken_ = 0;  // bytes of the entry read so far
  uLong crc_ = 0;
  bool ended_ = false;
  std::vector<Bytef> buffer_;
  z_stream zlib_{};
};

Tensor read_entry(const Input& input, const Entry& entry) {
  // Decompresses once without storing if the file's length does not justify the memory needed.
  if (entry.method == deflated && entry.size > megabyte + 2 * input.size()) {
    EntryBytes trial(input, entry);
    std::vector<std::byte> buffer(buffer_size);
    for (std::uint64_t left = entry.size; left > 0;) {
      const auto now = static_cast<std::size_t>(std::min(left, buffer_size));
      trial.read(buffer.data(), now);
      left -= now;
    }
    trial.finish();
  }
  EntryBytes bytes(input, entry);
  detail::NpyStream stream(input, entry.shown(), entry.size,
                           [&](void* to, std::size_t count) { bytes.read(to, count); });
  Tensor tensor = detail::read_npy(stream);
  bytes.finish();
  return tensor;
}

StateDict read_npz(const Input& input, const std::vector<std::string>* names) {
  std::vector<Entry> entries = read_directory(input);
  if (names) {
    std::vector<Entry> chosen;
    for (const std::string& name : *names) {
      const auto found = std::ranges::find(entries, name, &Entry::name);
      if (found == entries.end()) input.fail("has no entry {}", shown_name(name));
      chosen.push_back(*found);
    }
    entries = std::move(chosen);
  }
  for (Entry& entry : entries) check_entry(input, entry);
  check_overlaps(input, entries);
  StateDict tensors;
  for (const Entry& entry : entries) {
    if (tensors.contains(entry.name)) input.fail("has the {} twice", entry.shown());
    tensors[entry.name] = read_entry(input, entry);
  }
  return tensors;
}

// ---- writing --------------------------------------------------------------------------------------------

template <class... Numbers>
std::string packed(Numbers... numbers) {
  std::string bytes;
  (bytes.append(reinterpret_cast<const char*>(&numbers), sizeof(numbers)), ...);
  return bytes;
}

std::uint32_t or_in_zip64(std::uint64_t number) {
  return static_cast<std::uint32_t>(std::min(number, in_zip64));
}

// Deflates header and data as one stream.
std::vector<Bytef> deflate_both(std::string_view header, std::span<const std::byte> data) {
  z_stream zlib{};
  if (deflateInit2(&zlib, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw Error("save_npz: cannot start zlib");
  std::vector<Bytef> out(deflateBound(&zlib, header.size() + data.size()) + 64);
  std::size_t done = 0;
  const auto feed = [&](const void* from, std::size_t count, bool last) {
    const auto* in = static_cast<const Bytef*>(from);
    int result = Z_OK;
    do {
      const std::size_t now = std::min<std::size_t>(count, 1U << 30);
      zlib.next_in = const_cast<Bytef*>(in);
      zlib.avail_in = static_cast<uInt>(now);
      in += now;
      count -= now;
      do {
        const auto room = static_cast<uInt>(std::min<std::size_t>(out.size() - done, 1U << 30));
        zlib.next_out = out.data() + done;
        zlib.avail_out = room;
        result = deflate(&zlib, last && count == 0 ? Z_FINISH : Z_NO_FLUSH);
        done += room - zlib.avail_out;
      } while (zlib.avail_in > 0 || (last && count == 0 && result == Z_OK));
    } while (count > 0);
  };
  feed(header.data(), header.size(), false);
  feed(data.data(), data.size(), true);
  deflateEnd(&zlib);
  out.resize(done);
  return out;
}

}  // namespace

void save_npz(const std::string& path, const StateDict& tensors, const NpzOptions& options) {
  constexpr std::uint16_t version = 45;  // the first with ZIP64
  constexpr std::uint32_t first_day =
      0x00210000;  // 1 January 1980, so that equal arguments give the same bytes
  if (tensors.size() > max_entries)
    throw ValueError(
        message("save_npz: {} entries are given; a file holds at most {}", tensors.size(), max_entries));
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined())
      throw ValueError(message("save_npz: the tensor {} is undefined", shown_name(name)));
    if (name.empty() || name.size() > 65'000 || name.find('\0') != std::string::npos)
      throw ValueError(message("save_npz: the name {} is empty, longer than 65,000 bytes or has a NUL byte",
                               shown_name(name)));
  }
  AtomicFile file("save_npz", path);
  std::string directory;
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::string file_name = name + ".npy";
    const std::string header = detail::npy_header(tensor);
    const Array& array = detail::Access::array(tensor);
    const std::span data(static_cast<const std::byte*>(array.read()), array.byte_size());
    const uLong header_crc = crc32_z(0, reinterpret_cast<const Bytef*>(header.data()), header.size());
    const auto crc = static_cast<std::uint32_t>(
        data.empty() ? header_crc
                     : crc32_z(header_crc, reinterpret_cast<const Bytef*>(data.data()), data.size()));
    std::vector<Bytef> compressed;
    if (options.compress) compressed = deflate_both(header, data);
    const std::uint64_t size = header.size() + data.size();
    const std::uint64_t in_file = options.compress ? compressed.size() : size;

    const bool ascii = std::ranges::all_of(name, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    const std::string common = packed(version, ascii ? std::uint16_t{0} : is_utf8,
                                      options.compress ? deflated : stored, first_day, crc);
    const auto name_size = static_cast<std::uint16_t>(file_name.size());
    constexpr auto in_extra = static_cast<std::uint32_t>(in_zip64);
    const std::string local_extra = packed(zip64_tag, std::uint16_t{16}, size, in_file);
    file.write(packed(local_magic) + common + packed(in_extra, in_extra, name_size, std::uint16_t{20}) +
               file_name + local_extra);
    if (options.compress) {
      file.write(std::as_bytes(std::span(compressed)));
    } else {
      file.write(header);
      file.write(data);
    }
    std::string extra;
    for (const std::uint64_t number : {size, in_file, offset})
      if (number >= in_zip64) extra += packed(number);
    if (!extra.empty()) extra = packed(zip64_tag, static_cast<std::uint16_t>(extra.size())) + extra;
    directory += packed(central_magic, version) + common +
                 packed(or_in_zip64(in_file), or_in_zip64(size), name_size,
                        static_cast<std::uint16_t>(extra.size()), std::uint64_t{0}, std::uint16_t{0}) +
                 packed(or_in_zip64(offset)) + file_name + extra;
    offset += 30 + file_name.size() + local_extra.size() + in_file;
  }
  const std::uint64_t count = tensors.size();
  file.write(directory);
  if (offset >= in_zip64 || directory.size() >= in_zip64) {
    file.write(packed(end64_magic, std::uint64_t{44}, version, version, std::uint64_t{0}, count, count,
                      std::uint64_t{directory.size()}, offset));
    file.write(packed(locator64_magic, std::uint32_t{0}, offset + directory.size(), std::uint32_t{1}));
  }
  const auto entries = static_cast<std::uint16_t>(count);
  file.write(packed(end_magic, std::uint32_t{0}, entries, entries, or_in_zip64(directory.size()),
                    or_in_zip64(offset), std::uint16_t{0}));
  file.commit();
}

StateDict load_npz(const std::string& path) { return read_npz(Input("load_npz", path), nullptr); }

StateDict load_npz(const std::string& path, const std::vector<std::string>& names) {
  return read_npz(Input("load_npz", path), &names);
}

StateDict parse_npz(std::span<const std::byte> bytes, std::string_view name) {
  return read_npz(Input("parse_npz", name, bytes), nullptr);
}

}  // namespace retort
