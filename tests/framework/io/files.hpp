// Files for tests: a folder of their own, whole contents in and out, and system calls that fail on demand.
#pragma once

#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

namespace retort::tests {

/// A new folder, removed with its contents at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "retort-test-XXXXXX").string();
    BOOST_REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(std::string_view name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }
  std::size_t entries() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()));
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  BOOST_REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const std::string& path, std::string_view content) {
  std::ofstream file(path, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  BOOST_REQUIRE(file.good());
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// For BOOST_CHECK_EXCEPTION: the message contains every one of these texts.
template <class... Texts>
auto says(Texts... texts) {
  return [=](const std::exception& error) {
    const std::string what = error.what();
    const bool all = ((what.find(texts) != std::string::npos) && ...);
    if (!all) BOOST_TEST_MESSAGE("the message is: " << what);
    return all;
  };
}

/// The calls of this thread that the test program can interfere with.
enum class SystemCall { write, fsync, rename, open, close, ftruncate, pread };

/// During its lifetime, the nth such call of this thread from now on (0: the next) fails with `error`. With
/// `lasts`, all later ones fail as well, as on a full disk.
class FailingCall {
 public:
  FailingCall(SystemCall call, int nth, int error, bool lasts = false);
  ~FailingCall();
  FailingCall(const FailingCall&) = delete;
  FailingCall& operator=(const FailingCall&) = delete;
  /// True if the call occurred.
  bool happened() const;
};

/// During its lifetime, every other write and pread of this thread is interrupted; the rest transfer at most
/// `most` bytes.
class Interruptions {
 public:
  explicit Interruptions(std::size_t most);
  ~Interruptions();
  Interruptions(const Interruptions&) = delete;
  Interruptions& operator=(const Interruptions&) = delete;
};

}  // namespace retort::tests
