#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "common/errors.h"
#include "common/types.h"

namespace millrace::producer {

/// What a program is started with.
struct ChildPlan {
  std::vector<std::string> words;  ///< the program, found as a shell finds it, and its arguments
  /// `NAME=VALUE`, besides what this process has.
  std::vector<std::string> environment = {};
  /// Without this process's variables that begin with MILLRACE_.
  bool without_settings = false;
  std::string in = "/dev/null";
  std::string out = "/dev/null";
  std::string err = "/dev/null";
};

/// A program that this one started and ends: it gets SIGKILL when this process dies, and a session
/// of its own, so that Ctrl-C reaches this process only and the scheduler takes it for one program.
/// Belongs to the thread that made it, which must live as long.
class Child {
 public:
  /// Errors: no_input, when there is no such program; internal, when the system cannot start it.
  [[nodiscard]] static Result<Child> start(const ChildPlan& plan);
  Child(Child&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)),
        fd_(std::exchange(other.fd_, -1)),
        status_(other.status_),
        ended_(other.ended_) {}
  Child& operator=(Child&&) = delete;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  /// kill()
  ~Child();

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Readable once it has ended.
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] bool has_ended();
  /// Asks it to end and blocks until it has; kills it after `patience`.
  void end(Duration patience);
  void kill();
  /// How it ended, for people: `signal 11 (SEGV)`, `exit code 70`.
  [[nodiscard]] std::string ending() const;
  [[nodiscard]] bool was_signalled() const;

 private:
  Child(pid_t pid, int fd) : pid_(pid), fd_(fd) {}
  void wait();

  pid_t pid_;
  int fd_;
  int status_ = 0;
  bool ended_ = false;
};

/// While it lives, processes that lose their parent below this one come to this one, and its
/// destructor ends them: what a killed worker leaves behind has a moment to end by itself, then it
/// is killed. Children that were there before are left alone. Destroyed after every Child.
class OrphanKeeper {
 public:
  OrphanKeeper();
  ~OrphanKeeper();
  OrphanKeeper(const OrphanKeeper&) = delete;
  OrphanKeeper& operator=(const OrphanKeeper&) = delete;

 private:
  std::vector<pid_t> before_;
};

}  // namespace millrace::producer
