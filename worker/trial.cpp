#include "worker/trial.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/util/log.h"
#include "worker/inline_run.h"

namespace millrace::worker {
namespace {

/// A trial is over when its producer says so; nobody waits for what still runs then.
constexpr Duration kGrace{200};

void tell(const nlohmann::json& line) {
  fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  std::fflush(stdout);
}

int refuse(const std::string& why, bool unknown = false) {
  tell({{"refused", why}, {"unknown", unknown}});
  return exit_code(unknown ? ErrorCode::unknown_kind : ErrorCode::usage);
}

std::string names_of(const Registry& registry) {
  std::string names;
  for (const auto& [name, kind] : registry.kinds())
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  return names;
}

Registry only(const Registry& registry, const std::string& kind) {
  Registry one;
  one.add(kind, *registry.find(kind));
  return one;
}

std::optional<int> begin(const Trial& trial, HostOptions& options, Registry& registry) {
  const Kind* kind = registry.find(trial.kind);
  if (kind == nullptr)
    return refuse(fmt::format("this worker has no kind `{}`; it has {}", trial.kind,
                              registry.kinds().empty() ? "none" : names_of(registry)),
                  true);
  if (!trial.choice) {
    if (!kind->command.empty()) return refuse("a program runs it, so it needs a process");
    if (!kind->handler) return refuse("its handler needs the loop");
    tell(run_inline(trial.kind, kind->handler));
    return kExitOk;
  }
  Registry one = only(registry, trial.kind);
  Registry tried = one;
  const std::vector<ExecutorChoice> choices{*trial.choice};
  if (const auto pools = place(tried, options.sizes, choices); !pools)
    return refuse(pools.error().message);
  registry = std::move(one);
  options.executors = choices;
  options.agent.endpoint = trial.endpoint;
  options.agent.queues = {kQueueDefault};
  options.agent.until = protocol::Until::forever;
  options.agent.grace = kGrace;
  return std::nullopt;
}

}  // namespace

Result<Trial> parse_trial(std::string_view text) {
  const auto wrong = [&] {
    return fail(ErrorCode::usage, fmt::format("{}=`{}`: use KIND inline, or KIND "
                                              "thread|process|loop[:SIZE] ENDPOINT",
                                              kTrialVariable, text));
  };
  const std::size_t first = text.find(' ');
  if (first == std::string_view::npos) return wrong();
  Trial trial{.kind = std::string(text.substr(0, first))};
  const std::string_view rest = text.substr(first + 1);
  if (rest == "inline") return trial;
  // What follows the second space is the endpoint, in which there may be further ones.
  const std::size_t second = rest.find(' ');
  if (second == std::string_view::npos) return wrong();
  auto choice = parse_executor_choice(fmt::format("{}={}", trial.kind, rest.substr(0, second)));
  if (!choice) return wrong();
  trial.choice = std::move(*choice);
  trial.endpoint = std::string(rest.substr(second + 1));
  return trial;
}

std::optional<int> begin_trial(HostOptions& options, Registry& registry) {
  const char* text = std::getenv(kTrialVariable);  // NOLINT(concurrency-mt-unsafe): one thread
  if (text == nullptr) return std::nullopt;
  const Result<Trial> trial = parse_trial(text);
  if (!trial) {
    log::error("{}", trial.error().message);
    return exit_code(trial.error().code);
  }
  tell({{"trial", 1}});
  return begin(*trial, options, registry);
}

}  // namespace millrace::worker
