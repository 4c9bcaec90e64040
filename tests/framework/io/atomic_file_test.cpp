#include "retort/framework/io/atomic_file.hpp"

#include <sys/stat.h>

#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <filesystem>

#include "files.hpp"
#include "retort/framework/base/error.hpp"

using namespace retort;
using namespace retort::tests;

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
  for (const int error : {EIO, EINVAL}) {  // EINVAL: the file system has no such thing
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
  // Whatever the next temporary name is, the one after it will do.
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

BOOST_AUTO_TEST_SUITE_END()
