#include "producer/compare/trial.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/util/clock.h"
#include "common/util/descriptor.h"
#include "producer/batch_run.h"
#include "producer/compare/child.h"
#include "producer/compare/usage.h"

namespace millrace::producer {
namespace {

/// A program that was built with the library answers at once; another one would never.
constexpr Duration kAnswerPatience{10'000};
constexpr Duration kStartPatience{20'000};
constexpr Duration kEndPatience{3000};
constexpr Duration kLook{10};
/// Jobs shorter than this are many, until pools and prefetch have seen enough of them.
constexpr double kShortJob = 1e-3;
constexpr double kWarmUpSeconds = 0.05;
constexpr std::uint64_t kWarmUpJobsMax = 1000;
/// Longer jobs are run before the clock starts only where processes have to be started.
constexpr double kLongJob = 0.2;
/// A thread or two of each has run something by then.
constexpr std::uint64_t kLoopWarmUp = 8;

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string last_line(const std::string& path) {
  std::string text = read_file(path);
  text.erase(text.find_last_not_of('\n') + 1);
  return text.substr(text.rfind('\n') + 1);
}

/// What the worker said of the trial on its stdout, as far as it came.
struct Answer {
  bool began = false;
  nlohmann::json said;  // null: nothing more
};

Answer read_answer(const std::string& path) {
  Answer answer;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) continue;
    if (json.contains("trial"))
      answer.began = true;
    else
      answer.said = std::move(json);
  }
  return answer;
}

/// Readable when any of several descriptors is.
class AnyFd {
 public:
  void add(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event);
  }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  Descriptor fd_{epoll_create1(EPOLL_CLOEXEC)};
};

class TrialJobs : public JobSource {
 public:
  TrialJobs(const TrialPlan& plan, std::uint64_t count) : plan_(plan), count_(count) {}
  Next next(protocol::NewJob& job) override {
    if (given_ == count_) return Next::end;
    job = protocol::NewJob{};
    job.kind = plan_.kind;
    job.payload = Payload::text(plan_.payloads[given_++ % plan_.payloads.size()]);
    // A second try would be measured as if it were work.
    job.max_attempts = 1;
    job.crashes_max = 1;
    return Next::job;
  }

