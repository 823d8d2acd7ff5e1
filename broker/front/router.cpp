#include "broker/front/router.h"

#include <fmt/format.h>
#include <netdb.h>

#include <array>
#include <zmq.hpp>

#include "common/net/sockets.h"

namespace millrace::broker {
namespace {

/// Routing ids of peers that left without a word are remembered up to here, oldest dropped first.
constexpr std::size_t kConnectionsKept = 50'000;

/// libzmq binds to addresses and interfaces, not to host names: `tcp://localhost:7411` becomes
/// `tcp://127.0.0.1:7411`. Anything else is left as it is.
std::string with_address(const std::string& endpoint) {
  constexpr std::string_view kTcp = "tcp://";
  const std::size_t colon = endpoint.rfind(':');
  if (!endpoint.starts_with(kTcp) || colon < kTcp.size()) return endpoint;
  const std::string host = endpoint.substr(kTcp.size(), colon - kTcp.size());
  if (host == "*" || host.starts_with('[')) return endpoint;
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return endpoint;
  std::array<char, NI_MAXHOST> address{};
  const int failed = getnameinfo(found->ai_addr, found->ai_addrlen, address.data(), address.size(),
                                 nullptr, 0, NI_NUMERICHOST);
  freeaddrinfo(found);
  return failed != 0 ? endpoint : fmt::format("tcp://{}{}", address.data(), endpoint.substr(colon));
}

}  // namespace

struct Router::Socket {
  zmq::context_t context{1};
  zmq::socket_t router{context, zmq::socket_type::router};
};

Router::Router(std::unique_ptr<Socket> socket)
    : socket_(std::move(socket)), endpoint_(socket_->router.get(zmq::sockopt::last_endpoint)) {}

Router::~Router() = default;

Result<std::unique_ptr<Router>> Router::bind(const std::string& endpoint) {
  auto socket = std::make_unique<Socket>();
  net::configure_router(socket->router);
  try {
    socket->router.bind(with_address(endpoint));
  } catch (const zmq::error_t& error) {
    if (error.num() == EADDRINUSE)
      return fail(
          ErrorCode::address_in_use,
          fmt::format("{} is in use: another broker may be running; choose another --listen "
                      "ENDPOINT, or port * for a free one",
                      endpoint));
    return fail(ErrorCode::bad_request,
                fmt::format("cannot listen on `{}` ({}): use tcp://HOST:PORT or ipc://PATH",
                            endpoint, error.what()));
  }
  return std::unique_ptr<Router>(new Router(std::move(socket)));
}

ConnectionId Router::connection(std::string routing_id) {
  const auto found = by_routing_id_.find(routing_id);
  if (found != by_routing_id_.end()) return found->second;
  const ConnectionId id{++last_connection_};
  by_routing_id_.emplace(routing_id, id);
  routing_ids_.emplace(id, std::move(routing_id));
  if (routing_ids_.size() > kConnectionsKept) {
    by_routing_id_.erase(routing_ids_.begin()->second);
    routing_ids_.erase(routing_ids_.begin());
  }
  return id;
}

std::optional<Router::Frame> Router::receive() {
  zmq::message_t routing_id;
  if (!socket_->router.recv(routing_id, zmq::recv_flags::dontwait)) return std::nullopt;
  zmq::message_t body;
  if (!routing_id.more() || !socket_->router.recv(body, zmq::recv_flags::dontwait))
    return Frame{connection(routing_id.to_string()), "", false};
  Frame frame{connection(routing_id.to_string()), body.to_string(), !body.more()};
  for (bool more = body.more(); more;) {
    zmq::message_t rest;
    more = socket_->router.recv(rest, zmq::recv_flags::dontwait) && rest.more();
  }
  return frame;
}

bool Router::send(ConnectionId to, std::string_view bytes) {
  const auto found = routing_ids_.find(to);
  if (found == routing_ids_.end()) return false;
  try {
    const auto flags = zmq::send_flags::dontwait | zmq::send_flags::sndmore;
    if (!socket_->router.send(zmq::buffer(found->second), flags)) return false;
    return socket_->router.send(zmq::buffer(bytes), zmq::send_flags::dontwait).has_value();
  } catch (const zmq::error_t& error) {
    if (error.num() != EHOSTUNREACH) throw;
    by_routing_id_.erase(found->second);
    routing_ids_.erase(found);
    return false;
  }
}

void Router::wait(Duration timeout, std::initializer_list<int> wake_fds) {
  std::vector<zmq::pollitem_t> items{{socket_->router.handle(), 0, ZMQ_POLLIN, 0}};
  for (int fd : wake_fds) items.push_back({nullptr, fd, ZMQ_POLLIN, 0});
  zmq::poll(items, timeout);
}

}  // namespace millrace::broker
