#pragma once

// IP addresses as values, and where they lead. Pure; any thread.

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace millrace::net {

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

/// The first `bits` (0 to 32, or 128) of both are the same.
[[nodiscard]] bool matches(const IpAddress& address, const IpAddress& network, int bits);

/// True for `ipc://…` and for TCP on 127.0.0.0/8, ::1 or `localhost`: everybody who can enqueue is
/// on this machine.
[[nodiscard]] bool is_local_endpoint(std::string_view endpoint);

}  // namespace millrace::net
