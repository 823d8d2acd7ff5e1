#include "broker/app.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/statvfs.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <thread>

#include "broker/admin/read_thread.h"
#include "broker/engine/engine.h"
#include "broker/front/front.h"
#include "broker/front/router.h"
#include "broker/store/sqlite_query.h"
#include "broker/store/sqlite_store.h"
#include "broker/store/store_thread.h"
#include "common/util/clock.h"
#include "common/util/log.h"
#include "common/util/parse.h"
#include "common/util/random.h"
#include "millrace_version.h"

namespace millrace::broker {
namespace {

constexpr int kSpaceCheckEveryMs = 1000;

/// Bytes that the file system of `path` has left for us; nothing when it cannot be asked.
std::optional<std::uint64_t> free_bytes(const std::string& path) {
  const auto folder = std::filesystem::absolute(path).parent_path();
  struct statvfs info {};
  if (statvfs(folder.c_str(), &info) != 0) return std::nullopt;
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

/// Tells the front when free space falls below the limit, and when it is back.
void watch_space(const AppOptions& options, Front::Signals& signals) {
  const auto free = free_bytes(options.db);
  const bool full = free && *free < options.min_free_bytes;
  if (full == signals.storage_full) return;
  signals.storage_full = full;
  signals.wakeup.notify();
  if (full) {
    log::error("{} free beside {}, below --min-free {}: new jobs are refused, running ones go on",
               format_size(*free), options.db, format_size(options.min_free_bytes));
  } else {
    log::info("there is space again beside {}: new jobs are accepted", options.db);
  }
}

std::unique_ptr<Store> open_store(const std::string& path) {
  SqliteOptions options;
  options.path = path;
  return std::make_unique<SqliteStore>(std::move(options));
}

std::unique_ptr<Query> open_query(const std::string& path) {
  SqliteQueryOptions options;
  options.path = path;
  return std::make_unique<SqliteQuery>(std::move(options));
}

/// The front runs on its own thread; what it throws is kept for the main thread.
class FrontThread {
 public:
  FrontThread(Front& front, const Wakeup& ended)
      : thread_([this, &front, &ended] {
          try {
            front.run();
          } catch (...) {
            failure_ = std::current_exception();
          }
          ended_ = true;
          ended.notify();
        }) {}

  [[nodiscard]] bool ended() const { return ended_; }
  void join() {
    if (thread_.joinable()) thread_.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::exception_ptr failure_;
  std::atomic<bool> ended_{false};
  std::jthread thread_;
};

/// Waits for a signal or the end of the front; looks at the free space meanwhile.
void main_wait(const AppOptions& options, const Signals& signals, Front::Signals& front_signals,
               const Wakeup& ended, const FrontThread& front) {
  pollfd fds[] = {{signals.fd(), POLLIN, 0}, {ended.fd(), POLLIN, 0}};
  while (!front.ended()) {
    poll(fds, 2, kSpaceCheckEveryMs);
    while (const auto signal = signals.take()) {
      if (*signal == SIGHUP) continue;  // nothing to reload; a closed terminal does not end a broker
      log::info("stopping: finishing what was accepted");
      return;
    }
    watch_space(options, front_signals);
  }
}

void serve(const AppOptions& options, const Signals& signals, std::unique_ptr<Router> router) {
  // Declared in the order of their lives: the store outlives its reader, both outlive the front.
  Front::Signals front_signals;
  StoreThread store([&] { return open_store(options.db); }, front_signals.wakeup);
  ReadThread reads([&] { return open_query(options.db); }, front_signals.wakeup);

  Snapshot snapshot = store.take_snapshot();
  log::info("millrace-broker {} serves {} on {} (epoch {}, SQLite {}, {} running jobs of before)",
            MR_VERSION, options.db, router->endpoint(), snapshot.epoch, sqlite_version(),
            snapshot.leased.size());
  const std::string endpoint = router->endpoint();
  Engine engine(
      {.limits = options.limits, .retention = options.retention, .seed = random_u64(),
       .version = MR_VERSION},
      std::move(snapshot), read_clocks());
  Front front(std::move(router), std::move(engine), store, reads, front_signals, options.limits);
  watch_space(options, front_signals);

  const Wakeup ended;
  FrontThread thread(front, ended);
  fmt::print(stderr, "ready {}\n", endpoint);
  main_wait(options, signals, front_signals, ended, thread);
  front_signals.stop = true;
  front_signals.wakeup.notify();
  thread.join();
}

}  // namespace

int run_broker(const AppOptions& options, const Signals& signals) {
  try {
    auto router = Router::bind(options.listen);
    if (!router) {
      log::error("{}", router.error().message);
      return exit_code(router.error().code);
    }
    serve(options, signals, std::move(*router));
    return kExitOk;
  } catch (const StoreError& error) {
    log::error("{}: {}", to_string(error.code()), error.what());
    return exit_code(error.code());
  } catch (const std::exception& error) {
    log::error("{}", error.what());
    return exit_code(ErrorCode::internal);
  }
}

}  // namespace millrace::broker
