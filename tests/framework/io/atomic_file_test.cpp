#include "retort/framework/io/atomic_file.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <filesystem>

#include "files.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/core/tensor.hpp"
#include "retort/framework/io/npy.hpp"
#include "retort/framework/io/safetensors.hpp"
#include "retort/framework/io/serialize.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

unsigned mode_of(const std::string& path) {
  struct stat status {};
  BOOST_REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777U;
}

/// Returns true if f, run in a child process, returns true.
template <class F>
bool holds_in_child(F&& f) {
  const pid_t child = ::fork();
  if (child == 0) {
    bool holds = false;
    try {
      holds = f();
    } catch (...) {
    }
    ::_exit(holds ? 0 : 1);
  }
  int status = -1;
  return ::waitpid(child, &status, 0) == child && status == 0;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(atomic_file)

BOOST_AUTO_TEST_CASE(the_content_is_there_after_commit_and_not_before) {
  const TemporaryFolder folder;
  write_file(folder / "a", "old");
  {
    AtomicFile file("test", folder / "a");
    file.write("new ");
    file.write("content");
    BOOST_TEST(read_file(folder / "a") == "old");
    BOOST_TEST(folder.entries() == 2U);
    file.commit();
  }
  BOOST_TEST(read_file(folder / "a") == "new content");
  BOOST_TEST(folder.entries() == 1U);
}

BOOST_AUTO_TEST_CASE(without_commit_nothing_changes) {
  const TemporaryFolder folder;
  { AtomicFile("test", folder / "a").write("half"); }
  BOOST_TEST(folder.entries() == 0U);
}

BOOST_AUTO_TEST_CASE(a_failing_call_leaves_the_old_file_and_no_other) {
  const TemporaryFolder folder;
  write_file(folder / "a", "old");
  for (const SystemCall call :
       {SystemCall::open, SystemCall::write, SystemCall::fsync, SystemCall::close, SystemCall::rename}) {
    for (const int error : {ENOSPC, EIO}) {
      const FailingCall failing(call, 0, error);
      BOOST_CHECK_EXCEPTION(
          {
            AtomicFile file("test", folder / "a");
            file.write("new");
            file.commit();
          },
          IoError,
          says("test: " + (folder / "a"), error == EIO ? "Input/output error" : "No space left on device"));
      BOOST_TEST(failing.happened());
      BOOST_TEST(read_file(folder / "a") == "old");
      BOOST_TEST(folder.entries() == 1U);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_flushed_is_told) {
  const TemporaryFolder folder;
  for (const int error : {EIO, EINVAL}) {  // EINVAL: the file system does not support it
    const FailingCall failing(SystemCall::fsync, 1, error);
    AtomicFile file("test", folder / "a");
    file.write("new");
    if (error == EIO) {
      BOOST_CHECK_EXCEPTION(file.commit(), IoError, says(folder / "a", "folder", "Input/output error"));
    } else {
      BOOST_CHECK_NO_THROW(file.commit());
    }
    BOOST_TEST(failing.happened());
    BOOST_TEST(read_file(folder / "a") == "new");
    BOOST_TEST(folder.entries() == 1U);
  }
}

BOOST_AUTO_TEST_CASE(interrupted_and_short_writes_go_on) {
  const TemporaryFolder folder;
  const std::string content(1000, 'x');
  AtomicFile file("test", folder / "a");
  {
    const Interruptions interruptions(7);
    file.write(content);
  }
  file.commit();
  BOOST_TEST(read_file(folder / "a") == content);
}

BOOST_AUTO_TEST_CASE(a_link_keeps_pointing_at_the_file) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "elsewhere");
  write_file(folder / "elsewhere/a", "old");
  std::filesystem::create_symlink(folder / "elsewhere/a", folder / "link");
  AtomicFile file("test", folder / "link");
  file.write("new");
  file.commit();
  BOOST_TEST(std::filesystem::is_symlink(folder / "link"));
  BOOST_TEST(read_file(folder / "elsewhere/a") == "new");
}

BOOST_AUTO_TEST_CASE(permissions_are_those_of_any_new_file) {
  const TemporaryFolder folder;
  const mode_t mask = ::umask(027);
  AtomicFile("test", folder / "a").commit();
  ::umask(mask);
  struct stat status {};
  BOOST_REQUIRE(::stat((folder / "a").c_str(), &status) == 0);
  BOOST_TEST((status.st_mode & 0777U) == 0640U);
}

BOOST_AUTO_TEST_CASE(long_names_and_names_left_by_a_killed_process) {
  const TemporaryFolder folder;
  const std::string path = folder / std::string(255, 'n');
  AtomicFile("test", path).commit();
  BOOST_TEST(read_file(path).empty());
  // Whatever the next temporary name is, the one after it is free.
  for (int i = 0; i < 900; ++i)
    write_file(folder / (".retort-" + std::to_string(::getpid()) + "-" + std::to_string(i) + ".tmp"), "");
  AtomicFile file("test", path);
  file.write("new");
  file.commit();
  BOOST_TEST(read_file(path) == "new");
}

BOOST_AUTO_TEST_CASE(a_place_that_cannot_be_written_is_named) {
  const TemporaryFolder folder;
  BOOST_CHECK_EXCEPTION(AtomicFile("save", folder / "missing/a"), IoError,
                        says("save: " + (folder / "missing/a"), "No such file or directory"));
  write_file(folder / "file", "");
  BOOST_CHECK_EXCEPTION(AtomicFile("save", folder / "file/a"), IoError, says("Not a directory"));
  std::filesystem::create_directory(folder / "folder");
  BOOST_CHECK_EXCEPTION(AtomicFile("save", folder / "folder").commit(), IoError, says("Is a directory"));
}

BOOST_AUTO_TEST_CASE(only_regular_files_are_replaced) {
  const TemporaryFolder folder;
  BOOST_REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  (folder / "socket").copy(address.sun_path, sizeof(address.sun_path) - 1);
  BOOST_REQUIRE(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  std::filesystem::create_symlink("/dev/null", folder / "link");
  std::filesystem::create_directory(folder / "folder");
  for (const std::string& path : {folder / "pipe", folder / "socket", folder / "link", folder / "folder",
                                  std::string("/dev/null"), std::string("/dev/full")}) {
    struct stat before {
    }, after{};
    BOOST_REQUIRE(::stat(path.c_str(), &before) == 0);
    const auto names = [&](const IoError& error) { return error.path() == path; };
    BOOST_CHECK_EXCEPTION(AtomicFile("test", path), IoError, names);
    BOOST_CHECK_EXCEPTION(save_npy(path, ones({1})), IoError, names);
    BOOST_CHECK_EXCEPTION(save_safetensors(path, StateDict{{"a", ones({1})}}), IoError, names);
    BOOST_REQUIRE(::stat(path.c_str(), &after) == 0);
    BOOST_TEST(before.st_mode == after.st_mode);
    BOOST_TEST(before.st_ino == after.st_ino);
  }
  ::close(listener);
  BOOST_TEST(folder.entries() == 4U);
}

BOOST_AUTO_TEST_CASE(an_open_descriptor_is_not_replaced) {
  const TemporaryFolder folder;
  const int descriptor = ::open((folder / "out").c_str(), O_WRONLY | O_CREAT, 0600);
  BOOST_CHECK_THROW(AtomicFile("test", "/dev/fd/" + std::to_string(descriptor)), IoError);
  BOOST_CHECK_THROW(AtomicFile("test", "/proc/self/fd/" + std::to_string(descriptor)), IoError);
  BOOST_TEST(::write(descriptor, "x", 1) == 1);
  ::close(descriptor);
  BOOST_TEST(read_file(folder / "out") == "x");
}

BOOST_AUTO_TEST_CASE(a_file_that_is_replaced_keeps_its_mode_and_owner) {
  const TemporaryFolder folder;
  for (const mode_t mode : {0600U, 0664U, 0444U, 0640U, 0755U, 0400U, 0666U}) {
    write_file(folder / "a", "old");
    BOOST_REQUIRE(::chmod((folder / "a").c_str(), mode) == 0);
    if (::geteuid() == 0) BOOST_REQUIRE(::chown((folder / "a").c_str(), 12, 34) == 0);
    {
      AtomicFile file("test", folder / "a");
      file.write("new");
      for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
        BOOST_TEST((mode_of(entry.path().string()) & ~mode) == 0U);  // and the temporary file no more
      file.commit();
    }
    BOOST_TEST(mode_of(folder / "a") == mode);
    BOOST_TEST(read_file(folder / "a") == "new");
    struct stat status {};
    BOOST_REQUIRE(::stat((folder / "a").c_str(), &status) == 0);
    if (::geteuid() == 0) BOOST_TEST((status.st_uid == 12 && status.st_gid == 34));
    std::filesystem::remove(folder / "a");
  }
}

BOOST_AUTO_TEST_CASE(a_dangling_link_gets_its_target_and_a_loop_is_refused) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "sub");
  std::filesystem::create_symlink("sub/target", folder / "relative");
  std::filesystem::create_symlink("../relative", folder / "sub/second");
  std::filesystem::create_symlink(folder / "sub/other", folder / "absolute");
  std::filesystem::create_symlink("two", folder / "one");
  std::filesystem::create_symlink("one", folder / "two");
  std::filesystem::create_symlink("missing/target", folder / "lost");
  for (const auto& [link, target] : {std::pair("sub/second", "sub/target"), {"absolute", "sub/other"}}) {
    AtomicFile file("test", folder / link);
    file.write("new");
    file.commit();
    BOOST_TEST(std::filesystem::is_symlink(folder / link));
    BOOST_TEST(read_file(folder / target) == "new");
  }
  BOOST_TEST(std::filesystem::is_symlink(folder / "relative"));
  BOOST_CHECK_EXCEPTION(AtomicFile("test", folder / "one"), IoError,
                        [](const IoError& error) { return error.error_code() == ELOOP; });
  BOOST_CHECK_EXCEPTION(AtomicFile("test", folder / "lost"), IoError,
                        [](const IoError& error) { return error.error_code() == ENOENT; });
  BOOST_TEST(std::filesystem::is_symlink(folder / "one"));
}

