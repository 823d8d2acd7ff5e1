#pragma once

// The two lines between the front and the threads that touch the disk. The implementations live
// beside what they drive; app.cpp connects them.

#include <cstdint>
#include <variant>
#include <vector>

#include "broker/engine/effects.h"

namespace millrace::broker {

/// One batch for the store: commit, then load, then fetch payloads.
struct CommitTask {
  std::uint64_t number = 0;
  WriteBatch writes;
  std::vector<Load> loads;
  std::vector<JobId> payloads;
};
struct CommitDone {
  std::uint64_t number = 0;
  std::vector<Loaded> loaded;
  std::vector<Payload> payloads;  ///< in the order of CommitTask::payloads
};

/// To the thread that owns the store. Called by one thread.
class CommitPort {
 public:
  virtual ~CommitPort() = default;
  /// Never blocks: the front keeps at most two under way.
  virtual void submit(CommitTask task) = 0;
  /// What the store may still write, as of its last commit or second. Any time.
  [[nodiscard]] virtual std::uint64_t free_bytes() const = 0;
  /// What is finished, in the order of submission. Throws what the store threw: the broker ends.
  virtual std::vector<CommitDone> take_done() = 0;
};

using ReadAnswer = std::variant<ResultsRead, JobRead, Reply>;

/// To the thread that owns the reading connection. Called by one thread.
class ReadPort {
 public:
  virtual ~ReadPort() = default;
  virtual void submit(Read read) = 0;
  virtual std::vector<ReadAnswer> take_done() = 0;
};

}  // namespace millrace::broker
