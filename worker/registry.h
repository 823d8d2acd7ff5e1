#pragma once

#include <millrace/handler.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

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
  protocol::KindOptions options = {};     ///< what its author says of its jobs
  AsyncHandler async = {};                ///< for the event loop
  AsyncFactory make_async = {};           ///< where there is no `async`; neither: not on the loop
  std::vector<std::string> command = {};  ///< a program runs it; then there is no handler
  bool once = false;                      ///< the program is started anew for each job

  [[nodiscard]] bool can_loop() const { return async || make_async; }
};

/// The kinds a worker offers. Filled before any thread starts, read by all afterwards.
class Registry {
 public:
  /// `name` must satisfy is_name(); a later kind of the same name takes the place of an earlier
  /// one.
  void add(std::string name, Kind kind);
  /// `name` must be there.
  void move(std::string_view name, std::string pool);
  void remove(std::string_view name);

  [[nodiscard]] const Kind* find(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, Kind, std::less<>>& kinds() const { return kinds_; }

 private:
  std::map<std::string, Kind, std::less<>> kinds_;
};

}  // namespace millrace::worker
