// The public worker, in terms of the host that the program uses.

#include <fmt/format.h>
#include <millrace/worker.h>

#include <csignal>
#include <exception>
#include <optional>
#include <stdexcept>
#include <utility>

#include "common/retry.h"
#include "common/util/log.h"
#include "common/util/mutex.h"
#include "common/util/signals.h"
#include "worker/host.h"
#include "worker/process/child_serve.h"
#include "worker/trial.h"

namespace millrace {
namespace {

protocol::Until to_protocol(Until until) {
  switch (until) {
    case Until::forever:
      return protocol::Until::forever;
    case Until::empty:
      return protocol::Until::empty;
    case Until::drained:
      break;
  }
  return protocol::Until::drained;
}

worker::HostOptions to_options(WorkerConfig config) {
  worker::HostOptions options = worker::default_host_options();
  options.agent.endpoint = std::move(config.broker);
  options.agent.queues = std::move(config.queues);
  if (!config.name.empty()) options.agent.name = std::move(config.name);
  options.agent.until = to_protocol(config.until);
  options.agent.grace = config.grace;
  if (config.io_threads) options.sizes.io = *config.io_threads;
  if (config.cpu_threads) options.sizes.cpu = *config.cpu_threads;
  if (config.processes) options.sizes.processes = *config.processes;
  if (config.loop_size) options.sizes.loop = *config.loop_size;
  if (options.agent.queues.empty()) throw std::invalid_argument("a worker needs a queue");
  if (options.agent.grace < Duration::zero()) throw std::invalid_argument("grace is below 0");
  for (const Status& good : {check_queues(options), check_sizes(options.sizes)})
    if (!good) throw std::invalid_argument(good.error().message);
  return options;
}

/// Throws std::invalid_argument, naming the kind and the option.
protocol::KindOptions to_protocol(const std::string& kind, const KindOptions& options) {
  const auto check = [&](const char* name, std::int64_t value, std::int64_t max) {
    if (value < 0 || value > max)
      throw std::invalid_argument(
          fmt::format("kind `{}`: {} is {}, it must be 0 … {}", kind, name, value, max));
  };
  check("max_attempts", options.max_attempts, kMaxAttemptsMax);
  check("crashes_max", options.crashes_max, kMaxAttemptsMax);
  check("timeout in ms", options.timeout.count(), kDurationMax.count());
  check("length of retry", static_cast<std::int64_t>(options.retry.size()), kRetryBytesMax);
  if (!options.retry.empty())
    if (const auto policy = parse_retry(options.retry); !policy)
      throw std::invalid_argument(fmt::format("kind `{}`: {}", kind, policy.error().message));
  return {.max_attempts = options.max_attempts,
          .crashes_max = options.crashes_max,
          .timeout = options.timeout,
          .retry = options.retry,
          .not_replayable = !options.replayable};
}

/// Puts the thread's signal mask back.
class MaskGuard {
 public:
  MaskGuard() { pthread_sigmask(SIG_BLOCK, nullptr, &before_); }
  ~MaskGuard() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  MaskGuard(const MaskGuard&) = delete;
  MaskGuard& operator=(const MaskGuard&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

struct Worker::State {
  explicit State(WorkerConfig config) : options(to_options(std::move(config))) {}

  worker::HostOptions options;
  MaskGuard mask;
  Signals signals;
  worker::Registry registry;
  bool ran = false;

  Mutex mutex;
  worker::Host* host MR_GUARDED_BY(mutex) = nullptr;
  bool stopped MR_GUARDED_BY(mutex) = false;

  void set_host(worker::Host* running) {
    Lock lock(mutex);
    host = running;
    if (host != nullptr && stopped) host->stop();
  }
};

Worker::Worker(WorkerConfig config) : state_(std::make_unique<State>(std::move(config))) {}
Worker::~Worker() = default;

void Worker::kind(const std::string& name, const std::string& pool, Handler handler,
                  const KindOptions& options) {
  if (!is_name(name))
    throw std::invalid_argument(
        fmt::format("`{}` is no name of a kind: 1 to 64 of a-z 0-9 . _ -", name));
  if (pool != kPoolIo && pool != kPoolCpu && pool != kPoolProcess)
    throw std::invalid_argument(fmt::format("there is no pool `{}`: use io, cpu or process", pool));
  if (!handler) throw std::invalid_argument(fmt::format("kind `{}` has no handler", name));
  state_->registry.add(name, {pool, std::move(handler), to_protocol(name, options)});
}

void Worker::async_kind(const std::string& name, AsyncHandler handler, const KindOptions& options) {
  if (!is_name(name))
    throw std::invalid_argument(
        fmt::format("`{}` is no name of a kind: 1 to 64 of a-z 0-9 . _ -", name));
  if (!handler) throw std::invalid_argument(fmt::format("kind `{}` has no handler", name));
  worker::Kind kind{kPoolLoop, nullptr, to_protocol(name, options)};
  kind.async = std::move(handler);
  state_->registry.add(name, std::move(kind));
}

int Worker::run() {
  try {
    if (std::exchange(state_->ran, true)) {
      log::error("a worker runs once");
      return exit_code(ErrorCode::usage);
    }
    if (state_->registry.kinds().empty()) {
      log::error("a worker needs a kind");
      return exit_code(ErrorCode::usage);
    }
    if (const auto kind = worker::child_kind()) return worker::serve_child(state_->registry, *kind);
    if (const auto code = worker::begin_trial(state_->options, state_->registry)) return *code;
    auto plan = worker::plan_host(state_->options, state_->registry);
    if (!plan) {
      log::error("{}", plan.error().message);
      return exit_code(plan.error().code);
    }
    worker::Host host(std::move(*plan));
    state_->set_host(&host);
    struct Forget {
      State& state;
      ~Forget() { state.set_host(nullptr); }
    } const forget{*state_};
    return host.run(state_->signals);
  } catch (const std::exception& error) {
    log::error("{}", error.what());
    return exit_code(ErrorCode::internal);
  }
}

void Worker::stop() noexcept {
  Lock lock(state_->mutex);
  state_->stopped = true;
  if (state_->host != nullptr) state_->host->stop();
}

}  // namespace millrace
