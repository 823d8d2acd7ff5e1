#include "url_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>

namespace millrace::worker {
namespace {

int bind_loopback(std::uint16_t& port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (fd < 0 || bind(fd, generic, length) != 0 || getsockname(fd, generic, &length) != 0)
    throw std::runtime_error("no port on 127.0.0.1");
  port = ntohs(address.sin_port);
  return fd;
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

}  // namespace

UrlServer::UrlServer(Respond respond)
    : respond_(std::move(respond)), listener_(bind_loopback(port_)) {
  if (listen(listener_, 256) != 0) throw std::runtime_error("cannot listen on 127.0.0.1");
  thread_ = std::jthread([this] { serve(); });
}

UrlServer::~UrlServer() {
  shutdown(listener_, SHUT_RDWR);  // accept() returns
  if (const int fd = serving_; fd >= 0) shutdown(fd, SHUT_RDWR);
  thread_.join();
  for (const int fd : held_) close(fd);
  close(listener_);
}

std::string UrlServer::url(const std::string& path) const {
  return fmt::format("http://127.0.0.1:{}{}", port_, path);
}

std::vector<std::string> UrlServer::requests() {
  const std::lock_guard lock(mutex_);
  return requests_;
}

bool UrlServer::wait_for_requests(std::size_t count) {
  std::unique_lock lock(mutex_);
  return arrived_.wait_for(lock, std::chrono::seconds(20),
                           [&] { return requests_.size() >= count; });
}

void UrlServer::serve() {
  while (true) {
    const int fd = accept(listener_, nullptr, nullptr);
    if (fd < 0) return;
    ++connections_;
    serving_ = fd;
    while (answer(fd)) {
    }
    serving_ = -1;
  }
}

bool UrlServer::answer(int fd) {
  std::string request;
  std::array<char, 4096> buffer{};
  while (request.find("\r\n\r\n") == std::string::npos) {
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0 && (request.empty() || got < 0)) {
      close(fd);
      return false;
    }
    if (got == 0) break;
    request.append(buffer.data(), static_cast<std::size_t>(got));
    if (request.front() == '\x16') break;  // TLS says hello; it gets the same plain answer
  }
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    arrived_.notify_all();
  }
  const Answer reply = respond_(request);
  bool open = send_all(fd, reply.text);
  const std::string zeros(65536, '0');
  for (std::size_t left = reply.zeros; open && left > 0;) {
    const std::size_t count = std::min(left, zeros.size());
    open = send_all(fd, std::string_view(zeros).substr(0, count));
    left -= count;
  }
  if (reply.keep && open) return true;
  if (reply.hold) {
    held_.push_back(fd);
    return false;
  }
  if (reply.reset) {
    const linger now{1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  close(fd);
  return false;
}

std::uint16_t closed_port() {
  std::uint16_t port = 0;
  close(bind_loopback(port));
  return port;
}

}  // namespace millrace::worker
