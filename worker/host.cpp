#include "worker/host.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
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
#include "worker/loop/loop_executor.h"
#include "worker/process/process_executor.h"
#include "worker/thread_executor.h"

namespace millrace::worker {
namespace {

/// For handlers that were asked to stop, after the agent has left.
constexpr Duration kThreadsPatience{500};

/// With a loop of its largest size and a connection kept for each of its runs.
constexpr rlim_t kFilesWanted = 3 * kLoopSlotsMax;

std::string default_name() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) return fmt::format("worker:{}", getpid());
  return fmt::format("{}:{}", host.data(), getpid());
}

/// Each run on the loop may have a socket or two; the soft limit is often 1,024, for the sake of
/// programs that use select().
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kFilesWanted) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, kFilesWanted);
  setrlimit(RLIMIT_NOFILE, &limit);
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
  options.sizes = {.io = std::min(32U, cpus + 4), .cpu = cpus, .processes = cpus, .loop = 256};
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

Status check_sizes(const PoolSizes& sizes) {
  if (std::max({sizes.io, sizes.cpu, sizes.processes, sizes.loop}) > kPoolSizeMax)
    return fail(ErrorCode::usage, fmt::format("a pool has at most {} slots", kPoolSizeMax));
  if (sizes.io + sizes.cpu + sizes.processes + sizes.loop == 0)
    return fail(ErrorCode::usage, "every pool has size 0: nothing could run");
  return {};
}

Result<HostPlan> plan_host(HostOptions options, Registry registry) {
  HostPlan plan{.options = std::move(options), .registry = std::move(registry)};
  auto pools = place(plan.registry, plan.options.sizes, plan.options.executors);
  if (!pools) return tl::make_unexpected(pools.error());
  plan.pools = std::move(*pools);
  const auto is_process = [](const PoolPlan& pool) { return pool.type == ExecutorType::process; };
  if (std::none_of(plan.pools.begin(), plan.pools.end(), is_process)) return plan;
  const Result<ChildUser> user = find_child_user(plan.options.children.user);
  if (!user) return tl::make_unexpected(user.error());
  plan.user = *user;
  if (!has_one_thread())
    return fail(ErrorCode::bad_config,
                "kinds in processes need a program that has started no thread yet");
  plan.nursery.emplace(Nursery::launch());
  return plan;
}

Host::Host(HostPlan plan)
    : options_(std::move(plan.options)),
      registry_(std::move(plan.registry)),
      pools_(std::move(plan.pools)),
      user_(plan.user) {
  if (plan.nursery)
    processes_ = std::make_unique<ProcessHost>(std::move(*plan.nursery), [this] { stop(); });
  for (const PoolPlan& pool : pools_) executors_.push_back(make_executor(pool));
  agent_ = std::make_unique<Agent>(options_.agent, registry_, specs(), completions_, outputs_,
                                   children_);
}

std::unique_ptr<Executor> Host::make_executor(const PoolPlan& pool) {
  switch (pool.type) {
    case ExecutorType::process:
      return std::make_unique<ProcessExecutor>(
          *processes_,
          make_process_spec(pool, *registry_.find(pool.kind), options_.children, user_),
          completions_, outputs_, children_);
    case ExecutorType::loop:
      raise_file_limit();
      return std::make_unique<LoopExecutor>(
          LoopOptions{.slots = pool.size, .host_limit = options_.host_limit}, registry_,
          completions_, outputs_, children_);
    case ExecutorType::thread:
      break;
  }
  return std::make_unique<ThreadExecutor>(pool.name, pool.size, registry_, completions_, outputs_,
                                          children_);
}

std::vector<PoolSpec> Host::specs() const {
  std::vector<PoolSpec> specs;
  for (std::size_t i = 0; i < pools_.size(); ++i)
    specs.push_back({pools_[i].name, executors_[i].get()});
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
  log::info("worker {}: broker {}, queues {}; jobs at once: {}", options_.agent.name,
            options_.agent.endpoint, fmt::join(options_.agent.queues, ", "), describe(pools_));
  const Farewell farewell = run_agent(signals);
  if (farewell.exit_code == kExitOk)
    log::info("{}", farewell.text);
  else
    log::error("{}", farewell.text);
  for (const auto& executor : executors_)
    if (!executor->stop(kThreadsPatience)) end_now(farewell.exit_code);
  return farewell.exit_code;
}

}  // namespace millrace::worker
