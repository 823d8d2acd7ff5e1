#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "broker/admin/backup_thread.h"
#include "broker/engine/ports.h"
#include "broker/store/query.h"
#include "common/util/bounded_queue.h"
#include "common/util/wakeup.h"

namespace millrace::broker {

/// Thread `mr-read`: one read-only connection, for lists, single jobs, their outputs, and results
/// that a watcher has to catch up with. Backups are made beside it, on a thread of their own.
class ReadThread final : public ReadPort {
 public:
  using Make = std::function<std::unique_ptr<Query>()>;

  /// `done` is notified after every answer and must outlive this.
  ReadThread(Make make, BackupThread::Make backup, const Wakeup& done);
  ~ReadThread() override;

  void submit(Read read) override;
  std::vector<ReadAnswer> take_done() override;

 private:
  void run(const Make& make);

  const Wakeup& done_wakeup_;
  BoundedQueue<Read> reads_;
  Mutex mutex_;
  std::vector<ReadAnswer> done_ MR_GUARDED_BY(mutex_);
  std::exception_ptr failure_ MR_GUARDED_BY(mutex_);
  BackupThread backups_;
  std::jthread thread_;
};

}  // namespace millrace::broker
