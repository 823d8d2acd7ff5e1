#include "worker/process/child_serve.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <exception>
#include <map>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>

#include "common/errors.h"
#include "common/limits.h"
#include "common/util/log.h"
#include "common/util/mutex.h"
#include "common/util/thread.h"
#include "worker/process/child_messages.h"

namespace millrace::worker {
namespace {

using Clock = std::chrono::steady_clock;

/// Answers to short jobs leave together when others are waiting, but not later than this.
constexpr std::chrono::microseconds kGather{200};
constexpr std::size_t kGatherBytes = 64 * kKiB;
/// How often the reader looks for answers that a long job holds up.
constexpr int kHeldUpLook = 5;  // ms
constexpr std::chrono::milliseconds kProgressEvery{100};

/// What goes to the worker. Any thread.
class Mouth {
 public:
  explicit Mouth(int fd) : fd_(fd) {}

  void say(const FromChild& message, bool others_wait) {
    Lock lock(mutex_);
    if (unsent_.empty()) since_ = Clock::now();
    unsent_ += encode(message);
    if (!others_wait || unsent_.size() > kGatherBytes || Clock::now() - since_ > kGather) flush();
  }
  void flush_now() {
    Lock lock(mutex_);
    flush();
  }

 private:
  void flush() MR_REQUIRES(mutex_) {
    std::size_t written = 0;
    while (written < unsent_.size()) {
      const ssize_t size = write(fd_, unsent_.data() + written, unsent_.size() - written);
      if (size > 0)
        written += static_cast<std::size_t>(size);
      else if (errno != EINTR)
        _exit(0);  // the worker is gone
    }
    unsent_.clear();
  }

  const int fd_;
  Mutex mutex_;
  std::string unsent_ MR_GUARDED_BY(mutex_);
  Clock::time_point since_ MR_GUARDED_BY(mutex_);
};

struct Turn {
  Job job;
  std::stop_source stop;
};

/// What comes from the worker: jobs for the main thread, and words about them.
class Ear {
 public:
  Ear(int fd, Mouth& mouth)
      : fd_(fd), mouth_(mouth), thread_([this] {
          name_thread("mr-child-ear");
          listen();
        }) {}

  /// The next job; blocks. Nothing: there will be none.
  std::optional<Turn> next() {
    Lock lock(mutex_);
    while (turns_.empty() && !closed_) changed_.wait(mutex_);
    if (turns_.empty()) return std::nullopt;
    Turn turn = std::move(turns_.front());
    turns_.pop_front();
    running_ = turn.job.lease;
    stop_ = turn.stop;
    return turn;
  }
  /// The answer to `enqueue`; blocks. Nothing: stop was requested, or the worker is gone.
  std::optional<JobMessage> answer(std::uint64_t request, const std::stop_token& stop) {
    const std::stop_callback wake(stop, [this] {
      Lock lock(mutex_);
      changed_.notify_all();
    });
    Lock lock(mutex_);
    while (!answers_.contains(request) && !closed_ && !stop.stop_requested()) changed_.wait(mutex_);
    auto found = answers_.extract(request);
    return found.empty() ? std::nullopt : std::optional(std::move(found.mapped()));
  }
  bool others_wait() {
    Lock lock(mutex_);
    return !turns_.empty();
  }

 private:
  void listen() {
    ChildStream stream(ChildForm::msgpack);
    std::array<char, 64 * kKiB> buffer{};
    while (true) {
      pollfd fd{fd_, POLLIN, 0};
      const int ready = poll(&fd, 1, gathering_ ? kHeldUpLook : -1);
      if (ready == 0) {
        mouth_.flush_now();
        gathering_ = others_wait();
        continue;
      }
      const ssize_t size = read(fd_, buffer.data(), buffer.size());
      if (size < 0 && errno == EINTR) continue;
      if (size <= 0) break;
      stream.append({buffer.data(), static_cast<std::size_t>(size)});
      if (!take_messages(stream)) break;
    }
    std::stop_source running(std::nostopstate);
    {
      Lock lock(mutex_);
      closed_ = true;
      running = stop_;
      changed_.notify_all();
    }
    running.request_stop();
  }

  bool take_messages(ChildStream& stream) {
    while (true) {
      const auto body = stream.next();
      if (!body) return false;
      if (!*body) return true;
      auto message = decode_to_child(**body);
      if (!message) return false;
      take(std::move(*message));
    }
  }

  void take(JobMessage message) {
    if (message.type == ToChild::Type::cancel) return cancel(message.lease);
    Lock lock(mutex_);
    if (message.type == ToChild::Type::job) {
      turns_.push_back({std::move(message.job), {}});
      if (turns_.size() > 1) gathering_ = true;
      changed_.notify_all();
    } else {
      answers_.emplace(message.request, std::move(message));
      changed_.notify_all();
    }
  }

  void cancel(LeaseId lease) {
    std::stop_source source(std::nostopstate);
    {
      Lock lock(mutex_);
      if (running_ == lease) source = stop_;
      for (const Turn& turn : turns_)
        if (turn.job.lease == lease) source = turn.stop;
    }
    source.request_stop();  // runs callbacks of the handler: not under our lock
  }

