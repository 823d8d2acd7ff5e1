#include "worker/loop/event_loop.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <system_error>

#include "common/assert.h"
#include "common/limits.h"

namespace millrace::worker {
namespace {

/// Of a turn. Few, so that what has ended is told, and the next runs come, while others still wait
/// for their turn.
constexpr std::size_t kEventsMax = 32;
constexpr std::uint64_t kPosted = UINT64_MAX;  // the event of the inbox
constexpr auto kWaitMax = std::chrono::hours(1);

[[noreturn]] void fail_with_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

EventLoop::EventLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)), events_(kEventsMax) {
  if (epoll_ < 0) fail_with_errno("epoll_create1");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kPosted;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, inbox_->wakeup().fd(), &event) != 0) {
    close(epoll_);
    fail_with_errno("epoll_ctl");
  }
}

EventLoop::~EventLoop() {
  inbox_->close();
  close(epoll_);
}

void EventLoop::run() {
  owner_.adopt();
  inbox_->open();
  while (!stopping_) turn();
}

void EventLoop::stop() {
  inbox_->post([this] { stopping_ = true; });
}

void EventLoop::turn() {
  const int got = epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), wait_ms());
  MR_ASSERT(got >= 0 || errno == EINTR, "epoll_wait: errno {}", errno);
  const std::span<const epoll_event> events(events_.data(),
                                            static_cast<std::size_t>(std::max(got, 0)));
  for (const epoll_event& event : events)
    if (event.data.u64 == kPosted) run_posted();
  for (const epoll_event& event : events) {
    if (event.data.u64 == kPosted) continue;
    const auto fd = static_cast<std::size_t>(event.data.u64 & UINT32_MAX);
    const Watch& watch = watches_[fd];
    if (watch.listener != nullptr && watch.generation == event.data.u64 >> 32U)
      watch.listener->on_events(static_cast<int>(fd), event.events);
  }
  run_timers();
  if (turn_end_) turn_end_();
}

void EventLoop::run_posted() {
  inbox_->wakeup().clear();
  for (Callback& callback : inbox_->take()) {
    callback();
    callback = nullptr;  // what it holds goes now, not after all the others
  }
}

/// Those that are set meanwhile wait for the next turn, so that a timer of 0 that sets itself again
/// cannot keep everything else waiting.
void EventLoop::run_timers() {
  const TimerKey limit{Clock::now(), timers_made_};
  while (!timers_.empty() && timers_.begin()->first <= limit) {
    const Callback callback = std::move(timers_.extract(timers_.begin()).mapped());
    callback();
  }
}

/// Rounded up: a timer never comes too early, and the loop does not spin in the last millisecond.
int EventLoop::wait_ms() const {
  if (stopping_) return 0;
  Clock::duration wait = kWaitMax;
  if (!timers_.empty())
    wait = std::clamp<Clock::duration>(timers_.begin()->first.first - Clock::now(),
                                       Clock::duration::zero(), kWaitMax);
  return static_cast<int>(std::chrono::ceil<Duration>(wait).count());
}

EventLoop::TimerKey EventLoop::after(Duration delay, Callback callback) {
  owner_.check();
  const TimerKey key{Clock::now() + std::clamp(delay, Duration{0}, kDurationMax), ++timers_made_};
  timers_.emplace(key, std::move(callback));
  return key;
}

void EventLoop::cancel(const TimerKey& key) {
  owner_.check();
  // What the callback holds may come back here while it goes.
  const auto dropped = timers_.extract(key);
}

void EventLoop::watch(int fd, std::uint32_t events, FdListener& listener) {
  owner_.check();
  if (fd < 0) throw std::system_error(EBADF, std::generic_category(), "watch");
  const auto index = static_cast<std::size_t>(fd);
  if (index >= watches_.size()) watches_.resize(index + 1);
  Watch& watch = watches_[index];
  const bool is_new = watch.listener == nullptr;
  if (!is_new && watch.events == events && watch.listener == &listener) return;
  const std::uint32_t generation = watch.generation + (is_new ? 1 : 0);
  epoll_event event{};
  event.events = events;
  event.data.u64 = static_cast<std::uint64_t>(generation) << 32U | static_cast<std::uint32_t>(fd);
  if (epoll_ctl(epoll_, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) != 0)
    fail_with_errno("watch");
  watch = {&listener, events, generation};
}

void EventLoop::unwatch(int fd) {
  owner_.check();
  const auto index = static_cast<std::size_t>(fd);
  if (fd < 0 || index >= watches_.size() || watches_[index].listener == nullptr) return;
  watches_[index].listener = nullptr;
  epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

}  // namespace millrace::worker
