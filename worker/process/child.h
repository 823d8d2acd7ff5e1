#pragma once

#include <string>
#include <string_view>

#include "common/util/descriptor.h"
#include "worker/loop/event_loop.h"
#include "worker/process/nursery.h"

namespace millrace::worker {

/// A program that was started, as the loop that talks to it sees it: its three pipes, what waits to
/// be written to it, the end of what it wrote to stderr. The loop's thread.
class Child final : private FdListener {
 public:
  class Listener {
   public:
    /// A part of its stdout. Neither call may destroy the child.
    virtual void on_output(Child& child, std::string_view part) = 0;
    /// It closed its stdout, or ended.
    virtual void on_output_closed(Child& child) = 0;

   protected:
    ~Listener() = default;
  };

  /// Asks the nursery for it. Throws std::system_error when there are no descriptors left or the
  /// nursery is lost.
  Child(EventLoop& loop, const Nursery& nursery, const SpawnRequest& request, Listener& listener);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] std::uint64_t id() const { return id_; }
  [[nodiscard]] pid_t pid() const { return pid_; }  ///< 0 until it is started
  void started(pid_t pid) { pid_ = pid; }

  /// Kept until the child takes it.
  void write(std::string bytes);
  /// Once everything is written.
  void close_input();
  void kill() const { nursery_.kill(id_); }

  /// Leaves what it writes to stdout in the pipe, so that it has to wait.
  void pause_output(bool paused);
  /// What is still in the pipes of a child that has ended.
  void drain();
  [[nodiscard]] std::uint64_t error_bytes() const { return error_bytes_; }
  /// Forgets what it wrote to stderr so far: the next run begins.
  void forget_errors();
  /// The last lines of stderr, UTF-8, at most kErrorTailMax bytes; empty: it wrote none.
  [[nodiscard]] std::string error_tail() const;

 private:
  void on_events(int fd, std::uint32_t events) override;
  void read_output();
  void read_errors();
  void flush();

  EventLoop& loop_;
  const Nursery& nursery_;
  Listener& listener_;
  std::uint64_t id_;
  pid_t pid_ = 0;
  Descriptor input_;   // what the child reads
  Descriptor output_;  // its stdout
  Descriptor errors_;  // its stderr
  std::string unwritten_;
  bool input_watched_ = false;
  bool input_closing_ = false;
  std::string tail_;
  std::uint64_t error_bytes_ = 0;
};

inline constexpr std::size_t kErrorTailMax = 2048;

}  // namespace millrace::worker