BOOST_AUTO_TEST_CASE(an_error_tells_programs_the_path_and_the_cause) {
  const TemporaryFolder folder;
  const std::string path = folder / "missing/a";
  for (const auto& call : std::vector<std::function<void()>>{
           [&] { AtomicFile("test", path); }, [&] { save_npy(path, ones({1})); }, [&] { load_npy(path); },
           [&] { save_safetensors(path, StateDict{}); }, [&] { load_safetensors(path); }})
    BOOST_CHECK_EXCEPTION(call(), IoError, [&](const IoError& error) {
      return error.path() == path && error.error_code() == ENOENT;
    });
  write_file(folder / "a", "no array");
  BOOST_CHECK_EXCEPTION(load_npy(folder / "a"), IoError, [&](const IoError& error) {
    return error.path() == folder / "a" && error.error_code() == 0;
  });
  BOOST_TEST(IoError("a message").error_code() == 0);
  BOOST_TEST(IoError("a message").path().empty());
}

#if !defined(__SANITIZE_THREAD__)  // ThreadSanitizer cannot fork a process with threads
// Output to a closed stream must not end up in the file that reuses its descriptor.
BOOST_AUTO_TEST_CASE(closed_standard_streams_do_not_write_into_a_file) {
  const TemporaryFolder folder;
  for (unsigned closed = 0; closed < 8; ++closed) {
    const std::string path = folder / ("f" + std::to_string(closed));
    const bool sound = holds_in_child([&] {
      for (int stream = 0; stream < 3; ++stream)
        if ((closed >> stream & 1U) != 0) ::close(stream);
      AtomicFile file("test", path);
      file.write("a");
      for (int stream = 0; stream < 3; ++stream)
        if ((closed >> stream & 1U) != 0 && ::write(stream, "junk", 4) >= 0) return false;
      file.write("b");
      file.commit();
      save_npy(path + ".npy", ones({1}));
      return load_npy(path + ".npy").size() == 1;
    });
    BOOST_TEST(sound, "closed: " << closed);
    BOOST_TEST(read_file(path) == "ab");
  }
}
#endif

BOOST_AUTO_TEST_SUITE_END()
