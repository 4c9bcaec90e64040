// A benchmark program as a child process.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// A benchmark program that waits for requests.
class Program {
 public:
  Program(std::vector<std::string> command, const std::string& libraries) : name_(command.back()) {
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
      throw std::runtime_error("cannot make a pipe");
    process_ = fork();
    if (process_ == 0) {
      dup2(to[0], 0);
      dup2(from[1], 1);
      if (!libraries.empty()) setenv("LD_LIBRARY_PATH", libraries.c_str(), 1);
      std::vector<char*> arguments;
      for (std::string& argument : command) arguments.push_back(argument.data());
      arguments.push_back(nullptr);
      execvp(arguments[0], arguments.data());
      _exit(127);
    }
    close(to[0]);
    close(from[1]);
    input_ = fdopen(to[1], "w");
    output_ = fdopen(from[0], "r");
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { finish(); }

  nlohmann::json read() {
    char* line = nullptr;
    std::size_t room = 0;
    const auto size = getline(&line, &room, output_);
    const std::unique_ptr<char, decltype(&std::free)> owned(line, std::free);
    if (size <= 0) throw std::runtime_error(name_ + " ended without an answer (" + end_of_process() + ")");
    return nlohmann::json::parse(line);
  }
  nlohmann::json ask(const nlohmann::json& request) {
    std::fputs((request.dump() + "\n").c_str(), input_);
    std::fflush(input_);
    return read();
  }
  /// Ends the program and returns the most memory that it had resident, in bytes.
  std::int64_t finish() {
    if (process_ <= 0) return 0;
    std::fclose(input_);
    std::fclose(output_);
    rusage usage{};
    wait4(std::exchange(process_, 0), nullptr, 0, &usage);
    return usage.ru_maxrss * 1024;
  }

 private:
  /// Waits for the end of a program that has closed its output.
  std::string end_of_process() {
    int status = 0;
    waitpid(std::exchange(process_, 0), &status, 0);
    std::fclose(input_);
    std::fclose(output_);
    return WIFSIGNALED(status) ? std::string("signal ") + strsignal(WTERMSIG(status))
                               : "exit status " + std::to_string(WEXITSTATUS(status));
  }

  std::string name_;
  pid_t process_ = 0;
  FILE *input_ = nullptr, *output_ = nullptr;
};

}  // namespace bench
