// The properties that all ranks must share, as numbers that can be compared. Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "retort/framework/core/tensor.hpp"

namespace retort {
struct Batch;
class Module;
}  // namespace retort

namespace retort::detail {

class Transport;

/// A hash of bytes that depends on nothing else, at the speed of memory.
std::uint64_t hash_bytes(const void* bytes, std::size_t count, std::uint64_t seed = 0);
/// Of element type, shape and elements.
std::uint64_t hash_tensor(const Tensor& tensor, std::uint64_t seed = 0);
/// Of all tensors with their names.
std::uint64_t hash_batch(const Batch& batch);

/// A hash of the running program's file, and of the version and compiler of the library.
std::uint64_t build_hash();

/// Compares program, parameters, buffers and `shards` with those of the other ranks.
/// Throws: ValueError, with the same text on every rank, for the first difference.
void require_same_model(Transport& transport, const Module& module, std::int64_t shards);

/// `text` as rank `root` has it.
std::string broadcast_text(Transport& transport, const std::string& text, int root);

}  // namespace retort::detail
