#pragma once

// Which addresses a job may make this worker connect to. A worker inside a network would otherwise
// be a way into it for everybody who may enqueue. Pure; any thread.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/errors.h"

struct sockaddr;

namespace millrace::worker {

/// An IPv4 or IPv6 address as bytes in network order.
struct IpAddress {
  bool v6 = false;
  std::array<std::uint8_t, 16> bytes{};  // IPv4: the first 4
  bool operator==(const IpAddress&) const = default;
};

/// Dotted quad or IPv6 text without brackets, port or zone.
[[nodiscard]] std::optional<IpAddress> parse_ip(std::string_view text);

/// The IPv4 address inside a v4-mapped, NAT64 or 6to4 address; any other address is itself.
[[nodiscard]] IpAddress unwrapped(const IpAddress& address);

/// True for what belongs to the open internet: not loopback, private, link-local, shared (CGNAT),
/// multicast, unspecified, documentation or reserved, in no disguise.
[[nodiscard]] bool is_public(const IpAddress& address);

/// `10.0.0.0/8`, `10.1.2.3`, `10.0.0.0/8:8080`, `fd00::/8`, `[fd00::1]:80`, `[fd00::/8]:80`.
struct NetRule {
  IpAddress network;
  int bits = 0;
  std::optional<std::uint16_t> port;  ///< none: any
};
[[nodiscard]] Result<NetRule> parse_net_rule(std::string_view text);

/// True for `ipc://…` and for TCP on 127.0.0.0/8, ::1 or `localhost`: everybody who can enqueue is
/// on this machine.
[[nodiscard]] bool is_local_endpoint(std::string_view endpoint);

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
