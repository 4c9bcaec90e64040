// The files in a folder of checkpoints. Internal.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "retort/framework/train/checkpoint.hpp"

namespace retort::detail {

/// A checkpoint, as its name describes it.
struct CheckpointFile {
  std::uint64_t serial = 0;  ///< counts the saves
  std::int64_t step = 0;
  bool best = false;
  std::string name = {};
};

/// Parses a number at the start of the text and removes it.
template <class T>
bool take(std::string_view& text, T& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

/// Throws: ValueError that begins with `whose` if a scheduler is null, is given twice or sets the rates of an
/// optimiser other than that of the parts, or the optimiser or the average is of another module.
void check_parts(const std::string& whose, const CheckpointParts& parts);

std::string checkpoint_name(std::uint64_t serial, std::int64_t step, bool best);
/// Newest first; empty if the folder does not exist.
std::vector<CheckpointFile> checkpoints_in(const std::string& folder);

}  // namespace retort::detail
