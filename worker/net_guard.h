#pragma once

// Which addresses a job may make this worker connect to. A worker inside a network would otherwise
// be a way into it for everybody who may enqueue. Pure; any thread.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/errors.h"
#include "common/net/ip_address.h"

struct sockaddr;

namespace millrace::worker {

using net::IpAddress;
using net::is_local_endpoint;
using net::is_public;
using net::parse_ip;
using net::unwrapped;

/// `10.0.0.0/8`, `10.1.2.3`, `10.0.0.0/8:8080`, `fd00::/8`, `[fd00::1]:80`, `[fd00::/8]:80`.
struct NetRule {
  IpAddress network;
  int bits = 0;
  std::optional<std::uint16_t> port;  ///< none: any
};
[[nodiscard]] Result<NetRule> parse_net_rule(std::string_view text);

class NetGuard {
 public:
  /// Allows everything.
  NetGuard() = default;
  /// Allows public addresses and what a rule names.
  explicit NetGuard(std::vector<NetRule> rules) : public_only_(true), rules_(std::move(rules)) {}

  [[nodiscard]] bool allows(const IpAddress& address, std::uint16_t port) const;
  /// `length` bytes of an AF_INET or AF_INET6 address; anything else is not allowed.
  [[nodiscard]] bool allows(const sockaddr* address, std::size_t length) const;

 private:
  bool public_only_ = false;
  std::vector<NetRule> rules_;
};

}  // namespace millrace::worker
