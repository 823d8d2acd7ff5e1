#include "worker/process/spawn_child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "common/util/descriptor.h"

namespace millrace::worker {
namespace {

/// What failed in the child before the program ran.
struct Failure {
  std::array<char, 32> step{};
  int error = 0;
};

/// Everything the child needs, made before the fork.
struct Plan {
  std::vector<char*> arguments;
  std::vector<char*> environment;
  std::vector<std::string> environment_texts;
  std::vector<std::string> programs;  ///< to be tried in order; empty: `self`
};

constexpr std::array kKeptClean = {"PATH", "HOME", "LANG", "LC_ALL", "TZ"};

void add_environment(Plan& plan, const SpawnRequest& request) {
  if (request.clean_environment) {
    for (const char* name : kKeptClean)
      if (const char* value = std::getenv(name))  // NOLINT(concurrency-mt-unsafe): one thread
        plan.environment_texts.push_back(fmt::format("{}={}", name, value));
  } else {
    for (char** entry = environ; *entry != nullptr; ++entry)
      plan.environment_texts.emplace_back(*entry);
  }
  for (const std::string& text : request.environment) plan.environment_texts.push_back(text);
  for (std::string& text : plan.environment_texts) plan.environment.push_back(text.data());
  plan.environment.push_back(nullptr);
}

Plan make_plan(const SpawnRequest& request) {
  Plan plan;
  for (const std::string& argument : request.command)
    plan.arguments.push_back(const_cast<char*>(argument.c_str()));  // exec does not write to it
  plan.arguments.push_back(nullptr);
  if (!request.self) plan.programs = program_candidates(request.command.front());
  add_environment(plan, request);
  return plan;
}

// ---- after the fork: system calls only ---------------------------------------------------------

[[noreturn]] void give_up(int report, const char* step) {
  Failure failure;
  failure.error = errno;
  std::strncpy(failure.step.data(), step, failure.step.size() - 1);
  [[maybe_unused]] const ssize_t written = write(report, &failure, sizeof failure);
  _exit(127);
}

bool limit(__rlimit_resource resource, std::uint64_t value, std::uint64_t patience = 0) {
  if (value == 0) return true;
  const rlimit both{value, value + patience};
  return setrlimit(resource, &both) == 0;
}

bool set_limits(const ChildLimits& limits) {
  const rlimit none{0, 0};
  return setrlimit(RLIMIT_CORE, &none) == 0 && limit(RLIMIT_DATA, limits.memory_bytes) &&
         // SIGXCPU, which says what was wrong; SIGKILL a second later.
         limit(RLIMIT_CPU, limits.cpu_seconds, 1) && limit(RLIMIT_NOFILE, limits.files) &&
         limit(RLIMIT_NPROC, limits.processes);
}

bool become(const ChildUser& user) {
  return user.uid == 0 ||
         (setgroups(0, nullptr) == 0 && setgid(user.gid) == 0 && setuid(user.uid) == 0);
}

void reset_signals() {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

/// `report` and `self` are above 2 and close with exec.
[[noreturn]] void become_program(const Plan& plan, const SpawnRequest& request,
                                 const std::array<int, 3>& fds, int self, int report) {
  setsid();
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) give_up(report, "subreaper");
  for (int i = 0; i < 3; ++i)
    if (dup2(fds[static_cast<std::size_t>(i)], i) < 0) give_up(report, "dup2");
  if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) give_up(report, "close_range");
  if (!become(request.user)) give_up(report, "setuid");
  // After the change of user, which clears it.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) give_up(report, "pdeathsig");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) give_up(report, "no_new_privs");
  if (!set_limits(request.limits)) give_up(report, "setrlimit");
  reset_signals();
  if (plan.programs.empty()) {
    fexecve(self, plan.arguments.data(), plan.environment.data());
    give_up(report, "exec");
  }
  int error = ENOENT;
  for (const std::string& program : plan.programs) {
    execve(program.c_str(), plan.arguments.data(), plan.environment.data());
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
  }
  errno = error;
  give_up(report, "exec");
}

}  // namespace

std::vector<std::string> program_candidates(const std::string& program) {
  if (program.find('/') != std::string::npos) return {program};
  const char* path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): one thread
  std::vector<std::string> found;
  std::string_view rest = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::string_view folder = rest.substr(0, end);
    found.push_back(fmt::format("{}/{}", folder.empty() ? "." : folder, program));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return found;
}

Result<pid_t> spawn_child(const SpawnRequest& request, const std::array<int, 3>& fds, int self) {
  const Plan plan = make_plan(request);
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0)
    return fail(ErrorCode::internal, fmt::format("pipe: {}", strerrorname_np(errno)));
  const Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  const pid_t pid = fork();
  if (pid < 0) return fail(ErrorCode::internal, fmt::format("fork: {}", strerrorname_np(errno)));
  if (pid == 0) become_program(plan, request, fds, self, writing.get());
  writing.reset();
  Failure failure;
  ssize_t size = 0;
  while ((size = read(reading.get(), &failure, sizeof failure)) < 0 && errno == EINTR) {
  }
  if (size == 0) return pid;  // closed by exec
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return fail(ErrorCode::internal,
              fmt::format("{}: {}", failure.step.data(), strerrordesc_np(failure.error)));
}

}  // namespace millrace::worker
