#pragma once

namespace millrace {

/// Wakes one thread that polls `fd()`. `notify` may be called from any thread and from a signal
/// handler; many notifications before a `clear` count as one.
class Wakeup {
 public:
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  void notify() const noexcept;
  void clear() const noexcept;

 private:
  int fd_ = -1;
};

}  // namespace millrace
