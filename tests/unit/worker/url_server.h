#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace millrace::worker {

/// A web server for tests on 127.0.0.1, on a port the system picks. It reads one request, lets
/// `answer` say what to send back, sends it and closes.
class UrlServer {
 public:
  struct Answer {
    std::string text;
    bool reset = false;     ///< end the connection with RST
    bool hold = false;      ///< keep it open until the server ends
    bool keep = false;      ///< read another request on it; meanwhile nobody else is served
    std::size_t zeros = 0;  ///< bytes sent behind `text`
  };
  /// `request` is everything up to the blank line.
  using Respond = std::function<Answer(const std::string& request)>;

  explicit UrlServer(Respond respond);
  ~UrlServer();
  UrlServer(const UrlServer&) = delete;
  UrlServer& operator=(const UrlServer&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string url(const std::string& path = "/") const;
  /// Requests so far.
  [[nodiscard]] std::vector<std::string> requests();
  /// Waits until there are so many; false after 20 s.
  [[nodiscard]] bool wait_for_requests(std::size_t count);
  /// Connections so far.
  [[nodiscard]] int connections() const { return connections_; }

 private:
  void serve();
  /// Whether the connection is to be used once more.
  [[nodiscard]] bool answer(int fd);

  Respond respond_;
  std::uint16_t port_ = 0;  // before the listener, which sets it
  int listener_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::atomic<int> connections_{0};
  std::atomic<int> serving_{-1};
  std::vector<std::string> requests_;
  std::vector<int> held_;  // by the serving thread
  std::jthread thread_;
};

/// A port on which nobody listens.
[[nodiscard]] std::uint16_t closed_port();

}  // namespace millrace::worker
