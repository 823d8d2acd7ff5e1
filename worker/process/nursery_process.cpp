#include "worker/process/nursery_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <vector>

#include "common/util/descriptor.h"
#include "common/util/process_tree.h"
#include "worker/process/spawn_child.h"

namespace millrace::worker {
namespace {

/// How often it looks for what was left behind, while it knows of something.
constexpr int kSweepEvery = 50;  // ms

class NurseryProcess {
 public:
  explicit NurseryProcess(int socket) : socket_(socket) {}

  int run();

 private:
  bool serve_requests();
  void serve(const NurseryRequest& request, const std::array<int, 3>& fds);
  void start(const SpawnRequest& request, const std::array<int, 3>& fds);
  [[nodiscard]] std::size_t threads_now(uid_t user);
  void reap();
  void report(const NurseryReport& report);
  [[nodiscard]] bool kill_orphans() const;
  void end_all();

  Descriptor socket_;
  Descriptor signals_;
  Descriptor self_;
  std::map<pid_t, std::uint64_t> children_;
  bool orphans_ = false;
  std::optional<std::chrono::steady_clock::time_point> counted_at_;
  std::size_t threads_ = 0;
};

/// A process group of its own, so that Ctrl-C in a terminal is the worker's to deal with; nothing
/// of the worker's but the socket and stderr.
void leave_worker(int socket) {
  setsid();
  prctl(PR_SET_NAME, "mr-nursery");
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const int nothing = open("/dev/null", O_RDWR);
  dup2(nothing, 0);
  dup2(nothing, 1);
  dup2(socket, 3);
  close_range(4, ~0U, 0);
  fcntl(3, F_SETFD, FD_CLOEXEC);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT}) ::signal(signal, SIG_IGN);
}

int NurseryProcess::run() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGCHLD);
  pthread_sigmask(SIG_SETMASK, &ends, nullptr);
  signals_ = Descriptor(signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK));
  self_ = Descriptor(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  while (true) {
    std::array<pollfd, 2> fds{{{socket_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}}};
    if (poll(fds.data(), fds.size(), orphans_ ? kSweepEvery : -1) < 0 && errno != EINTR) break;
    signalfd_siginfo ignored{};
    while (read(signals_.get(), &ignored, sizeof ignored) > 0) {
    }
    reap();
    if (fds[0].revents != 0 && !serve_requests()) break;
  }
  end_all();
  return 0;
}

/// False when the worker is gone.
bool NurseryProcess::serve_requests() {
  static std::array<char, kNurseryMessageMax> buffer;
  while (true) {
    iovec part{buffer.data(), buffer.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(3 * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t size = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return true;
    if (size <= 0) return false;
    std::array<int, 3> fds{-1, -1, -1};
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_type == SCM_RIGHTS)
      std::memcpy(fds.data(), CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
    serve(unpack_message<NurseryRequest>(buffer.data(), static_cast<std::size_t>(size)), fds);
    for (const int fd : fds)
      if (fd >= 0) close(fd);
  }
}

void NurseryProcess::serve(const NurseryRequest& request, const std::array<int, 3>& fds) {
  if (request.kill == 0) return start(request.spawn, fds);
  for (const auto& [pid, id] : children_)
    if (id == request.kill) return kill_tree(pid);
}

void NurseryProcess::start(const SpawnRequest& request, const std::array<int, 3>& fds) {
  SpawnRequest limited = request;
  if (limited.limits.processes > 0)
    limited.limits.processes = 2 * limited.limits.processes + threads_now(request.user.uid);
  const Result<pid_t> pid = spawn_child(limited, fds, self_.get());
  NurseryReport told{.id = request.id};
  if (pid) {
    children_.emplace(*pid, request.id);
    told.kind = static_cast<std::uint8_t>(ReportKind::started);
    told.pid = *pid;
  } else {
    told.kind = static_cast<std::uint8_t>(ReportKind::not_started);
    told.error = pid.error().message;
  }
  report(told);
}

/// Counted anew once a second: a process for each job must not cost a look at all there are.
std::size_t NurseryProcess::threads_now(uid_t user) {
  const auto now = std::chrono::steady_clock::now();
  if (!counted_at_ || now - *counted_at_ > std::chrono::seconds(1)) {
    threads_ = threads_of_user(user != 0 ? user : geteuid());
    counted_at_ = now;
  }
  return threads_;
}

/// Whoever ended. Of a child everything that descends from it is killed before its end is told:
/// while it lived it adopted its orphans itself, now they are ours.
void NurseryProcess::reap() {
  int status = 0;
  rusage used{};
  for (pid_t pid = 0; (pid = wait4(-1, &status, WNOHANG, &used)) > 0;) {
    const auto child = children_.find(pid);
    if (child == children_.end()) continue;
    ::kill(-pid, SIGKILL);
    const auto micros = [](const timeval& time) { return time.tv_sec * 1'000'000 + time.tv_usec; };
    const NurseryReport told{.id = child->second,
                             .kind = static_cast<std::uint8_t>(ReportKind::ended),
                             .pid = pid,
                             .status = status,
                             .error = {},
                             .user_us = micros(used.ru_utime),
                             .system_us = micros(used.ru_stime),
                             .rss_max_kib = used.ru_maxrss};
    children_.erase(child);
    orphans_ = kill_orphans();
    report(told);
  }
  if (orphans_) orphans_ = kill_orphans();
}

/// Children of ours that we did not start. False when there are none.
bool NurseryProcess::kill_orphans() const {
  bool any = false;
  for (const pid_t pid : children_of(getpid())) {
    if (children_.contains(pid)) continue;
    any = true;
    kill_tree(pid);
  }
  return any;
}

void NurseryProcess::report(const NurseryReport& told) {
  const std::string bytes = pack_message(told);
  // A worker that is gone is noticed by the next read.
  while (send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

void NurseryProcess::end_all() {
  while (true) {
    std::vector<pid_t> left = children_of(getpid());
    if (left.empty()) return;
    for (const pid_t pid : left) kill_tree(pid);
    // At least one of them ends now; the others are looked at again.
    while (waitpid(-1, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

}  // namespace

int run_nursery(int socket) {
  leave_worker(socket);
  try {
    return NurseryProcess(3).run();
  } catch (...) {
    return 70;  // PR_SET_PDEATHSIG takes the children along
  }
}

}  // namespace millrace::worker