  const int fd_;
  Mouth& mouth_;
  bool gathering_ = false;  // the thread's own
  Mutex mutex_;
  Condition changed_;
  std::deque<Turn> turns_ MR_GUARDED_BY(mutex_);
  std::map<std::uint64_t, JobMessage> answers_ MR_GUARDED_BY(mutex_);
  LeaseId running_ MR_GUARDED_BY(mutex_);
  std::stop_source stop_ MR_GUARDED_BY(mutex_);
  bool closed_ MR_GUARDED_BY(mutex_) = false;
  std::jthread thread_;  // last: it uses everything above
};

/// What a handler sees.
class ChildContext final : public JobContext {
 public:
  ChildContext(const Turn& turn, Mouth& mouth, Ear& ear)
      : JobContext(turn.job, turn.stop.get_token()), mouth_(mouth), ear_(ear) {}

  /// The newest progress, if it was held back.
  void finish() {
    if (held_back_) mouth_.say(progress_, true);
    held_back_ = false;
  }

 protected:
  void put_progress(std::uint64_t done, std::uint64_t total, std::string_view text) override {
    progress_ = {
        .type = FromChild::Type::progress, .lease = job().lease, .text = std::string(text)};
    progress_.done = done;
    progress_.total = total;
    held_back_ = Clock::now() - progress_at_ < kProgressEvery;
    if (held_back_) return;
    progress_at_ = Clock::now();
    mouth_.say(progress_, false);
  }
  void put_log(std::string_view line) override {
    finish();
    mouth_.say({.type = FromChild::Type::log, .lease = job().lease, .text = std::string(line)},
               false);
  }
  void put_chunk(Payload part) override {
    finish();
    mouth_.say({.type = FromChild::Type::chunk, .lease = job().lease, .data = std::move(part)},
               false);
  }
  std::vector<JobId> put_jobs(std::vector<JobRequest>&& jobs, const std::string& queue) override {
    if (jobs.empty()) return {};
    static std::uint64_t last_request = 0;  // of this process, which has one handler at a time
    FromChild message{
        .type = FromChild::Type::enqueue, .lease = job().lease, .request = ++last_request};
    message.queue = queue;
    message.jobs = std::move(jobs);
    mouth_.say(message, false);
    auto answer = ear_.answer(message.request, stop_token());
    if (!answer) throw std::runtime_error("stopping: the run was asked to stop");
    if (!answer->error.empty()) throw std::runtime_error(answer->error);
    return std::move(answer->ids);
  }

 private:
  Mouth& mouth_;
  Ear& ear_;
  FromChild progress_;
  Clock::time_point progress_at_{};
  bool held_back_ = false;
};

Outcome run(const Handler& handler, ChildContext& context) {
  if (context.cancelled()) return Outcome::nack("cancelled: before it began");
  try {
    return handler(context);
  } catch (const std::exception& error) {
    return Outcome::nack(error.what());
  } catch (...) {
    return Outcome::nack("exception: the handler threw something without a text");
  }
}

/// A process that the handler started and left running; this process adopts what was orphaned.
std::optional<pid_t> left_behind() {
  pid_t pid = 0;
  while ((pid = waitpid(-1, nullptr, WNOHANG)) > 0) {
  }
  return pid == 0 ? std::optional<pid_t>(pid) : std::nullopt;
}

FromChild answer(const Job& job, Outcome outcome) {
  FromChild message{.type = FromChild::Type::result, .lease = job.lease};
  if (outcome.verdict == Outcome::Verdict::ack) {
    message.data = std::move(outcome.result);
    return message;
  }
  message.type = FromChild::Type::error;
  message.text = std::move(outcome.error);
  message.retry = outcome.verdict == Outcome::Verdict::nack;
  message.delay = outcome.delay;
  return message;
}

/// The channel is moved away from 0 and 1, where a handler could write into it.
std::pair<int, int> take_channel() {
  const int in = fcntl(0, F_DUPFD_CLOEXEC, 3);
  const int out = fcntl(1, F_DUPFD_CLOEXEC, 3);
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(nothing, 0);
  dup2(2, 1);
  close(nothing);
  return {in, out};
}

}  // namespace

std::optional<std::string> child_kind() {
  const char* kind = std::getenv(kChildVariable);  // NOLINT(concurrency-mt-unsafe): at the start
  return kind != nullptr ? std::optional<std::string>(kind) : std::nullopt;
}

int serve_child(const Registry& registry, const std::string& kind) {
  const Kind* found = registry.find(kind);
  if (found == nullptr || !found->handler) {
    log::error("kind `{}` has no handler that a child process could run", kind);
    return exit_code(ErrorCode::internal);
  }
  const auto [in, out] = take_channel();
  Mouth mouth(out);
  mouth.say({.type = FromChild::Type::ready}, false);
  Ear ear(in, mouth);
  while (auto turn = ear.next()) {
    ChildContext context(*turn, mouth, ear);
    Outcome outcome = run(found->handler, context);
    context.finish();
    const bool litter = left_behind().has_value();
    if (litter) outcome = Outcome::nack("left_behind: the job left a process running");
    mouth.say(answer(turn->job, std::move(outcome)), !litter && ear.others_wait());
    if (litter) _exit(0);  // the nursery kills what is left
  }
  mouth.flush_now();
  _exit(0);  // handlers may have started threads that do not end
}

}  // namespace millrace::worker
