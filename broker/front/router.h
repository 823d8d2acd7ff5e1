#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "broker/engine/effects.h"
#include "common/errors.h"

namespace millrace::broker {

/// The broker's socket: frames in and out, connections as numbers. One thread makes, uses and
/// closes it.
class Router {
 public:
  struct Frame {
    ConnectionId from;
    std::string bytes;
    bool one_part = true;  ///< else the message had more parts, which were dropped
  };

  /// Binds. Errors: address_in_use, bad_request (no endpoint, or not permitted).
  static Result<std::unique_ptr<Router>> bind(const std::string& endpoint);
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  /// Where peers connect; differs from what was asked for when the port was `*`.
  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }

  /// The next message, without waiting.
  std::optional<Frame> receive();
  /// False when the peer is gone or does not read.
  bool send(ConnectionId to, std::string_view bytes);
  /// Waits until there is something to read, one of the descriptors is readable, or the time is up.
  void wait(Duration timeout, std::initializer_list<int> wake_fds);

 private:
  struct Socket;
  explicit Router(std::unique_ptr<Socket> socket);
  ConnectionId connection(std::string routing_id);

  std::unique_ptr<Socket> socket_;
  std::string endpoint_;
  std::map<std::string, ConnectionId> by_routing_id_;
  std::map<ConnectionId, std::string> routing_ids_;
  std::uint64_t last_connection_ = 0;
};

}  // namespace millrace::broker
