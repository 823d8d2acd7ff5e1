#include "broker/admin/read_thread.h"

#include <utility>

#include "broker/admin/inspect.h"
#include "common/assert.h"
#include "common/util/thread.h"

namespace millrace::broker {
namespace {

/// Every peer may have a page or two under way.
constexpr std::size_t kReadsMax = 100'000;

struct Answer {
  Query& query;

  ReadAnswer operator()(const ReadResults& read) const { return query.results(read); }
  ReadAnswer operator()(const ReadJob& read) const { return inspect_job(query, read); }
  ReadAnswer operator()(const Inspect& request) const { return inspect(query, request); }
  ReadAnswer operator()(const MakeBackup& request) const {
    MR_ASSERT(false, "backup `{}` came to the wrong thread", request.path);
    return Reply{};
  }
};

}  // namespace

ReadThread::ReadThread(Make make, BackupThread::Make backup, const Wakeup& done)
    : done_wakeup_(done),
      reads_(kReadsMax),
      backups_(std::move(backup), done),
      thread_([this, make = std::move(make)] { run(make); }) {}

ReadThread::~ReadThread() {
  reads_.close();
  if (thread_.joinable()) thread_.join();
}

void ReadThread::submit(Read read) {
  if (const auto* backup = std::get_if<MakeBackup>(&read)) {
    backups_.submit(*backup);
  } else if (auto* inspect = std::get_if<Inspect>(&read)) {
    const Reply busy{
        inspect->to, inspect->correlation,
        protocol::make_error({ErrorCode::busy, "too many questions are waiting", Duration{1000}})};
    if (reads_.try_push(std::move(read))) return;
    Lock lock(mutex_);
    done_.emplace_back(busy);
  } else {
    reads_.push(std::move(read));
  }
}

std::vector<ReadAnswer> ReadThread::take_done() {
  std::vector<ReadAnswer> answers;
  {
    Lock lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
    answers = std::exchange(done_, {});
  }
  for (Reply& reply : backups_.take_done()) answers.emplace_back(std::move(reply));
  return answers;
}

void ReadThread::run(const Make& make) {
  name_thread("mr-read");
  try {
    const std::unique_ptr<Query> query = make();
    while (auto read = reads_.pop()) {
      ReadAnswer answer = std::visit(Answer{*query}, *read);
      {
        Lock lock(mutex_);
        done_.push_back(std::move(answer));
      }
      done_wakeup_.notify();
    }
  } catch (...) {
    {
      Lock lock(mutex_);
      failure_ = std::current_exception();
    }
    reads_.close();
    done_wakeup_.notify();
  }
}

}  // namespace millrace::broker
