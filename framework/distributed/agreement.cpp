#include "retort/framework/distributed/agreement_impl.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <vector>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/base/version.hpp"
#include "retort/framework/data/row_source.hpp"
#include "retort/framework/distributed/communicator.hpp"
#include "retort/framework/distributed/transport_impl.hpp"
#include "retort/framework/nn/module.hpp"

namespace retort::detail {
namespace {

// Independent 64-bit lanes, so many that the latency of the multiplications is hidden.
std::uint64_t hash_chunk(const std::byte* bytes, std::size_t count, std::uint64_t seed) {
  constexpr std::uint64_t factor = 0x9E3779B97F4A7C15U;
  constexpr std::size_t width = 32, block = width * sizeof(std::uint64_t);
  std::array<std::uint64_t, width> lanes;
  for (std::size_t i = 0; i < width; ++i) lanes[i] = mix(seed, count + i);
  const auto take = [&](std::size_t n) {
    std::array<std::uint64_t, width> words{};
    std::memcpy(words.data(), bytes, n);
    for (std::size_t i = 0; i < width; ++i) lanes[i] = std::rotl((lanes[i] ^ words[i]) * factor, 29);
  };
  for (; count >= block; bytes += block, count -= block) take(block);
  if (count > 0) take(count);
  std::uint64_t hash = seed;
  for (const std::uint64_t lane : lanes) hash = mix(hash, lane);
  return hash;
}

std::uint64_t hash_text(std::string_view text, std::uint64_t seed) {
  return hash_bytes(text.data(), text.size(), seed);
}

struct ModelReport {
  std::uint64_t build, structure, values, shards;
};

// One line per parameter and buffer.
std::vector<std::string> describe(const Module& module) {
  std::vector<std::string> lines;
  for (const Member& member : MemberAccess::state(module))
    lines.push_back(message("{} '{}' of shape {}, {}", member.is_buffer ? "buffer" : "parameter", member.name,
                            member.tensor.shape(), member.tensor.dtype()));
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::string structure_difference(int rank, const std::vector<std::string>& own,
                                 const std::vector<std::string>& first) {
  for (std::size_t i = 0; i < std::max(own.size(), first.size()); ++i) {
    const std::string here = i < own.size() ? own[i] : "nothing";
    const std::string there = i < first.size() ? first[i] : "nothing";
    if (here != there)
      return message(
          "DataParallel: the models differ at position {}: rank {} has {}, but rank 0 has {}; every rank "
          "must construct the same model",
          i, rank, here, there);
  }
  return {};
}

// Returns a description of the first difference between rank 0 and this rank.
std::string difference(int rank, const ModelReport& own, const ModelReport& first,
                       const std::vector<std::string>& lines, const std::vector<std::string>& first_lines) {
  if (own.build != first.build)
    return message(
        "DataParallel: rank {} runs another build of the program than rank 0; start the same file on every "
        "machine",
        rank);
  if (own.shards != first.shards)
    return message("DataParallel: rank {} has {}, but rank 0 has {}; .shards must be the same on every rank",
                   rank, detail::counted(std::size_t{own.shards}, "shard"), std::size_t{first.shards});
  if (own.structure != first.structure) return structure_difference(rank, lines, first_lines);
  return message(
      "DataParallel: the initial values on rank {} differ from those on rank 0; call manual_seed with the "
      "same seed on every rank, or load the same weights",
      rank);
}

}  // namespace

std::uint64_t hash_bytes(const void* bytes, std::size_t count, std::uint64_t seed) {
  constexpr std::size_t chunk = std::size_t{1} << 18;
  const auto* const begin = static_cast<const std::byte*>(bytes);
  if (count <= chunk) return hash_chunk(begin, count, seed);
  std::vector<std::uint64_t> hashes((count + chunk - 1) / chunk);
  parallel_for(static_cast<std::int64_t>(hashes.size()), 1, [&](std::int64_t first, std::int64_t last) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i)
      hashes[i] = hash_chunk(begin + i * chunk, std::min(chunk, count - i * chunk), seed);
  });
  return hash_chunk(reinterpret_cast<const std::byte*>(hashes.data()), hashes.size() * sizeof hashes[0],
                    seed);
}