 private:
  const TrialPlan& plan_;
  const std::uint64_t count_;
  std::uint64_t given_ = 0;
};

class TrialEvents : public BatchEvents {
 public:
  void result(const protocol::ResultRow& row) override {
    if (row.state == JobState::done) return;
    if (failed_++ == 0) error_ = row.error;
  }
  [[nodiscard]] std::uint64_t failed() const { return failed_; }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  std::uint64_t failed_ = 0;
  std::string error_;
};

/// One way: the broker, the worker, and us between them.
class Stage {
 public:
  Stage(const TrialPlan& plan, Way way, std::string folder, int stop_fd)
      : plan_(plan), way_(way), folder_(std::move(folder)), stop_fd_(stop_fd) {
    any_fd_.add(stop_fd);
  }
  /// The worker first, so that it can say goodbye. After an interruption nobody waits for that.
  ~Stage() {
    if (worker_) is_readable(stop_fd_) ? worker_->kill() : worker_->end(kEndPatience);
    client_.reset();
    if (broker_) broker_->end(kEndPatience);
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  [[nodiscard]] Status open() {
    std::error_code failed;
    std::filesystem::create_directory(folder_, failed);
    if (failed) return fail(ErrorCode::internal, fmt::format("{}: {}", folder_, failed.message()));
    if (Status good = start_broker(); !good) return good;
    return start_worker();
  }

  /// Errors: as Trials::measure(); nothing: `figures` says why not.
  [[nodiscard]] Result<bool> wait_for_worker(Figures& figures) {
    const Instant begin = read_clocks().mono;
    while (true) {
      const auto report = client_->call<protocol::Report>(protocol::Stats{});
      if (!report) return broken_off(report.error(), figures);
      if (!report->workers.empty()) {
        figures.slots = 0;
        for (const auto& [pool, slots] : report->workers.front().pools) figures.slots += slots;
        return true;
      }
      if (read_clocks().mono - begin > kStartPatience)
        return fail(ErrorCode::internal,
                    fmt::format("the worker did not connect: {}", last_words()));
      pollfd item{any_fd_.fd(), POLLIN, 0};
      if (poll(&item, 1, static_cast<int>(kLook.count())) > 0) return broken_off({}, figures);
    }
  }

  /// Runs `count` jobs; with `figures` filled in. The same.
  [[nodiscard]] Result<bool> run(std::uint64_t count, Figures& figures) {
    using Clock = std::chrono::steady_clock;
    TrialJobs jobs(plan_, count);
    TrialEvents events;
    BatchRun batch(*client_, {});
    const Usage before = read_usage(worker_->pid());
    MemoryPeak peak(worker_->pid());
    const Clock::time_point begin = Clock::now();
    const Status done = batch.run(jobs, events);
    figures.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (!done) return broken_off(done.error(), figures);
    figures.cpu_s = std::max(read_usage(worker_->pid()).cpu_s - before.cpu_s, 0.0);
    figures.memory_bytes = peak.bytes();
    figures.jobs = count;
    figures.failed = events.failed();
    figures.error = events.error();
    return true;
  }

 private:
  [[nodiscard]] std::string file(const char* name) const { return folder_ + "/" + name; }
  [[nodiscard]] std::string endpoint() const { return "ipc://" + file("socket"); }
  [[nodiscard]] std::string last_words() const {
    const std::string words = last_line(file("worker.err"));
    return words.empty() ? "it said nothing" : words;
  }

  [[nodiscard]] Status start_broker() {
    ChildPlan plan{.words = {plan_.broker_program, "--listen", endpoint(), "--db",
                             file("millrace.db"), "--min-free", "1MB"}};
    plan.without_settings = true;
    plan.err = file("broker.err");
    auto started = Child::start(plan);
    if (!started) return tl::make_unexpected(started.error());
    broker_.emplace(std::move(*started));
    any_fd_.add(broker_->fd());
    client_.emplace(ClientOptions{.broker = endpoint(),
                                  .name = "millrace-producer compare",
                                  .first_contact = kStartPatience,
                                  .reconnect = kStartPatience,
                                  .stop_fd = any_fd_.fd()});
    if (Status good = client_->connect(); !good) {
      if (is_readable(stop_fd_)) return good;
      return fail(ErrorCode::internal,
                  fmt::format("the broker did not start: {}", last_line(file("broker.err"))));
    }
    return {};
  }

  [[nodiscard]] Status start_worker() {
    ChildPlan plan{.words = plan_.worker};
    if (plan_.takes_broker) {
      plan.words.emplace_back("--broker");
      plan.words.push_back(endpoint());
    }
    const std::string size = plan_.slots > 0 ? fmt::format(":{}", plan_.slots) : "";
    plan.environment = {
        fmt::format("MILLRACE_COMPARE={} {}{} {}", plan_.kind, to_string(way_), size, endpoint())};
    plan.out = file("worker.out");
    plan.err = file("worker.err");
    auto started = Child::start(plan);
    if (!started) return tl::make_unexpected(started.error());
    worker_.emplace(std::move(*started));
    any_fd_.add(worker_->fd());
    return {};
  }

  /// Why what we waited for did not come.
  [[nodiscard]] Result<bool> broken_off(const Error& error, Figures& figures) {
    if (is_readable(stop_fd_)) return fail(ErrorCode::stopping, "asked to stop");
    if (broker_->has_ended())
      return fail(ErrorCode::internal,
                  fmt::format("the broker ended: {}", last_line(file("broker.err"))));
    if (!worker_->has_ended()) return tl::make_unexpected(error);
    const Answer answer = read_answer(file("worker.out"));
    if (answer.said.is_object() && answer.said.contains("refused")) {
      figures.error = answer.said.value("refused", "");
      return false;
    }
    if (!answer.began)
      return fail(ErrorCode::internal, fmt::format("the worker ended: {}", last_words()));
    figures.died = true;
    figures.error = fmt::format("the worker ended: {}{}", worker_->ending(),
                                worker_->was_signalled() ? "" : ": " + last_words());
    return false;
  }

  const TrialPlan& plan_;
  const Way way_;
  const std::string folder_;
  const int stop_fd_;
  AnyFd any_fd_;
  std::optional<Child> broker_;
  std::optional<Client> client_;
  std::optional<Child> worker_;
};

/// Enough that processes are started and prefetch has adapted, and no more.
std::uint64_t warm_up_jobs(const Figures& figures, std::uint64_t jobs, double mean_s) {
  std::uint64_t wanted = figures.slots;
  if (figures.way == Way::loop) wanted = kLoopWarmUp;
  if (figures.way == Way::process) wanted = 2 * figures.slots;
  if (mean_s > kLongJob) wanted = figures.way == Way::process ? figures.slots : 1;
  if (mean_s > 0 && mean_s < kShortJob)
    wanted = std::max(wanted, static_cast<std::uint64_t>(kWarmUpSeconds / mean_s));
  return std::min({wanted, jobs, kWarmUpJobsMax});
}

Status wait_for_inline(Child& child, const std::string& out, int stop_fd) {
  const Instant begin = read_clocks().mono;
  bool began = false;
  while (!child.has_ended()) {
    std::array<pollfd, 2> items{{{child.fd(), POLLIN, 0}, {stop_fd, POLLIN, 0}}};
    poll(items.data(), items.size(), began ? -1 : static_cast<int>(kLook.count()));
    if (items[1].revents != 0) return fail(ErrorCode::stopping, "asked to stop");
    began = began || read_answer(out).began;
    if (!began && read_clocks().mono - begin > kAnswerPatience)
      return fail(ErrorCode::internal,
                  "the worker program does not answer: is it one of this version?");
  }
  return {};
}

Result<Figures> read_inline(const nlohmann::json& said, std::uint64_t jobs,
                            const std::string& ending) {
  Figures figures{.jobs = jobs};
  if (!said.is_object()) {
    figures.died = true;
    figures.error = "it ended the process: " + ending;
    return figures;
  }
  if (said.contains("refused")) {
    figures.error = said.value("refused", "");
    if (said.value("unknown", false)) return fail(ErrorCode::usage, figures.error);
    return figures;
  }
  figures.ran = true;
  figures.failed = said.value("failed", std::uint64_t{0});
  figures.seconds = said.value("seconds", 0.0);
  figures.cpu_s = said.value("cpu_s", 0.0);
  figures.delayed_s = said.value("delayed_s", 0.0);
  figures.memory_bytes = said.value("memory_bytes", std::uint64_t{0});
  if (figures.failed > 0) figures.error = said.value("error", "");
  return figures;
}

}  // namespace

Result<Figures> Trials::measure(Way way) {
  return way == Way::inline_run ? measure_inline() : measure_pool(way);
}

Result<Figures> Trials::measure_pool(Way way) {
  Figures figures{.way = way, .jobs = plan_.jobs};
  Stage stage(plan_, way, fmt::format("{}/{}", folder_, to_string(way)), stop_fd_);
  if (const Status good = stage.open(); !good) return tl::make_unexpected(good.error());
  const auto ready = stage.wait_for_worker(figures);
  if (!ready) return tl::make_unexpected(ready.error());
  if (!*ready) return figures;
  for (const std::uint64_t count : {warm_up_jobs(figures, plan_.jobs, mean_s_), plan_.jobs}) {
    const auto ran = stage.run(count, figures);
    if (!ran) return tl::make_unexpected(ran.error());
    figures.jobs = plan_.jobs;
    if (!*ran) return figures;
  }
  figures.ran = true;
  return figures;
}

Result<Figures> Trials::measure_inline() {
  const std::string path = folder_ + "/inline";
  {
    std::ofstream file(path + ".in");
    file << 1 << '\n';  // to run before the clock starts
    for (std::uint64_t i = 0; i < plan_.jobs; ++i)
      file << plan_.payloads[i % plan_.payloads.size()] << '\n';
    if (!file.flush()) return fail(ErrorCode::storage_failed, path + ".in cannot be written");
  }
  ChildPlan plan{.words = plan_.worker,
                 .environment = {fmt::format("MILLRACE_COMPARE={} inline", plan_.kind)},
                 .in = path + ".in",
                 .out = path + ".out",
                 .err = path + ".err"};
  auto child = Child::start(plan);
  if (!child) return tl::make_unexpected(child.error());
  if (const Status good = wait_for_inline(*child, path + ".out", stop_fd_); !good)
    return tl::make_unexpected(good.error());

  const Answer answer = read_answer(path + ".out");
  if (!answer.began)
    return fail(ErrorCode::internal, fmt::format("{} ended ({}): {}", plan_.worker.front(),
                                                 child->ending(), last_line(path + ".err")));
  auto figures = read_inline(answer.said, plan_.jobs, child->ending());
  if (figures && figures->ran) mean_s_ = figures->seconds / static_cast<double>(plan_.jobs);
  return figures;
}

}  // namespace millrace::producer
