#pragma once

#include <optional>

namespace millrace {

/// Turns SIGINT, SIGTERM and SIGHUP into a readable file descriptor, and ignores SIGPIPE and
/// SIGXFSZ. Made by main() before any thread starts, so that every thread inherits the mask.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  /// The next signal that arrived, without blocking.
  [[nodiscard]] std::optional<int> take() const;

 private:
  int fd_ = -1;
};

}  // namespace millrace
