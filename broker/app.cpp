#include "broker/app.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

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
#include "broker/store/backup.h"
#include "broker/store/sqlite_query.h"
#include "broker/store/sqlite_store.h"
#include "broker/store/store_thread.h"
#include "common/net/ip_address.h"
#include "common/util/clock.h"
#include "common/util/log.h"
#include "common/util/random.h"
#include "millrace_version.h"

namespace millrace::broker {
namespace {

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

/// Where a backup that a peer asks for may go.
std::string backup_path(const AppOptions& options, const std::string& asked) {
  const std::filesystem::path path(asked);
  if (!options.backup_dir.empty()) {
    if (asked.empty() || path.filename() != path || asked == "." || asked == "..")
      throw StoreError(ErrorCode::bad_request,
                       fmt::format("`{:.200}` is no file name: this broker puts backups into its "
                                   "--backup-dir, name one without a folder",
                                   asked));
    return std::filesystem::path(options.backup_dir) / path;
  }
  if (!net::is_local_endpoint(options.listen))
    throw StoreError(ErrorCode::not_allowed,
                     fmt::format("this broker listens on {}, so that others than this machine may "
                                 "ask: start it with --backup-dir, or run `millrace-broker backup` "
                                 "on its machine",
                                 options.listen));
  if (!path.is_absolute())
    throw StoreError(ErrorCode::bad_request, fmt::format("`{:.200}` is no absolute path", asked));
  return asked;
}

protocol::BackedUp make_backup(const AppOptions& options, const std::string& asked,
                               const std::stop_token& stop) {
  const std::string path = backup_path(options, asked);
  const FileSummary summary = backup_database(options.db, path, stop);
  return {path, std::filesystem::file_size(path), summary.jobs};
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

/// Waits for the end of the front; returns the signal that came first, if one did.
std::optional<int> wait_for_end(const Signals& signals, const Wakeup& ended,
                                const FrontThread& front) {
  pollfd fds[] = {{signals.fd(), POLLIN, 0}, {ended.fd(), POLLIN, 0}};
  while (!front.ended()) {
    poll(fds, 2, -1);
    while (const auto signal = signals.take())
      if (*signal != SIGHUP) return signal;  // a closed terminal does not end a broker
  }
  return std::nullopt;
}

/// The second signal: what is on its way to the disk may or may not get there, nobody was told.
[[noreturn]] void end_now(int signal) {
  log::warn("ended at once by a second signal");
  log::flush();
  _exit(128 + signal);
}

int serve(const AppOptions& options, const Signals& signals) {
  // Declared in the order of their lives: the store outlives its reader, both outlive the front.
  Front::Signals front_signals;
  StoreThread store([&] { return open_store(options.db); }, front_signals.wakeup);
  ReadThread reads([&] { return open_query(options.db); },
                   [&](const std::string& path, const std::stop_token& stop) {
                     return make_backup(options, path, stop);
                   },
                   front_signals.wakeup);

  // The file comes first: a second broker is told that the first one has it.
  auto bound = Router::bind(options.listen);
  if (!bound) {
    log::error("{}", bound.error().message);
    return exit_code(bound.error().code);
  }
  std::unique_ptr<Router> router = std::move(*bound);
  Snapshot snapshot = store.take_snapshot();
  log::info("millrace-broker {} serves {} on {} (epoch {}, SQLite {}, {} running jobs of before)",
            MR_VERSION, options.db, router->endpoint(), snapshot.epoch, sqlite_version(),
            snapshot.leased.size());
  const std::string endpoint = router->endpoint();
  Engine engine({.limits = options.limits,
                 .retention = options.retention,
                 .seed = random_u64(),
                 .version = MR_VERSION},
                std::move(snapshot), read_clocks());
  Front front(std::move(router), std::move(engine), store, reads, front_signals,
              {.limits = options.limits, .min_free_bytes = options.min_free_bytes});

  const Wakeup ended;
  FrontThread thread(front, ended);
  fmt::print(stderr, "ready {}\n", endpoint);
  if (wait_for_end(signals, ended, thread)) log::info("stopping: finishing what was accepted");
  front_signals.stop = true;
  front_signals.wakeup.notify();
  if (const auto again = wait_for_end(signals, ended, thread)) end_now(*again);
  thread.join();
  return kExitOk;
}

}  // namespace

int run_broker(const AppOptions& options, const Signals& signals) {
  try {
    return serve(options, signals);
  } catch (const StoreError& error) {
    log::error("{}: {}", to_string(error.code()), error.what());
    return exit_code(error.code());
  } catch (const std::exception& error) {
    log::error("{}", error.what());
    return exit_code(ErrorCode::internal);
  }
}

}  // namespace millrace::broker
