#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "broker/engine/ports.h"
#include "broker/store/store.h"
#include "common/util/bounded_queue.h"
#include "common/util/wakeup.h"

namespace millrace::broker {

/// Thread `mr-store`: makes the store, and is the only one that writes and checkpoints.
class StoreThread final : public CommitPort {
 public:
  using Make = std::function<std::unique_ptr<Store>()>;

  /// Blocks until the store is open and its snapshot read. Throws what `make` or `start` threw.
  /// `done` is notified after every finished task and must outlive this.
  StoreThread(Make make, const Wakeup& done);
  /// Finishes what was submitted, then closes the store.
  ~StoreThread() override;

  /// What the engine starts from. Once.
  [[nodiscard]] Snapshot take_snapshot() { return std::move(snapshot_); }

  void submit(CommitTask task) override;
  [[nodiscard]] std::uint64_t free_bytes() const override { return free_bytes_; }
  std::vector<CommitDone> take_done() override;

 private:
  void run(const Make& make);
  void serve(Store& store);
  void finish(CommitDone done);

  const Wakeup& done_wakeup_;
  BoundedQueue<CommitTask> tasks_;
  Mutex mutex_;
  Condition started_;
  bool is_started_ MR_GUARDED_BY(mutex_) = false;
  std::vector<CommitDone> done_ MR_GUARDED_BY(mutex_);
  std::exception_ptr failure_ MR_GUARDED_BY(mutex_);
  Snapshot snapshot_;
  std::atomic<std::uint64_t> free_bytes_{std::numeric_limits<std::uint64_t>::max()};
  std::jthread thread_;
};

}  // namespace millrace::broker
