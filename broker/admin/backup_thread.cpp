#include "broker/admin/backup_thread.h"

#include <utility>

#include "broker/engine/store_error.h"
#include "common/util/thread.h"

namespace millrace::broker {

BackupThread::BackupThread(Make make, const Wakeup& done)
    : make_(std::move(make)), done_wakeup_(done) {}

void BackupThread::submit(const MakeBackup& request) {
  bool busy = true;
  {
    Lock lock(mutex_);
    std::swap(busy, is_busy_);
  }
  if (busy)
    return answer(
        request, protocol::make_error({ErrorCode::busy, "a backup is being made", Duration{1000}}));
  if (thread_.joinable()) thread_.join();  // it has answered: it only has to go
  thread_ = std::jthread([this, request](std::stop_token stop) { run(request, std::move(stop)); });
}

std::vector<Reply> BackupThread::take_done() {
  Lock lock(mutex_);
  return std::exchange(done_, {});
}

void BackupThread::run(const MakeBackup& request, std::stop_token stop) {
  name_thread("mr-backup");
  protocol::Message message;
  try {
    message = make_(request.path, std::move(stop));
  } catch (const StoreError& error) {
    message = protocol::make_error({error.code(), error.what(), {}});
  } catch (const std::exception& error) {
    message = protocol::make_error({ErrorCode::storage_failed, error.what(), {}});
  }
  {
    Lock lock(mutex_);
    is_busy_ = false;
  }
  answer(request, std::move(message));
}

void BackupThread::answer(const MakeBackup& request, protocol::Message message) {
  {
    Lock lock(mutex_);
    done_.push_back({request.to, request.correlation, std::move(message)});
  }
  done_wakeup_.notify();
}

}  // namespace millrace::broker
