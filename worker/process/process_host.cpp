#include "worker/process/process_host.h"

#include <sys/epoll.h>

#include <stdexcept>
#include <utility>

#include "common/util/log.h"
#include "common/util/thread.h"

namespace millrace::worker {

ProcessHost::ProcessHost(Nursery nursery, std::function<void()> on_lost)
    : nursery_(std::move(nursery)), on_lost_(std::move(on_lost)) {
  post([this] { loop_.watch(nursery_.fd(), EPOLLIN, *this); });
  thread_ = std::jthread([this] {
    name_thread("mr-children");
    loop_.run();
  });
}

ProcessHost::~ProcessHost() { loop_.stop(); }

std::unique_ptr<Child> ProcessHost::spawn(SpawnRequest request, Listener& listener) {
  request.id = ++last_id_;
  auto child = std::make_unique<Child>(loop_, nursery_, request, listener);
  children_.emplace(child->id(), Entry{child.get(), &listener});
  return child;
}

void ProcessHost::on_events(int fd, std::uint32_t) {
  try {
    for (const NurseryReport& report : nursery_.take()) tell(report);
  } catch (const std::runtime_error& error) {
    log::error("{}; its children are gone with it", error.what());
    loop_.unwatch(fd);
    for (const auto& [id, entry] : std::exchange(children_, {}))
      entry.listener->on_ended(*entry.child, {.id = id, .error = error.what()});
    on_lost_();
  }
}

void ProcessHost::tell(const NurseryReport& report) {
  const auto found = children_.find(report.id);
  if (found == children_.end()) return;
  const Entry entry = found->second;
  switch (report.report_kind()) {
    case ReportKind::started:
      entry.child->started(report.pid);
      entry.listener->on_started(*entry.child);
      break;
    case ReportKind::not_started:
      children_.erase(found);
      entry.listener->on_not_started(*entry.child, report.error);
      break;
    case ReportKind::ended:
      children_.erase(found);
      entry.listener->on_ended(*entry.child, report);
      break;
  }
}

}  // namespace millrace::worker
