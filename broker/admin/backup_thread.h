#pragma once

#include <exception>
#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "broker/engine/effects.h"
#include "common/util/mutex.h"
#include "common/util/wakeup.h"

namespace millrace::broker {

/// Thread `mr-backup`, there while a copy is made: a large one takes minutes, in which nobody else
/// has to wait. Used by one thread.
class BackupThread {
 public:
  /// Copies the database to a path of the broker's machine; runs on `mr-backup`. What it throws is
  /// the answer: a StoreError with its code, anything else as storage_failed. It should end early
  /// when it is told to stop.
  using Make = std::function<protocol::BackedUp(const std::string& path, std::stop_token)>;

  /// `done` is notified after every answer and must outlive this.
  BackupThread(Make make, const Wakeup& done);
  /// Gives up the copy under way.
  ~BackupThread() = default;
  BackupThread(const BackupThread&) = delete;
  BackupThread& operator=(const BackupThread&) = delete;

  /// Begins; answered with busy when a copy is under way.
  void submit(const MakeBackup& request);
  /// What was answered since the last call.
  std::vector<Reply> take_done();

 private:
  void run(const MakeBackup& request, std::stop_token stop);
  void answer(const MakeBackup& request, protocol::Message message);

  const Make make_;
  const Wakeup& done_wakeup_;
  Mutex mutex_;
  bool is_busy_ MR_GUARDED_BY(mutex_) = false;
  std::vector<Reply> done_ MR_GUARDED_BY(mutex_);
  std::jthread thread_;  ///< last: it uses the others until it has ended
};

}  // namespace millrace::broker
