#include "common/net/sockets.h"

#include "common/limits.h"

namespace millrace::net {
namespace {

void configure_common(zmq::socket_t& socket) {
  // ZMTP heartbeats notice a dead link below us; who owns a lease is decided by our own heartbeats.
  socket.set(zmq::sockopt::heartbeat_ivl, 5000);
  socket.set(zmq::sockopt::heartbeat_timeout, 15000);
  socket.set(zmq::sockopt::heartbeat_ttl, 20000);
  // A stranger who connects and says nothing holds a file descriptor no longer than this.
  socket.set(zmq::sockopt::handshake_ivl, static_cast<int>(kHandshakeMax.count()));
  socket.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(kFrameBytesMax));
  socket.set(zmq::sockopt::tcp_keepalive, 1);
}

}  // namespace

void configure_router(zmq::socket_t& socket) {
  configure_common(socket);
  // Without it a send to a peer that is gone is dropped and reported as a success.
  socket.set(zmq::sockopt::router_mandatory, true);
  socket.set(zmq::sockopt::linger, 500);
  socket.set(zmq::sockopt::backlog, 1024);
  // Our queue towards one slow peer, and one peer's share of what we have not read.
  socket.set(zmq::sockopt::sndhwm, 1000);
  socket.set(zmq::sockopt::rcvhwm, 100);
}

void configure_dealer(zmq::socket_t& socket, Duration linger) {
  configure_common(socket);
  socket.set(zmq::sockopt::linger, static_cast<int>(linger.count()));
  socket.set(zmq::sockopt::reconnect_ivl, 100);
  socket.set(zmq::sockopt::reconnect_ivl_max, static_cast<int>(kReconnectMax.count()));
  socket.set(zmq::sockopt::sndhwm, 10000);
  socket.set(zmq::sockopt::rcvhwm, 10000);
}

}  // namespace millrace::net
