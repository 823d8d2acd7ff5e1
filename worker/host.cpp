#include "worker/host.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <thread>

#include "common/util/cpus.h"
#include "common/util/log.h"
#include "common/util/thread.h"
#include "common/util/wakeup.h"
#include "worker/thread_executor.h"

namespace millrace::worker {
namespace {

/// For handlers that were asked to stop, after the agent has left.
constexpr Duration kThreadsPatience{500};

std::string default_name() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) return fmt::format("worker:{}", getpid());
  return fmt::format("{}:{}", host.data(), getpid());
}

/// A program's end that waits for nobody: handlers may still be running.
[[noreturn]] void end_now(int code) {
  log::flush();
  std::fflush(nullptr);
  _exit(code);
}

}  // namespace

HostOptions default_host_options() {
  const unsigned cpus = cpu_quota();
  HostOptions options;
  options.io_threads = std::min(32U, cpus + 4);
  options.cpu_threads = cpus;
  options.agent.name = default_name();
  return options;
}

Status check_queues(const HostOptions& options) {
  for (const std::string& queue : options.agent.queues)
    if (!is_name(queue))
      return fail(ErrorCode::usage,
                  fmt::format("`{}` is no queue name: 1 to 64 of a-z 0-9 . _ -", queue));
  return {};
}

Status check_threads(const HostOptions& options) {
  if (options.io_threads == 0 && options.cpu_threads == 0)
    return fail(ErrorCode::usage, "both pools have 0 threads: nothing could run");
  if (std::max(options.io_threads, options.cpu_threads) > kThreadsMax)
    return fail(ErrorCode::usage, fmt::format("a pool has at most {} threads", kThreadsMax));
  return {};
}

Host::Host(HostOptions options, Registry registry)
    : options_(std::move(options)), registry_(std::move(registry)) {
  add_pool(kPoolIo, options_.io_threads);
  add_pool(kPoolCpu, options_.cpu_threads);
  agent_ = std::make_unique<Agent>(options_.agent, registry_, specs(), completions_, outputs_,
                                   children_);
}

void Host::add_pool(const char* name, std::uint64_t threads) {
  if (threads == 0)
    registry_.remove_pool(name);
  else
    executors_.emplace_back(name, std::make_unique<ThreadExecutor>(
                                      name, threads, registry_, completions_, outputs_, children_));
}

std::vector<PoolSpec> Host::specs() const {
  std::vector<PoolSpec> specs;
  for (const auto& [name, executor] : executors_) specs.push_back({name, executor.get()});
  return specs;
}

void Host::stop() noexcept { agent_->stop(SIGTERM); }

/// Runs the agent on its own thread while this one listens for signals.
Farewell Host::run_agent(const Signals& signals) {
  Wakeup done;
  Farewell farewell;
  std::exception_ptr failure;
  std::jthread thread([&] {
    name_thread("mr-agent");
    try {
      farewell = agent_->run();
    } catch (...) {
      failure = std::current_exception();
    }
    done.notify();
  });
  int signals_seen = 0;
  while (true) {
    std::array<pollfd, 2> fds{{{done.fd(), POLLIN, 0}, {signals.fd(), POLLIN, 0}}};
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[0].revents != 0) break;
    while (const auto signal = signals.take()) {
      if (*signal == SIGHUP) continue;
      if (++signals_seen > 1) end_now(128 + *signal);
      agent_->stop(*signal);
    }
  }
  thread.join();
  if (failure) std::rethrow_exception(failure);
  return farewell;
}

int Host::run(const Signals& signals) {
  log::info("worker {}: broker {}, queues {}, {} io and {} cpu threads", options_.agent.name,
            options_.agent.endpoint, fmt::join(options_.agent.queues, ", "), options_.io_threads,
            options_.cpu_threads);
  const Farewell farewell = run_agent(signals);
  if (farewell.exit_code == kExitOk)
    log::info("{}", farewell.text);
  else
    log::error("{}", farewell.text);
  for (auto& [name, executor] : executors_)
    if (!executor->stop(kThreadsPatience)) end_now(farewell.exit_code);
  return farewell.exit_code;
}

}  // namespace millrace::worker
