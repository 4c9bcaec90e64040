#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "retort/framework/base/error.hpp"
#include "retort/framework/io/input_impl.hpp"
#include "retort/framework/train/checkpoint_impl.hpp"

namespace retort::detail {
namespace {

namespace fs = std::filesystem;

std::optional<CheckpointFile> parse_name(const std::string& name) {
  CheckpointFile file{.name = name};
  std::string_view rest = name;
  constexpr std::string_view middle = "-step-";
  if (!take(rest, file.serial) || !rest.starts_with(middle)) return {};
  rest.remove_prefix(middle.size());
  if (!take(rest, file.step) || file.step < 0) return {};
  file.best = rest == "-best.safetensors";
  if (!file.best && rest != ".safetensors") return {};
  return file;
}

}  // namespace

std::string checkpoint_name(std::uint64_t serial, std::int64_t step, bool best) {
  std::string number = std::to_string(serial);
  if (number.size() < 6) number.insert(0, 6 - number.size(), '0');
  return message("{}-step-{}{}.safetensors", number, step, best ? "-best" : "");
}

std::vector<CheckpointFile> checkpoints_in(const std::string& folder) {
  std::vector<CheckpointFile> files;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error))
    if (auto file = parse_name(entry->path().filename().string())) files.push_back(std::move(*file));
  if (error && error != std::errc::no_such_file_or_directory)
    throw_io_error("Checkpoint::load", folder, "cannot look into the folder", error.value());
  std::ranges::sort(files, std::ranges::greater(), &CheckpointFile::serial);
  return files;
}

}  // namespace retort::detail
