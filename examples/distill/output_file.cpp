#include "output_file.hpp"

#include <filesystem>
#include <retort/framework/base/error.hpp>
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
    throw retort::IoError(
        retort::message("{}: cannot make the folder {}: {}", flag_, folder, error.message()));
  if (fs::is_directory(path_, error))
    throw retort::IoError(retort::message("{}: {}: is a folder", flag_, path_));
  retort::AtomicFile(flag_, path_);  // never committed: it leaves nothing behind
}

void OutputFile::write(const std::string& text) const {
  retort::AtomicFile file(flag_, path_);
  file.write(text);
  file.commit();
}

}  // namespace distill
