#pragma once

#include <sys/types.h>

#include <array>
#include <string>
#include <vector>

#include "common/util/descriptor.h"
#include "worker/process/nursery_messages.h"

namespace millrace::worker {

/// The worker's end of its *nursery*: a small process of one thread that starts the children and
/// outlives the worker for as long as it takes to kill them.
///
/// A process with threads must not fork: the child would have the memory of all of them, their
/// locks held for ever, and only one of them running. So the nursery is forked before the first
/// thread, and forks in the worker's place. It adopts what the children leave behind
/// (PR_SET_CHILD_SUBREAPER), and when the worker's end of the socket closes, also by kill -9, it
/// kills everything and ends.
class Nursery {
 public:
  /// Forks. To be called while this process has one thread, before any socket or database is open.
  /// Throws std::system_error.
  [[nodiscard]] static Nursery launch();
  /// Ends it, and with it all children; waits for that, for a second at most.
  ~Nursery();
  Nursery(Nursery&&) = default;
  Nursery& operator=(Nursery&&) = delete;

  /// Readable when there are reports, or when the nursery is lost.
  [[nodiscard]] int fd() const { return socket_.get(); }

  /// Asks for a child with these as its 0, 1 and 2; a report follows. Does not block for longer
  /// than the nursery takes to start a program. Throws std::system_error when the nursery is lost
  /// or the request is too long.
  void spawn(const SpawnRequest& request, const std::array<int, 3>& fds) const;
  /// Asks for the end of a child and of all that descends from it; `ended` follows.
  void kill(std::uint64_t id) const;
  /// What is there, without blocking. Throws std::runtime_error when the nursery is lost.
  [[nodiscard]] std::vector<NurseryReport> take() const;

 private:
  Nursery(Descriptor socket, pid_t pid) : socket_(std::move(socket)), pid_(pid) {}
  void send(const NurseryRequest& request, const int* fds, std::size_t count) const;

  Descriptor socket_;
  pid_t pid_;
};

}  // namespace millrace::worker
