#pragma once

#include <millrace/handler.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/protocol/messages.h"

namespace millrace::worker {

/// A kind of job: where it runs and what runs it.
struct Kind {
  std::string pool;
  Handler handler;
  protocol::KindOptions options = {};  ///< what its author says of its jobs
  AsyncHandler async = {};             ///< for the event loop; empty: it cannot run there
  std::vector<std::string> command = {};  ///< a program runs it; then there is no handler
  bool once = false;                      ///< the program is started anew for each job
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
  void remove_pool(std::string_view pool);

  [[nodiscard]] const Kind* find(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, Kind, std::less<>>& kinds() const { return kinds_; }

 private:
  std::map<std::string, Kind, std::less<>> kinds_;
};

}  // namespace millrace::worker
