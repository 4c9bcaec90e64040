#include "output_folder.hpp"

#include <filesystem>
#include <retort/framework/core/error.hpp>
#include <retort/framework/io/atomic_file.hpp>
#include <system_error>

namespace distill {

OutputFolder::OutputFolder(std::string path) : path_(std::move(path)) {
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (!std::filesystem::is_directory(path_))
    throw retort::IoError(retort::message("--out: cannot make the folder ", path_,
                                          error ? ": " + error.message() : std::string()));
  retort::AtomicFile("--out", path_ + "/result.json");  // never committed: it leaves nothing behind
}

std::string OutputFolder::write(const std::string& name, const std::string& text) const {
  const std::string path = (std::filesystem::path(path_) / name).string();
  retort::AtomicFile file("--out", path);
  file.write(text);
  file.commit();
  return path;
}

}  // namespace distill
