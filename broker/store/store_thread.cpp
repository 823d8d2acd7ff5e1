#include "broker/store/store_thread.h"

#include <utility>

#include "common/util/instrument.h"
#include "common/util/thread.h"

namespace millrace::broker {
namespace {

constexpr std::size_t kTasksMax = 16;
/// Housekeeping happens at least this often, also when nobody writes.
constexpr std::chrono::milliseconds kMaintainEvery{1000};

}  // namespace

StoreThread::StoreThread(Make make, const Wakeup& done)
    : done_wakeup_(done),
      tasks_(kTasksMax),
      thread_([this, make = std::move(make)] { run(make); }) {
  std::exception_ptr failure;
  {
    Lock lock(mutex_);
    while (!is_started_ && !failure_) started_.wait(mutex_);
    failure = failure_;
  }
  if (failure) std::rethrow_exception(failure);
}

StoreThread::~StoreThread() {
  tasks_.close();
  if (thread_.joinable()) thread_.join();
}

void StoreThread::submit(CommitTask task) { tasks_.push(std::move(task)); }

std::vector<CommitDone> StoreThread::take_done() {
  Lock lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
  return std::exchange(done_, {});
}

void StoreThread::run(const Make& make) {
  name_thread("mr-store");
  try {
    const std::unique_ptr<Store> store = make();
    snapshot_ = store->start();
    free_bytes_ = store->free_bytes();
    {
      Lock lock(mutex_);
      is_started_ = true;
      started_.notify_all();
    }
    serve(*store);
  } catch (...) {
    Lock lock(mutex_);
    failure_ = std::current_exception();
    started_.notify_all();
  }
  // Nobody may wait for a store that is gone.
  tasks_.close();
  done_wakeup_.notify();
}

void StoreThread::serve(Store& store) {
  while (true) {
    auto task = tasks_.pop_for(kMaintainEvery);
    if (task) {
      CommitDone done{task->number, {}, {}};
      if (!task->writes.empty()) {
        instrument::crash_point("broker.before_commit");
        store.commit(task->writes);
        instrument::crash_point("broker.after_commit");
      }
      for (const Load& load : task->loads) done.loaded.push_back(store.load(load));
      if (!task->payloads.empty()) done.payloads = store.payloads(task->payloads);
      free_bytes_ = store.free_bytes();
      finish(std::move(done));
    } else if (tasks_.closed()) {
      return;
    }
    store.maintain();
    if (!task) free_bytes_ = store.free_bytes();
  }
}

void StoreThread::finish(CommitDone done) {
  {
    Lock lock(mutex_);
    done_.push_back(std::move(done));
  }
  done_wakeup_.notify();
}

}  // namespace millrace::broker
