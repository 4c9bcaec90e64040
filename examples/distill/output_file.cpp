#include "output_file.hpp"

#include <filesystem>
#include <retort/framework/core/error.hpp>
#include <retort/framework/io/atomic_file.hpp>
#include <system_error>
#include <utility>

namespace distill {

namespace fs = std::filesystem;

OutputFile::OutputFile(const std::string& folder, const std::string& name, std::string flag)
    : flag_(std::move(flag)), path_((fs::path(folder) / name).string()) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw retort::IoError(retort::message(flag_, ": cannot make the folder ", folder, ": ", error.message()));
  if (fs::is_directory(path_, error))
    throw retort::IoError(retort::message(flag_, ": ", path_, ": is a folder"));
  retort::AtomicFile(flag_, path_);  // never committed: it leaves nothing behind
}

void OutputFile::write(const std::string& text) const {
  retort::AtomicFile file(flag_, path_);
  file.write(text);
  file.commit();
}

}  // namespace distill
