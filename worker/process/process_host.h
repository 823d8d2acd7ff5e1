#pragma once

#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "worker/loop/event_loop.h"
#include "worker/process/child.h"
#include "worker/process/nursery.h"

namespace millrace::worker {

/// The thread `mr-children`: one loop that talks to the nursery and to the children of all pools.
class ProcessHost final : private FdListener {
 public:
  /// How a child that was asked for fares; the loop's thread.
  class Listener : public Child::Listener {
   public:
    virtual void on_started(Child& child) = 0;
    virtual void on_not_started(Child& child, const std::string& error) = 0;
    /// The last word of a child; it may be destroyed now.
    virtual void on_ended(Child& child, const NurseryReport& report) = 0;

   protected:
    ~Listener() = default;
  };

  /// `on_lost` is called on the loop's thread when the nursery was killed: no child lives then, and
  /// none can be started any more.
  ProcessHost(Nursery nursery, std::function<void()> on_lost);
  /// Stops the loop and lets the nursery kill what is left.
  ~ProcessHost();
  ProcessHost(const ProcessHost&) = delete;
  ProcessHost& operator=(const ProcessHost&) = delete;

  /// Any thread: `callback` runs on the loop's thread, soon.
  void post(EventLoop::Callback callback) { loop_.inbox()->post(std::move(callback)); }

  // ---- the loop's thread -----------------------------------------------------------------------
  [[nodiscard]] EventLoop& loop() { return loop_; }
  /// `request.id` is given here. `listener` must outlive the child. Throws std::system_error.
  [[nodiscard]] std::unique_ptr<Child> spawn(SpawnRequest request, Listener& listener);
  /// Nothing more is told of it.
  void forget(const Child& child) { children_.erase(child.id()); }

 private:
  struct Entry {
    Child* child;
    Listener* listener;
  };

  void on_events(int fd, std::uint32_t events) override;
  void tell(const NurseryReport& report);

  Nursery nursery_;
  std::function<void()> on_lost_;
  EventLoop loop_;
  std::map<std::uint64_t, Entry> children_;
  std::uint64_t last_id_ = 0;
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace millrace::worker
