// A web site for bench/url_check.sh: answers each request after a while, on connections that stay
// open. One thread and epoll, so that it is not what is measured.
//
//   url-site [DELAY_MS]
//
// Prints `ready PORT`, serves 127.0.0.1 until it is ended, and prints `CONNECTIONS REQUESTS` then.

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kAnswer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n";

class Site {
 public:
  explicit Site(std::chrono::milliseconds delay) : delay_(delay), epoll_(epoll_create1(0)) {
    listen_on_loopback();
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    signals_ = signalfd(-1, &signals, 0);
    if (epoll_ < 0 || signals_ < 0) throw std::runtime_error("no file descriptor left");
    add(listener_);
    add(signals_);
  }
  ~Site() {
    close(listener_);
    close(signals_);
    close(epoll_);
  }
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }

  void serve() {
    std::array<epoll_event, 1024> events{};
    while (true) {
      const int count = epoll_wait(epoll_, events.data(), events.size(), wait_ms());
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == signals_) return;
        if (fd == listener_)
          accept_all();
        else
          read_requests(fd);
      }
      answer_due();
    }
  }
  void report() const { fmt::print("{} {}\n", connections_, requests_); }

 private:
  struct Pending {
    Clock::time_point due;
    int fd = -1;
    std::uint32_t generation = 0;
  };
  struct Connection {
    std::uint32_t generation = 0;  // how often this descriptor was used
    unsigned matched = 0;          // of the blank line that ends a request
  };

  void listen_on_loopback() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (listener_ < 0 || bind(listener_, generic, length) != 0 || listen(listener_, 4096) != 0 ||
        getsockname(listener_, generic, &length) != 0)
      throw std::runtime_error("cannot listen on 127.0.0.1");
    port_ = ntohs(address.sin_port);
  }

  void add(int fd) const {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  void accept_all() {
    while (true) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK);
      if (fd < 0) return;
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      if (static_cast<std::size_t>(fd) >= open_.size()) open_.resize(fd + 1U);
      ++open_[static_cast<std::size_t>(fd)].generation;
      open_[static_cast<std::size_t>(fd)].matched = 0;
      ++connections_;
      add(fd);
    }
  }

  void read_requests(int fd) {
    std::array<char, 16384> text;
    const ssize_t got = recv(fd, text.data(), text.size(), 0);
    Connection& connection = open_[static_cast<std::size_t>(fd)];
    if (got <= 0) {
      if (got < 0 && errno == EAGAIN) return;
      ++connection.generation;  // what is due for it is not sent to the next one
      close(fd);
      return;
    }
    for (const char c : std::string_view(text.data(), static_cast<std::size_t>(got))) {
      connection.matched = c == "\r\n\r\n"[connection.matched] ? connection.matched + 1
                           : c == '\r'                         ? 1
                                                               : 0;
      if (connection.matched < 4) continue;
      connection.matched = 0;
      ++requests_;
      pending_.push_back({Clock::now() + delay_, fd, connection.generation});
    }
  }

  /// All wait equally long, so the first to come is the first due.
  void answer_due() {
    const auto now = Clock::now();
    for (; !pending_.empty() && pending_.front().due <= now; pending_.pop_front()) {
      const Pending& next = pending_.front();
      if (open_[static_cast<std::size_t>(next.fd)].generation == next.generation)
        send(next.fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL);
    }
  }

  [[nodiscard]] int wait_ms() const {
    if (pending_.empty()) return -1;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(pending_.front().due - Clock::now());
    return static_cast<int>(std::max<std::int64_t>(0, left.count()));
  }

  const std::chrono::milliseconds delay_;
  int epoll_;
  int listener_ = -1;
  int signals_ = -1;
  std::uint16_t port_ = 0;
  std::vector<Connection> open_;  // by file descriptor
  std::deque<Pending> pending_;
  std::uint64_t connections_ = 0;
  std::uint64_t requests_ = 0;
};

}  // namespace
}  // namespace millrace::bench

int main(int argc, char** argv) {
  try {
    int delay = 50;
    if (argc > 1) std::from_chars(argv[1], argv[1] + std::strlen(argv[1]), delay);
    millrace::bench::Site site{std::chrono::milliseconds(delay)};
    fmt::print("ready {}\n", site.port());
    std::fflush(stdout);
    site.serve();
    site.report();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "url-site: {}\n", error.what());
    return 70;
  }
}
