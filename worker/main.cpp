#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <exception>
#include <memory>
#include <thread>

#include "common/util/cpus.h"
#include "common/util/log.h"
#include "common/util/options.h"
#include "common/util/parse.h"
#include "common/util/signals.h"
#include "common/util/thread.h"
#include "worker/agent.h"
#include "worker/handlers/builtin.h"
#include "worker/net_guard.h"
#include "worker/thread_executor.h"

namespace millrace::worker {
namespace {

/// For handlers that were asked to stop, after the agent has left.
constexpr Duration kThreadsPatience{500};
constexpr std::uint64_t kThreadsMax = 4096;

struct Settings {
  std::string broker = kEndpointDefault;
  std::vector<std::string> queues = {kQueueDefault};
  std::uint64_t io_threads = 0;
  std::uint64_t cpu_threads = 0;
  std::string until = "drained";
  Duration grace{30'000};
  std::string name;
  std::vector<std::string> allow_net;
  std::string log_level = "info";
};

std::string default_name() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) return fmt::format("worker:{}", getpid());
  return fmt::format("{}:{}", host.data(), getpid());
}

int refuse(const std::string& problem) {
  fmt::print(stderr, "millrace-worker: {}\n", problem);
  return exit_code(ErrorCode::usage);
}

/// A program's end that waits for nobody: handlers may still be running.
[[noreturn]] void end_now(int code) {
  log::flush();
  std::fflush(nullptr);
  _exit(code);
}

/// Runs the agent on its own thread while this one listens for signals.
Farewell run_agent(Agent& agent, const Signals& signals) {
  Wakeup done;
  Farewell farewell;
  std::exception_ptr failure;
  std::jthread thread([&] {
    name_thread("mr-agent");
    try {
      farewell = agent.run();
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
      agent.stop(*signal);
    }
  }
  thread.join();
  if (failure) std::rethrow_exception(failure);
  return farewell;
}

struct Pools {
  // The executors use the queue, so they go first.
  CompletionQueue completions;
  std::vector<std::pair<std::string, std::unique_ptr<Executor>>> executors;

  void add(const char* name, std::uint64_t threads, Registry& registry) {
    if (threads == 0)
      registry.remove_pool(name);
    else
      executors.emplace_back(
          name, std::make_unique<ThreadExecutor>(name, threads, registry, completions));
  }
  [[nodiscard]] std::vector<PoolSpec> specs() const {
    std::vector<PoolSpec> specs;
    for (const auto& [name, executor] : executors) specs.push_back({name, executor.get()});
    return specs;
  }
};

int work(const Settings& settings, protocol::Until until, NetGuard guard, const Signals& signals) {
  Registry registry = builtin_kinds(std::move(guard));
  Pools pools;
  pools.add(kPoolIo, settings.io_threads, registry);
  pools.add(kPoolCpu, settings.cpu_threads, registry);
  log::info("worker {}: broker {}, queues {}, {} io and {} cpu threads", settings.name,
            settings.broker, fmt::join(settings.queues, ", "), settings.io_threads,
            settings.cpu_threads);
  Agent agent({.endpoint = settings.broker,
               .name = settings.name,
               .queues = settings.queues,
               .until = until,
               .grace = settings.grace},
              registry, pools.specs(), pools.completions);
  const Farewell farewell = run_agent(agent, signals);
  if (farewell.exit_code == kExitOk)
    log::info("{}", farewell.text);
  else
    log::error("{}", farewell.text);
  for (auto& [name, executor] : pools.executors)
    if (!executor->stop(kThreadsPatience)) end_now(farewell.exit_code);
  return farewell.exit_code;
}

std::optional<int> read_settings(Settings& settings, int argc, char** argv) {
  const unsigned cpus = cpu_quota();
  settings.io_threads = std::min(32U, cpus + 4);
  settings.cpu_threads = cpus;
  settings.name = default_name();
  OptionParser parser("millrace-worker", "Runs the jobs of one or more queues.");
  parser.add("broker", settings.broker, "Where the broker listens");
  parser.add("queue", settings.queues, "Work for this queue; may be repeated");
  parser.add("io-threads", settings.io_threads,
             "Threads for jobs that wait; 0: none of these kinds");
  parser.add("cpu-threads", settings.cpu_threads,
             "Threads for jobs that compute; 0: none of these kinds");
  parser.add(
      "until", settings.until,
      "Leave when the queues are drained, never (forever), or when nothing is ready (empty)");
  parser.add("grace", settings.grace, "How long running jobs may take to finish after SIGTERM");
  parser.add("name", settings.name, "How lists show this worker");
  parser.add("allow-net", settings.allow_net,
             "CIDR[:PORT] of private addresses that url.check may visit although the broker is "
             "remote; may be repeated");
  parser.add("log-level", settings.log_level, "debug, info, warn or error");
  return parser.parse(argc, argv);
}

/// Everybody who can reach a broker of this machine is on this machine; a remote broker's jobs may
/// come from anywhere and are kept out of the networks that only this worker can see.
Result<NetGuard> make_guard(const Settings& settings) {
  std::vector<NetRule> rules;
  for (const std::string& text : settings.allow_net) {
    auto rule = parse_net_rule(text);
    if (!rule) return tl::make_unexpected(rule.error());
    rules.push_back(*rule);
  }
  if (is_local_endpoint(settings.broker)) return NetGuard{};
  return NetGuard{std::move(rules)};
}

int run(int argc, char** argv) {
  Settings settings;
  if (const auto code = read_settings(settings, argc, argv)) return *code;
  const auto level = log::parse_level(settings.log_level);
  if (!level) return refuse("--log-level: " + level.error().message);
  log::init(*level);
  for (const std::string& queue : settings.queues)
    if (!is_name(queue))
      return refuse(fmt::format("`{}` is no queue name: 1 to 64 of a-z 0-9 . _ -", queue));
  protocol::Until until{};
  if (!parse(settings.until, until))
    return refuse(fmt::format("--until {}: use drained, forever or empty", settings.until));
  if (settings.io_threads + settings.cpu_threads == 0)
    return refuse("--io-threads and --cpu-threads are both 0: nothing could run");
  if (std::max(settings.io_threads, settings.cpu_threads) > kThreadsMax)
    return refuse(fmt::format("--io-threads and --cpu-threads are at most {}", kThreadsMax));
  auto guard = make_guard(settings);
  if (!guard) return refuse("--allow-net: " + guard.error().message);
  const Signals signals;
  return work(settings, until, std::move(*guard), signals);
}

}  // namespace
}  // namespace millrace::worker

int main(int argc, char** argv) {
  try {
    return millrace::worker::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "millrace-worker: {}\n", error.what());
    return 70;
  }
}
