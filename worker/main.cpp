#include <fmt/format.h>

#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "common/util/log.h"
#include "common/util/options.h"
#include "common/util/parse.h"
#include "common/util/signals.h"
#include "worker/handlers/builtin.h"
#include "worker/host.h"
#include "worker/net_guard.h"
#include "worker/process/child_serve.h"
#include "worker/trial.h"

namespace millrace::worker {
namespace {

struct Settings {
  HostOptions host = default_host_options();
  std::string until = "drained";
  std::vector<std::string> allow_net;
  std::vector<std::string> executors;
  std::vector<std::string> kinds;
  std::vector<std::string> execs;
  std::string log_level = "info";
  bool io_threads_given = false;
};

int refuse(const std::string& problem, ErrorCode code = ErrorCode::usage) {
  fmt::print(stderr, "millrace-worker: {}\n", problem);
  return exit_code(code);
}

void add_children(OptionParser& parser, ChildSettings& children) {
  parser.add("child-memory", children.memory,
             "Heap and private pages that each child process may have; 0: no limit");
  parser.add("child-memory-growth", children.memory_growth,
             "A child that has grown by so much since its first job is replaced; 0: never");
  parser.add("child-cpu", children.cpu_time,
             "CPU time that each child process may use over its life; 0: no limit");
  parser.add("child-files", children.files, "Files that a child may have open; 0: no limit");
  parser.add("child-processes", children.processes, "Processes that a job may have; 0: no limit");
  parser.add("jobs-per-child", children.jobs_per_child,
             "A child is replaced after so many jobs; 0: never");
  parser.add("child-user", children.user,
             "Who children are when the worker is root; not said: nobody");
}

std::optional<int> read_settings(Settings& settings, int argc, char** argv) {
  HostOptions& host = settings.host;
  OptionParser parser("millrace-worker", "Runs the jobs of one or more queues.");
  parser.add("broker", host.agent.endpoint, "Where the broker listens");
  parser.add("queue", host.agent.queues, "Work for this queue; may be repeated");
  parser.add("io-threads", host.sizes.io, "Threads for jobs that wait; 0: none of these kinds");
  parser.add("cpu-threads", host.sizes.cpu,
             "Threads for jobs that compute; 0: none of these kinds");
  parser.add("loop-size", host.sizes.loop,
             "Jobs at once on the event loop; 0: none of these kinds");
  parser.add("host-limit", host.host_limit,
             "Requests to one host at once by url.check on the event loop; 0: no limit");
  parser.add("executor", settings.executors,
             "KIND=thread|process|loop[:SIZE]: where a kind runs; with SIZE in a pool of its own; "
             "may be repeated");
  parser.add(
      "kind", settings.kinds,
      "NAME=COMMAND: a kind whose jobs a program runs that speaks the stdio worker protocol; "
      "may be repeated");
  parser.add("exec", settings.execs,
             "NAME=/PATH/PROGRAM ARGUMENT…: a kind for which this program is run once a job, "
             "payload on stdin, result on stdout; may be repeated");
  add_children(parser, host.children);
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

Status add_programs(Registry& registry, const std::vector<std::string>& texts, bool once) {
  for (const std::string& text : texts) {
    auto program = parse_program_kind(text);
    if (!program) return tl::make_unexpected(program.error());
    if (Status good = check_program(program->command.front(), once); !good) return good;
    Kind kind{kPoolProcess, nullptr};
    kind.command = std::move(program->command);
    kind.once = once;
    registry.add(program->name, std::move(kind));
  }
  return {};
}

/// Kinds that only wait are at home on the event loop. Who says how many threads there are for jobs
/// that wait means these kinds, too.
Result<Registry> make_kinds(const Settings& settings, const NetGuard& guard) {
  Registry registry = builtin_kinds(guard);
  if (!settings.io_threads_given)
    for (const char* kind : {"url.check", "sleep"}) registry.move(kind, kPoolLoop);
  if (const Status good = add_programs(registry, settings.kinds, false); !good)
    return fail(good.error().code, "--kind: " + good.error().message);
  if (const Status good = add_programs(registry, settings.execs, true); !good)
    return fail(good.error().code, "--exec: " + good.error().message);
  return registry;
}

Status read_executors(Settings& settings) {
  for (const std::string& text : settings.executors) {
    auto choice = parse_executor_choice(text);
    if (!choice) return tl::make_unexpected(choice.error());
    settings.host.executors.push_back(std::move(*choice));
  }
  return {};
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
  if (const Status good = check_sizes(settings.host.sizes); !good)
    return refuse("--io-threads, --cpu-threads, --loop-size: " + good.error().message);
  if (const Status good = read_executors(settings); !good)
    return refuse("--executor: " + good.error().message);
  auto guard = make_guard(settings);
  if (!guard) return refuse("--allow-net: " + guard.error().message);
  auto kinds = make_kinds(settings, *guard);
  if (!kinds) return refuse(kinds.error().message, kinds.error().code);
  if (const auto kind = child_kind()) return serve_child(*kinds, *kind);
  if (const auto code = begin_trial(settings.host, *kinds)) return *code;
  auto plan = plan_host(std::move(settings.host), std::move(*kinds));
  if (!plan) return refuse(plan.error().message, plan.error().code);
  const Signals signals;
  Host host(std::move(*plan));
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
