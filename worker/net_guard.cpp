#include "worker/net_guard.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace millrace::worker {
namespace {

std::optional<int> parse_number(std::string_view text, int max) {
  int value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end || value < 0 || value > max) return std::nullopt;
  return value;
}

/// Splits `CIDR:PORT` and `[CIDR]:PORT`; without a port the second part is empty. Nothing when the
/// brackets or colons make no sense.
std::optional<std::pair<std::string_view, std::string_view>> split_port(std::string_view text) {
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == text.npos) return std::nullopt;
    const std::string_view inside = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (rest.empty()) return std::pair{inside, rest};
    if (!rest.starts_with(':') || rest.size() == 1) return std::nullopt;
    return std::pair{inside, rest.substr(1)};
  }
  const std::size_t colon = text.find(':');
  if (colon == text.npos || colon != text.rfind(':')) return std::pair{text, std::string_view{}};
  if (colon + 1 == text.size()) return std::nullopt;
  return std::pair{text.substr(0, colon), text.substr(colon + 1)};
}

}  // namespace

Result<NetRule> parse_net_rule(std::string_view text) {
  const auto wrong = [&](std::string_view what) {
    return fail(ErrorCode::usage,
                fmt::format("`{}` is no CIDR[:PORT]: {}; write 10.0.0.0/8, 10.1.2.3:8080 or "
                            "[fd00::/8]:80",
                            text, what));
  };
  const auto parts = split_port(text);
  if (!parts) return wrong("the port is missing");
  const auto [cidr, port] = *parts;
  const std::size_t slash = cidr.find('/');
  const auto address = parse_ip(cidr.substr(0, slash));
  if (!address) return wrong("no such address");
  NetRule rule{.network = *address, .bits = address->v6 ? 128 : 32, .port = {}};
  if (slash != cidr.npos) {
    const auto bits = parse_number(cidr.substr(slash + 1), rule.bits);
    if (!bits) return wrong(fmt::format("the prefix is 0 to {}", rule.bits));
    rule.bits = *bits;
  }
  if (!port.empty()) {
    const auto number = parse_number(port, 65535);
    if (!number || *number == 0) return wrong("a port is 1 to 65535");
    rule.port = static_cast<std::uint16_t>(*number);
  }
  return rule;
}

bool NetGuard::allows(const IpAddress& address, std::uint16_t port) const {
  if (!public_only_ || is_public(address)) return true;
  const IpAddress inner = unwrapped(address);
  return std::any_of(rules_.begin(), rules_.end(), [&](const NetRule& rule) {
    return (!rule.port || *rule.port == port) && (net::matches(inner, rule.network, rule.bits) ||
                                                  net::matches(address, rule.network, rule.bits));
  });
}

bool NetGuard::allows(const sockaddr* address, std::size_t length) const {
  IpAddress ip;
  if (address->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof in);
    std::memcpy(ip.bytes.data(), &in.sin_addr, 4);
    return allows(ip, ntohs(in.sin_port));
  }
  if (address->sa_family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
    sockaddr_in6 in{};
    std::memcpy(&in, address, sizeof in);
    ip.v6 = true;
    std::memcpy(ip.bytes.data(), &in.sin6_addr, 16);
    return allows(ip, ntohs(in.sin6_port));
  }
  return false;
}

}  // namespace millrace::worker
