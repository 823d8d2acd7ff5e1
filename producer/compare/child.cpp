#include "producer/compare/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <system_error>

#include "common/util/clock.h"
#include "common/util/process_tree.h"

namespace millrace::producer {
namespace {

constexpr Duration kOrphanPatience{2000};
constexpr Duration kOrphanKilled{5000};
constexpr int kOrphanLook = 5;  // ms

/// Everything the child needs, made before the fork: behind it there are system calls only, because
/// this process has threads.
struct Prepared {
  std::vector<std::string> texts;
  std::vector<char*> arguments;
  std::vector<char*> environment;
  std::array<int, 3> files{-1, -1, -1};

  Prepared() = default;
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;
  ~Prepared() {
    for (const int fd : files)
      if (fd >= 0) close(fd);
  }
};

Status prepare(const ChildPlan& plan, Prepared& prepared) {
  for (const std::string& word : plan.words)
    prepared.arguments.push_back(const_cast<char*>(word.c_str()));  // exec does not write to it
  prepared.arguments.push_back(nullptr);
  prepared.texts = plan.environment;
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (!plan.without_settings || !std::string_view(*entry).starts_with("MILLRACE_"))
      prepared.texts.emplace_back(*entry);
  for (std::string& text : prepared.texts) prepared.environment.push_back(text.data());
  prepared.environment.push_back(nullptr);
  const std::array<const std::string*, 3> paths{&plan.in, &plan.out, &plan.err};
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const int flags = i == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_APPEND;
    prepared.files[i] = open(paths[i]->c_str(), flags | O_CLOEXEC, 0600);
    if (prepared.files[i] < 0)
      return fail(ErrorCode::internal,
                  fmt::format("{}: {}", *paths[i], std::generic_category().message(errno)));
  }
  return {};
}

[[noreturn]] void become_program(const Prepared& prepared, pid_t parent, int report) {
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // it died before it could be asked
  for (int i = 0; i < 3; ++i) dup2(prepared.files[static_cast<std::size_t>(i)], i);
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  execvpe(prepared.arguments.front(), prepared.arguments.data(), prepared.environment.data());
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(report, &error, sizeof error);
  _exit(127);
}

}  // namespace

Result<Child> Child::start(const ChildPlan& plan) {
  Prepared prepared;
  if (const Status good = prepare(plan, prepared); !good) return tl::make_unexpected(good.error());
  std::array<int, 2> report{-1, -1};
  if (pipe2(report.data(), O_CLOEXEC) != 0)
    return fail(ErrorCode::internal,
                fmt::format("pipe: {}", std::generic_category().message(errno)));
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) become_program(prepared, parent, report[1]);
  close(report[1]);
  int error = errno;
  const bool failed = pid < 0 || read(report[0], &error, sizeof error) == sizeof error;
  close(report[0]);
  if (pid > 0 && failed) waitpid(pid, nullptr, 0);
  if (failed)
    return fail(error == ENOENT || error == EACCES ? ErrorCode::no_input : ErrorCode::internal,
                fmt::format("{} cannot be started: {}", plan.words.front(),
                            std::generic_category().message(error)));
  return Child(pid, static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

Child::~Child() {
  if (pid_ > 0) kill();
  if (fd_ >= 0) close(fd_);
}

bool Child::has_ended() {
  if (!ended_) ended_ = waitpid(pid_, &status_, WNOHANG) == pid_;
  return ended_;
}

void Child::wait() {
  while (!ended_ && waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
  }
  ended_ = true;
}

void Child::end(Duration patience) {
  if (has_ended()) return;
  ::kill(pid_, SIGTERM);
  pollfd item{fd_, POLLIN, 0};
  if (poll(&item, 1, static_cast<int>(patience.count())) <= 0) ::kill(pid_, SIGKILL);
  wait();
}

void Child::kill() {
  if (has_ended()) return;
  ::kill(pid_, SIGKILL);
  wait();
}

bool Child::was_signalled() const { return WIFSIGNALED(status_); }

std::string Child::ending() const {
  if (!was_signalled()) return fmt::format("exit code {}", WEXITSTATUS(status_));
  const char* name = sigabbrev_np(WTERMSIG(status_));
  return fmt::format("signal {} ({})", WTERMSIG(status_), name != nullptr ? name : "?");
}

OrphanKeeper::OrphanKeeper() : before_(children_of(getpid())) { prctl(PR_SET_CHILD_SUBREAPER, 1); }

OrphanKeeper::~OrphanKeeper() {
  const Instant begin = read_clocks().mono;
  while (true) {
    const Duration waited = read_clocks().mono - begin;
    bool any = false;
    for (const pid_t pid : children_of(getpid())) {
      if (std::find(before_.begin(), before_.end(), pid) != before_.end()) continue;
      if (waitpid(pid, nullptr, WNOHANG) == pid) continue;
      any = true;
      if (waited > kOrphanPatience) ::kill(pid, SIGKILL);
    }
    if (!any || waited > kOrphanKilled) break;
    poll(nullptr, 0, kOrphanLook);
  }
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

}  // namespace millrace::producer
