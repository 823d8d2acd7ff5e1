#include "bench/processes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace millrace::bench {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

Process::Process(const std::vector<std::string>& words, std::string log) : log_(std::move(log)) {
  std::vector<std::string> copies = words;
  std::vector<char*> arguments;
  for (std::string& word : copies) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_.c_str(),
                                   O_CREAT | O_WRONLY | O_TRUNC, 0644);
  const int failed =
      posix_spawn(&pid_, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw std::runtime_error(fmt::format("cannot start {}", words[0]));
}

Process::~Process() {
  kill(pid_, SIGTERM);
  int status = 0;
  waitpid(pid_, &status, 0);
}

std::string Process::wait_for_line(const std::string& prefix) const {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::chrono::steady_clock::now() < deadline) {
    std::istringstream lines(read_file(log_));
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with(prefix)) return line.substr(prefix.size());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  throw std::runtime_error(fmt::format("no line `{}` in {}", prefix, log_));
}

double Process::cpu_seconds() const {
  // Fields 14 and 15 of proc(5) stat, counted after the name, which may hold spaces.
  const std::string stat = read_file(fmt::format("/proc/{}/stat", pid_));
  std::istringstream fields(stat.substr(stat.rfind(')') + 2));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double Process::peak_megabytes() const {
  std::istringstream lines(read_file(fmt::format("/proc/{}/status", pid_)));
  for (std::string word; lines >> word;) {
    if (word != "VmHWM:") continue;
    double kilobytes = 0;
    lines >> kilobytes;
    return kilobytes / 1024;
  }
  return 0;
}

}  // namespace millrace::bench
