// Properties that all ranks must share, as comparable numbers. Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "retort/framework/core/tensor.hpp"

namespace retort {
struct Batch;
class Communicator;
class Module;
}  // namespace retort

namespace retort::detail {

class Transport;

/// A hash that depends only on the bytes, computed at memory bandwidth.
std::uint64_t hash_bytes(const void* bytes, std::size_t count, std::uint64_t seed = 0);
/// A hash of element type, shape and elements.
std::uint64_t hash_tensor(const Tensor& tensor, std::uint64_t seed = 0);
/// A hash of all tensors with their names.
std::uint64_t hash_batch(const Batch& batch);

/// A hash of the running program's file, and of the library's version and compiler.
std::uint64_t build_hash();

/// Compares program, parameters, buffers and `shards` with the other ranks.
/// Throws: ValueError describing the first difference, with the same text on every rank.
void require_same_model(Transport& transport, const Module& module, std::int64_t shards);

/// Returns `text` of rank `root`.
std::string broadcast_text(Transport& transport, const std::string& text, int root);

/// The transport of several processes; null for one.
Transport* transport_of(const Communicator* world);

/// Calls f on rank 0 and returns when it has returned. Its exception is thrown on every rank: on the others
/// as a ValueError if it was one, otherwise as an IoError, with a text that names rank 0. A null transport is
/// one process.
void on_first_rank(Transport* transport, const std::function<void()>& f);

}  // namespace retort::detail
