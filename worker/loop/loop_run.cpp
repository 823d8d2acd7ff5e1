#include "worker/loop/loop_run.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace millrace::worker {

static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLPRI == EPOLLPRI &&
              POLLERR == EPOLLERR && POLLHUP == EPOLLHUP);

void LoopRun::end() {
  ended_ = true;
  for (const EventLoop::TimerKey& key : std::exchange(timers_, {})) loop_.cancel(key);
  while (!watches_.empty()) unwatch(watches_.begin());
  const auto dropped = std::exchange(on_stop_, nullptr);
}

void LoopRun::after(Duration delay, std::function<void()> callback) {
  if (ended_) return;
  // The key is known once the timer is set; the callback finds it where both have put it.
  auto key = std::make_shared<EventLoop::TimerKey>();
  *key = loop_.after(delay, [this, key, callback = std::move(callback)] {
    timers_.erase(*key);
    callback();
  });
  timers_.insert(*key);
}

void LoopRun::on_stop(std::function<void()> callback) {
  loop_.check_thread();
  if (ended_) return;
  on_stop_ = std::move(callback);
  if (source.stop_requested()) tell_stop();
}

void LoopRun::tell_stop() {
  if (const auto callback = std::exchange(on_stop_, nullptr)) callback();
}

/// The loop gets a duplicate. So it may be watched by several runs at once, and a handler that
/// closes its own before the watch has ended does not leave the loop with the number of a
/// descriptor that is somebody else's by then.
void LoopRun::watch(int fd, short events, std::function<void(short)> callback) {
  if (ended_) return;
  const auto found = watches_.find(fd);
  if (events == 0) {
    if (found != watches_.end()) unwatch(found);
    return;
  }
  const int own = found != watches_.end() ? found->second.fd : fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) throw std::system_error(errno, std::generic_category(), "watch");
  try {
    loop_.watch(own, static_cast<std::uint32_t>(static_cast<unsigned short>(events)), *this);
  } catch (...) {
    if (found == watches_.end()) close(own);
    throw;
  }
  watches_[fd] = {own, std::make_shared<const std::function<void(short)>>(std::move(callback))};
}

void LoopRun::unwatch(Watches::iterator found) {
  const Watch dropped = watches_.extract(found).mapped();
  loop_.unwatch(dropped.fd);
  close(dropped.fd);
}

void LoopRun::on_events(int fd, std::uint32_t events) {
  const auto found = std::find_if(watches_.begin(), watches_.end(),
                                  [&](const auto& entry) { return entry.second.fd == fd; });
  if (found == watches_.end()) return;
  // It may end its own watch, or the run.
  const auto callback = found->second.callback;
  (*callback)(static_cast<short>(events));
}

}  // namespace millrace::worker
