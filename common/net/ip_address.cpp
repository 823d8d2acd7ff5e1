#include "common/net/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <iterator>
#include <string>

namespace millrace::net {
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

bool matches(const IpAddress& address, const Block& block) {
  return matches(address, *parse_ip(block.network), block.bits);
}

bool any_matches(const IpAddress& address, const auto& blocks) {
  return std::any_of(std::begin(blocks), std::end(blocks),
                     [&](const Block& block) { return matches(address, block); });
}

}  // namespace

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

}  // namespace millrace::net
