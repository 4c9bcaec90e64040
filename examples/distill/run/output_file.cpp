#include "distill/run/output_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <retort/framework/base/error.hpp>
#include <retort/framework/io/atomic_file.hpp>
#include <system_error>
#include <utility>

namespace distill {

namespace fs = std::filesystem;

namespace {

void make_folder(const std::string& flag, const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw retort::IoError(retort::message("{}: cannot make the folder {}: {}", flag, folder, error.message()),
                          folder, error.value());
}

}  // namespace

FolderLock::FolderLock(const std::string& folder, bool must_exist) {
  if (!must_exist) make_folder("--out", folder);
  descriptor_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0) {
    const int error = errno;
    if (error == ENOENT) return;  // no run to resume: Run reports the missing checkpoint
    throw retort::IoError(retort::message("--out: cannot open the folder {}: {}", folder,
                                          std::generic_category().message(error)),
                          folder, error);
  }
  while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) break;  // the file system does not support locks
    ::close(descriptor_);
    throw retort::IoError(
        retort::message("--out: another run is writing to {}; wait for it, stop it, or give another folder",
                        folder),
        folder);
  }
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

OutputFile::OutputFile(const std::string& folder, const std::string& name, std::string flag)
    : flag_(std::move(flag)), path_((fs::path(folder) / name).string()) {
  make_folder(flag_, folder);
  std::error_code error;
  if (fs::is_directory(path_, error))
    throw retort::IoError(retort::message("{}: {}: is a folder", flag_, path_));
  retort::AtomicFile(flag_, path_);  // not committed, so no file remains
}

void OutputFile::write(const std::string& text) const {
  retort::AtomicFile file(flag_, path_);
  file.write(text);
  file.commit();
}

}  // namespace distill