std::uint64_t hash_tensor(const Tensor& tensor, std::uint64_t seed) {
  if (!tensor.defined()) return mix(seed, 1);
  const std::uint64_t kind = hash_text(message("{} {}", tensor.dtype(), tensor.shape()), seed);
  return hash_bytes(detail::Access::array(tensor).read(), detail::Access::array(tensor).byte_size(), kind);
}

std::uint64_t hash_batch(const Batch& batch) {
  std::uint64_t hash = hash_tensor(batch.target, hash_tensor(batch.input));
  for (const auto& [name, tensor] : batch.others) hash = hash_tensor(tensor, hash_text(name, hash));
  if (!batch.input.defined())
    hash = hash_bytes(batch.rows.data(), batch.rows.size() * sizeof(std::int64_t), hash);
  return mix(hash, batch.key);
}

std::uint64_t build_hash() {
  static const std::uint64_t hash = [] {
    std::ifstream file("/proc/self/exe", std::ios::binary);
    std::uint64_t all = hash_text(RETORT_VERSION " " __VERSION__, 0);
    std::vector<char> block(std::size_t{1} << 20);
    while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0)
      all = hash_bytes(block.data(), static_cast<std::size_t>(file.gcount()), all);
    return all;
  }();
  return hash;
}

void require_same_model(Transport& transport, const Module& module, std::int64_t shards) {
  const std::vector<std::string> lines = describe(module);
  ModelReport own{build_hash(), hash_text(joined(lines), 0), 0, static_cast<std::uint64_t>(shards)};
  for (const Member& member : MemberAccess::state(module))
    own.values = hash_tensor(member.tensor, own.values);

  std::vector<ModelReport> reports(static_cast<std::size_t>(transport.size()));
  transport.all_gather(&own, reports.data(), sizeof own);
  const auto same = [&](const ModelReport& report) {
    return std::memcmp(&report, &reports[0], sizeof report) == 0;
  };
  const auto other = std::ranges::find_if_not(reports, same);
  if (other == reports.end()) return;
  const auto rank = static_cast<int>(other - reports.begin());
  const std::vector<std::string> first_lines = split_lines(broadcast_text(transport, joined(lines), 0));
  const std::string text =
      rank == transport.rank() ? difference(rank, own, reports[0], lines, first_lines) : std::string();
  throw ValueError(broadcast_text(transport, text, rank));
}

Transport* transport_of(const Communicator* world) {
  return world && world->size() > 1 ? world->transport() : nullptr;
}

std::string broadcast_text(Transport& transport, const std::string& text, int root) {
  std::uint64_t size = text.size();
  transport.broadcast(&size, sizeof size, root);
  std::string received = text;
  received.resize(size);
  transport.broadcast(received.data(), size, root);
  return received;
}

void on_first_rank(Transport* transport, const std::function<void()>& f) {
  if (!transport) return f();
  std::exception_ptr failure;
  std::string text;
  bool is_value_error = false;
  if (transport->rank() == 0) {
    try {
      f();
    } catch (const std::exception& error) {
      failure = std::current_exception();
      text = error.what();
      is_value_error = dynamic_cast<const ValueError*>(&error) != nullptr;
    }
  }
  text = broadcast_text(*transport, text, 0);
  transport->broadcast(&is_value_error, sizeof is_value_error, 0);
  if (failure) std::rethrow_exception(failure);
  if (text.empty()) return;
  text = message("{} (on rank 0)", text);
  if (is_value_error) throw ValueError(text);
  throw IoError(text);
}

}  // namespace retort::detail
