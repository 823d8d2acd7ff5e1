#include "worker/net_guard.h"

#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>

namespace millrace::worker {
namespace {

/// Asks `guard` about a host as it may stand in a URL: the resolver's spellings, not only ours.
bool allows(const NetGuard& guard, const char* host, const char* port = "80") {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host, port, &hints, &found) != 0) {
    ADD_FAILURE() << host << " is no address";
    return true;
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, freeaddrinfo);
  return guard.allows(found->ai_addr, found->ai_addrlen);
}

NetGuard remote(std::initializer_list<const char*> rules = {}) {
  std::vector<NetRule> parsed;
  for (const char* text : rules) parsed.push_back(parse_net_rule(text).value());
  return NetGuard(parsed);
}

TEST(NetGuard, SeesAPrivateAddressInEverySpelling) {
  const NetGuard guard = remote();
  for (const char* host : {
           "127.0.0.1",
           "127.1",
           "2130706433",
           "0x7f000001",
           "017700000001",
           "0x7f.0.0.1",
           "0",
           "0.0.0.0",
           "10.1.2.3",
           "172.16.0.1",
           "172.31.255.255",
           "192.168.1.1",
           "169.254.169.254",
           "100.64.0.1",
           "100.127.255.255",
           "198.18.0.1",
           "224.0.0.1",
           "255.255.255.255",
           "::",
           "::1",
           "::ffff:127.0.0.1",
           "::ffff:a00:1",
           "::127.0.0.1",
           "64:ff9b::192.168.0.1",
           "64:ff9b:1::1",
           "2002:7f00:1::",
           "2002:c0a8:101::1",
           "2001:0:7f00:1::",
           "2001:db8::1",
           "fe80::1",
           "fec0::1",
           "fc00::1",
           "fd12:3456::1",
           "ff02::1",
       })
    EXPECT_FALSE(allows(guard, host)) << host;
}

TEST(NetGuard, LetsTheOpenInternetThrough) {
  const NetGuard guard = remote();
  for (const char* host :
       {"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255",
        "172.32.0.0", "192.167.255.255", "223.255.255.255", "2606:4700::1111", "2a00:1450::1",
        "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::"})
    EXPECT_TRUE(allows(guard, host)) << host;
}

TEST(NetGuard, OfALocalBrokerAllowsEverything) {
  const NetGuard guard;
  EXPECT_TRUE(allows(guard, "127.0.0.1"));
  EXPECT_TRUE(allows(guard, "fe80::1"));
}

TEST(NetGuard, AllowsWhatARuleNames) {
  const NetGuard guard = remote({"10.0.0.0/8", "192.168.1.7:8080", "[fd00::/8]:443", "::1"});

  EXPECT_TRUE(allows(guard, "10.200.0.1"));
  EXPECT_TRUE(allows(guard, "::ffff:10.0.0.1"));
  EXPECT_TRUE(allows(guard, "192.168.1.7", "8080"));
  EXPECT_FALSE(allows(guard, "192.168.1.7", "80"));
  EXPECT_FALSE(allows(guard, "192.168.1.8", "8080"));
  EXPECT_TRUE(allows(guard, "fd00::5", "443"));
  EXPECT_FALSE(allows(guard, "fd00::5", "80"));
  EXPECT_TRUE(allows(guard, "::1"));
  EXPECT_FALSE(allows(guard, "127.0.0.1"));
}

TEST(NetGuard, MatchesPrefixesThatEndInsideAByte) {
  const NetGuard guard = remote({"172.16.0.0/13"});
  EXPECT_TRUE(allows(guard, "172.23.255.255"));
  EXPECT_FALSE(allows(guard, "172.24.0.0"));
}

TEST(NetGuard, AllowsNoOtherFamily) {
  sockaddr address{};
  address.sa_family = AF_UNIX;
  EXPECT_FALSE(remote().allows(&address, sizeof address));
}

TEST(NetRule, RefusesWhatItDoesNotUnderstand) {
  for (const char* text : {"", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "host",
                           "10.0.0.0/8:", "10.0.0.0/8:0", "10.0.0.0/8:65536", "10.0.0.0/8:x",
                           "[fd00::/8", "[fd00::/8]80", "fd00::/129"}) {
    const auto rule = parse_net_rule(text);
    ASSERT_FALSE(rule) << text;
    EXPECT_EQ(rule.error().code, ErrorCode::usage);
  }
}

TEST(LocalEndpoint, IsLoopbackOrIpc) {
  for (const char* endpoint : {"ipc:///run/millrace", "tcp://127.0.0.1:7411", "tcp://127.5.5.5:1",
                               "tcp://localhost:7411", "tcp://[::1]:7411"})
    EXPECT_TRUE(is_local_endpoint(endpoint)) << endpoint;
  for (const char* endpoint : {"tcp://broker:7411", "tcp://10.0.0.1:7411", "tcp://[fd00::1]:7411",
                               "tcp://localhost.example:1", "", "udp://127.0.0.1:1"})
    EXPECT_FALSE(is_local_endpoint(endpoint)) << endpoint;
}

}  // namespace
}  // namespace millrace::worker
