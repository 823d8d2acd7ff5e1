#include "worker/process/nursery.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "worker/process/nursery_process.h"

namespace millrace::worker {
namespace {

/// A child that cannot be killed, as in a system call that never returns, must not hold up a
/// worker.
constexpr std::chrono::milliseconds kEndMax{1000};

[[noreturn]] void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

Nursery Nursery::launch() {
  std::array<int, 2> pair{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0)
    throw_errno("cannot make the nursery's socket");
  Descriptor ours(pair[0]);
  Descriptor theirs(pair[1]);
  const pid_t pid = fork();
  if (pid < 0) throw_errno("cannot start the nursery");
  if (pid == 0) {
    ours.reset();
    _exit(run_nursery(theirs.get()));
  }
  return {std::move(ours), pid};
}

Nursery::~Nursery() {
  if (socket_.get() < 0) return;  // moved away
  // It kills everything when it reads the end, and its own end closes the other direction.
  shutdown(socket_.get(), SHUT_WR);
  const auto deadline = std::chrono::steady_clock::now() + kEndMax;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd end{socket_.get(), POLLIN, 0};
    if (left.count() <= 0 || poll(&end, 1, static_cast<int>(left.count())) == 0) return;
    char report = 0;  // of what ended; nobody reads it any more
    const ssize_t size = recv(socket_.get(), &report, sizeof report, MSG_DONTWAIT);
    if (size == 0 || (size < 0 && errno != EINTR && errno != EAGAIN)) break;
  }
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Nursery::spawn(const SpawnRequest& request, const std::array<int, 3>& fds) const {
  send({.kill = 0, .spawn = request}, fds.data(), fds.size());
}

void Nursery::kill(std::uint64_t id) const { send({.kill = id, .spawn = {}}, nullptr, 0); }

void Nursery::send(const NurseryRequest& request, const int* fds, std::size_t count) const {
  std::string bytes = pack_message(request);
  if (bytes.size() > kNurseryMessageMax)
    throw std::system_error(E2BIG, std::generic_category(), "a child's command is too long");
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(3 * sizeof(int))> control{};
  if (count > 0) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds, count * sizeof(int));
  }
  while (sendmsg(socket_.get(), &message, MSG_NOSIGNAL) < 0)
    if (errno != EINTR) throw_errno("the nursery is lost");
}

std::vector<NurseryReport> Nursery::take() const {
  std::vector<NurseryReport> reports;
  std::string buffer(kNurseryMessageMax, '\0');
  while (true) {
    const ssize_t size = recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size > 0) {
      reports.push_back(
          unpack_message<NurseryReport>(buffer.data(), static_cast<std::size_t>(size)));
    } else if (size < 0 && errno == EINTR) {
      continue;
    } else if (size < 0 && errno == EAGAIN) {
      return reports;
    } else {
      throw std::runtime_error("the nursery is lost: it was killed");
    }
  }
}

}  // namespace millrace::worker
