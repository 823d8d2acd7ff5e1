#include "worker/net_guard.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace millrace::worker {
namespace {

struct Block {
  const char* network;
  int bits;
};

// IPv4 that is not of the open internet (IANA special-purpose registry).
constexpr Block kClosedV4[] = {
    {"0.0.0.0", 8},      {"10.0.0.0", 8},     {"100.64.0.0", 10}, {"127.0.0.0", 8},
    {"169.254.0.0", 16}, {"172.16.0.0", 12},  {"192.0.0.0", 24},  {"192.0.2.0", 24},
    {"192.88.99.0", 24}, {"192.168.0.0", 16}, {"198.18.0.0", 15}, {"198.51.100.0", 24},
    {"203.0.113.0", 24}, {"224.0.0.0", 4},    {"240.0.0.0", 4},
};
// Of IPv6 only 2000::/3 is given out; these parts of it are not of the open internet.
constexpr Block kGlobalV6{"2000::", 3};
constexpr Block kClosedV6[] = {{"2001::", 23}, {"2001:db8::", 32}, {"3fff::", 20}};
// Addresses that carry an IPv4 address, and where.
struct Wrapper {
  Block block;
  std::size_t offset;
};
constexpr Wrapper kWrappers[] = {
    {{"::ffff:0:0", 96}, 12}, {{"64:ff9b::", 96}, 12}, {{"2002::", 16}, 2}};

bool matches(const IpAddress& address, const IpAddress& network, int bits) {
  if (address.v6 != network.v6) return false;
  const auto whole = static_cast<std::size_t>(bits / 8);
  if (!std::equal(network.bytes.begin(), network.bytes.begin() + static_cast<long>(whole),
                  address.bytes.begin()))
    return false;
  if (bits % 8 == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xFF << (8 - bits % 8));
  return (network.bytes[whole] & mask) == (address.bytes[whole] & mask);
}

bool matches(const IpAddress& address, const Block& block) {
  return matches(address, *parse_ip(block.network), block.bits);
}

bool any_matches(const IpAddress& address, const auto& blocks) {
  return std::any_of(std::begin(blocks), std::end(blocks),
                     [&](const Block& block) { return matches(address, block); });
}

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

std::optional<IpAddress> parse_ip(std::string_view text) {
  const std::string terminated(text);
  IpAddress address;
  if (inet_pton(AF_INET, terminated.c_str(), address.bytes.data()) == 1) return address;
  address.v6 = true;
  if (inet_pton(AF_INET6, terminated.c_str(), address.bytes.data()) == 1) return address;
  return std::nullopt;
}

IpAddress unwrapped(const IpAddress& address) {
  for (const Wrapper& wrapper : kWrappers) {
    if (!matches(address, wrapper.block)) continue;
    IpAddress inner;
    std::copy_n(address.bytes.begin() + static_cast<long>(wrapper.offset), 4, inner.bytes.begin());
    return inner;
  }
  return address;
}

bool is_public(const IpAddress& address) {
  const IpAddress inner = unwrapped(address);
  if (!inner.v6) return !any_matches(inner, kClosedV4);
  return matches(inner, kGlobalV6) && !any_matches(inner, kClosedV6);
}

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

bool is_local_endpoint(std::string_view endpoint) {
  if (endpoint.starts_with("ipc://") || endpoint.starts_with("inproc://")) return true;
  if (!endpoint.starts_with("tcp://")) return false;
  std::string_view host = endpoint.substr(6);
  host = host.substr(0, host.rfind(':'));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host == "localhost") return true;
  const auto address = parse_ip(host);
  if (!address) return false;  // a name: only a resolver could tell, and it may change its mind
  const IpAddress inner = unwrapped(*address);
  return matches(inner, Block{"127.0.0.0", 8}) || matches(inner, Block{"::1", 128});
}

bool NetGuard::allows(const IpAddress& address, std::uint16_t port) const {
  if (!public_only_ || is_public(address)) return true;
  const IpAddress inner = unwrapped(address);
  return std::any_of(rules_.begin(), rules_.end(), [&](const NetRule& rule) {
    return (!rule.port || *rule.port == port) &&
           (matches(inner, rule.network, rule.bits) || matches(address, rule.network, rule.bits));
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
