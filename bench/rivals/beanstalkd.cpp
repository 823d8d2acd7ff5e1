// beanstalkd by its text protocol: puts, reserves and deletes pipelined on one connection.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "bench/rivals/rival.h"

namespace millrace::rivals {
namespace {

/// One connection, read by lines and by bodies of a known size.
class Connection {
 public:
  explicit Connection(int port) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int yes = 1;
    if (connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0)
      fail("cannot connect to beanstalkd");
  }
  ~Connection() { close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) fail("beanstalkd closed the connection");
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  /// Without its line end. The view holds until the next call.
  std::string_view line() {
    std::size_t end = 0;
    while ((end = buffer_.find("\r\n", used_)) == std::string::npos) receive();
    return take(end - used_);
  }

  std::string_view body(std::size_t bytes) {
    while (buffer_.size() < used_ + bytes + 2) receive();
    return take(bytes);
  }

 private:
  void receive() {
    buffer_.erase(0, std::exchange(used_, 0));
    char bytes[65536];
    const ssize_t received = recv(socket_, bytes, sizeof bytes, 0);
    if (received <= 0) fail("beanstalkd closed the connection");
    buffer_.append(bytes, static_cast<std::size_t>(received));
  }

  std::string_view take(std::size_t bytes) {
    const std::string_view taken(buffer_.data() + used_, bytes);
    used_ += bytes + 2;
    return taken;
  }

  int socket_;
  std::string buffer_;
  std::size_t used_ = 0;
};

class TubeProducer : public Producer {
 public:
  explicit TubeProducer(const Options& options) : connection_(options.port) {}

  void enqueue(const std::vector<std::string>& payloads) override {
    std::string request;
    for (const auto& payload : payloads) {
      // Priority, delay, time to run, bytes.
      request += "put 0 0 60 " + std::to_string(payload.size()) + "\r\n" + payload + "\r\n";
    }
    connection_.send(request);
    for (std::size_t i = 0; i < payloads.size(); ++i)
      if (!connection_.line().starts_with("INSERTED ")) fail("put was refused");
  }

 private:
  Connection connection_;
};

class TubeWorker : public Worker {
 public:
  explicit TubeWorker(const Options& options) : connection_(options.port), batch_(options.batch) {}

  std::size_t work(milliseconds wait, Handler handler) override {
    // A reserve that waits holds up what is pipelined behind it: only a lone one may wait.
    const std::size_t reserves = wait.count() > 0 ? 1 : batch_;
    std::string request;
    for (const auto& id : ids_) request += "delete " + id + "\r\n";
    for (std::size_t i = 0; i < reserves; ++i)
      request += wait.count() > 0 ? "reserve-with-timeout 1\r\n" : "reserve-with-timeout 0\r\n";
    connection_.send(request);
    for (std::size_t i = 0; i < ids_.size(); ++i)
      if (connection_.line() != "DELETED") fail("delete was refused");
    ids_.clear();
    for (std::size_t i = 0; i < reserves; ++i) receive_job(handler);
    return ids_.size();
  }

 private:
  void receive_job(Handler handler) {
    const std::string line(connection_.line());
    if (line == "TIMED_OUT") return;
    // RESERVED <id> <bytes>
    const std::size_t space = line.find(' ', 9);
    if (!line.starts_with("RESERVED ") || space == std::string::npos) fail("answer: " + line);
    handler(connection_.body(std::strtoul(line.c_str() + space, nullptr, 10)));
    ids_.push_back(line.substr(9, space - 9));
  }

  Connection connection_;
  std::size_t batch_;
  std::vector<std::string> ids_;
};

}  // namespace
}  // namespace millrace::rivals

int main(int argc, char** argv) {
  using namespace millrace::rivals;
  return run(
      argc, argv, [](const Options& o) { return std::make_unique<TubeProducer>(o); },
      [](const Options& o) { return std::make_unique<TubeWorker>(o); });
}
