#pragma once

#include <millrace/handler.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "common/errors.h"
#include "common/protocol/messages.h"

namespace millrace::worker {

class EventLoop;

/// What a kind that is at home on the event loop may use of it.
struct LoopServices {
  EventLoop& loop;
  std::size_t slots = 0;       ///< runs at once
  std::size_t host_limit = 0;  ///< requests to one host at once; 0: no limit
};
/// Makes the handler of one event loop, on its thread; the handler ends there, before the loop.
using AsyncFactory = std::function<AsyncHandler(const LoopServices&)>;

/// A kind of job: where it runs and what runs it.
struct Kind {
  std::string pool;
  Handler handler;
  protocol::KindOptions options = {};  ///< what its author says of its jobs
  AsyncHandler async = {};             ///< for the event loop
  AsyncFactory make_async = {};        ///< where there is no `async`; neither: not on the loop

  [[nodiscard]] bool can_loop() const { return async || make_async; }
};

/// The kinds a worker offers. Filled before any thread starts, read by all afterwards.
class Registry {
 public:
  /// `name` must satisfy is_name(); a later kind of the same name takes the place of an earlier
  /// one.
  void add(std::string name, Kind kind);
  /// From here on the kind runs in this pool. Errors: usage, when it is unknown or its author made
  /// it for other pools.
  [[nodiscard]] Status move(std::string_view name, const std::string& pool);
  /// Nothing of this pool is offered.
  void remove_pool(std::string_view pool);

  [[nodiscard]] const Kind* find(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, Kind, std::less<>>& kinds() const { return kinds_; }

 private:
  std::map<std::string, Kind, std::less<>> kinds_;
};

}  // namespace millrace::worker
