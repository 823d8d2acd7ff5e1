#include <fmt/format.h>

#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/util/log.h"
#include "common/util/options.h"
#include "common/util/parse.h"
#include "common/util/signals.h"
#include "worker/handlers/builtin.h"
#include "worker/host.h"
#include "worker/net_guard.h"

namespace millrace::worker {
namespace {

struct Settings {
  HostOptions host = default_host_options();
  std::string until = "drained";
  std::vector<std::string> allow_net;
  std::string log_level = "info";
  bool io_threads_given = false;
};

int refuse(const std::string& problem) {
  fmt::print(stderr, "millrace-worker: {}\n", problem);
  return exit_code(ErrorCode::usage);
}

std::optional<int> read_settings(Settings& settings, int argc, char** argv) {
  HostOptions& host = settings.host;
  OptionParser parser("millrace-worker", "Runs the jobs of one or more queues.");
  parser.add("broker", host.agent.endpoint, "Where the broker listens");
  parser.add("queue", host.agent.queues, "Work for this queue; may be repeated");
  parser.add("io-threads", host.io_threads, "Threads for jobs that wait; 0: none of these kinds");
  parser.add("cpu-threads", host.cpu_threads,
             "Threads for jobs that compute; 0: none of these kinds");
  parser.add("loop-size", host.loop_size, "Jobs at once on the event loop");
  parser.add("host-limit", host.host_limit,
             "Requests to one host at once by url.check on the event loop; 0: no limit");
  parser.add(
      "until", settings.until,
      "Leave when the queues are drained, never (forever), or when nothing is ready (empty)");
  parser.add("grace", host.agent.grace,
             "How long running jobs may take to finish after SIGTERM or a dismissal");
  parser.add("name", host.agent.name, "How lists show this worker");
  parser.add("allow-net", settings.allow_net,
             "CIDR[:PORT] of private addresses that url.check may visit although the broker is "
             "remote; may be repeated");
  parser.add("log-level", settings.log_level, "debug, info, warn or error");
  const std::optional<int> code = parser.parse(argc, argv);
  settings.io_threads_given = parser.was_given("io-threads");
  return code;
}

/// Kinds that only wait are at home on the event loop. Who says how many threads there are for jobs
/// that wait means these kinds, too.
Registry kinds(const Settings& settings, const NetGuard& guard) {
  Registry registry = builtin_kinds(guard);
  if (!settings.io_threads_given)
    for (const char* kind : {"url.check", "sleep"})
      if (const Status moved = registry.move(kind, kPoolLoop); !moved)
        throw std::logic_error(moved.error().message);
  return registry;
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
  if (is_local_endpoint(settings.host.agent.endpoint)) return NetGuard{};
  return NetGuard{std::move(rules)};
}

int run(int argc, char** argv) {
  Settings settings;
  if (const auto code = read_settings(settings, argc, argv)) return *code;
  const auto level = log::parse_level(settings.log_level);
  if (!level) return refuse("--log-level: " + level.error().message);
  log::init(*level);
  if (!parse(settings.until, settings.host.agent.until))
    return refuse(fmt::format("--until {}: use drained, forever or empty", settings.until));
  if (const Status good = check_queues(settings.host); !good) return refuse(good.error().message);
  if (const Status good = check_threads(settings.host); !good)
    return refuse("--io-threads, --cpu-threads, --loop-size: " + good.error().message);
  auto guard = make_guard(settings);
  if (!guard) return refuse("--allow-net: " + guard.error().message);
  const Signals signals;
  Registry registry = kinds(settings, *guard);
  Host host(std::move(settings.host), std::move(registry));
  return host.run(signals);
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
