#include "bench/processes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace millrace::bench {
namespace {

// A signal handler can reach nothing but what is global. Zero: free.
std::array<std::atomic<pid_t>, 64> running{};

void remember(pid_t pid) {
  for (std::atomic<pid_t>& slot : running) {
    pid_t free = 0;
    if (slot.compare_exchange_strong(free, pid)) return;
  }
}

void forget(pid_t pid) {
  for (std::atomic<pid_t>& slot : running) {
    pid_t expected = pid;
    if (slot.compare_exchange_strong(expected, 0)) return;
  }
}

void end_all(int number) {
  for (const std::atomic<pid_t>& slot : running)
    if (const pid_t pid = slot.load(); pid > 0) kill(pid, SIGTERM);
  _exit(128 + number);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

double read_clock(clockid_t id) {
  timespec time{};
  clock_gettime(id, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

Process::Process(const std::vector<std::string>& words, std::string log) : log_(std::move(log)) {
  std::vector<std::string> copies = words;
  std::vector<char*> arguments;
  arguments.reserve(copies.size() + 1);
  for (std::string& word : copies) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_.c_str(),
                                   O_CREAT | O_WRONLY | O_TRUNC | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  const int failed =
      posix_spawnp(&pid_, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw std::runtime_error(fmt::format("cannot start {}", words[0]));
  remember(pid_);
}

Process::~Process() {
  if (!ended_) kill(pid_, SIGTERM);
  wait();
}

/// True when it has ended.
bool Process::reap(int options) {
  if (ended_) return true;
  int status = 0;
  rusage usage{};
  pid_t reaped = -1;
  do {
    reaped = wait4(pid_, &status, options, &usage);
  } while (reaped < 0 && errno == EINTR);
  if (reaped != pid_) return false;
  forget(pid_);
  cpu_at_end_ = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  ended_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

int Process::wait() {
  reap(0);
  return ended_.value_or(-1);
}

bool Process::is_running() { return !reap(WNOHANG); }

void Process::signal(int number) const {
  if (!ended_) kill(pid_, number);
}

std::string Process::printed() const { return read_file(log_); }

std::string Process::wait_for_line(const std::string& text) const {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  std::string seen;
  while (std::chrono::steady_clock::now() < deadline) {
    seen = printed();
    const std::size_t found = seen.find(text);
    const std::size_t end = found == std::string::npos ? found : seen.find('\n', found);
    if (end != std::string::npos)
      return seen.substr(found + text.size(), end - found - text.size());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  throw std::runtime_error(fmt::format("no line with `{}`, only:\n{}", text, seen));
}

double Process::cpu_seconds() const {
  clockid_t id{};
  if (ended_ || clock_getcpuclockid(pid_, &id) != 0) return cpu_at_end_;
  return read_clock(id);
}

double Process::memory_megabytes(const std::string& name) const {
  std::istringstream lines(read_file(fmt::format("/proc/{}/status", pid_)));
  for (std::string word; lines >> word;) {
    if (word != name + ":") continue;
    double kilobytes = 0;
    lines >> kilobytes;
    return kilobytes / 1024;
  }
  return 0;
}

double own_cpu_seconds() { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

void end_processes_on_signals() {
  struct sigaction action {};
  action.sa_handler = end_all;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
}

}  // namespace millrace::bench
