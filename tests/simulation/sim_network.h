#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "broker/engine/effects.h"
#include "common/protocol/messages.h"
#include "tests/simulation/sim_world.h"

namespace millrace::simulation {

/// When the broker said it, and in which order.
struct Stamp {
  Instant sent_at{};
  std::uint64_t number = 0;
};

/// A message on its way: as a value, or, when the run exercises the codec, as bytes.
struct Frame {
  protocol::Envelope envelope;
  std::string bytes;
  Stamp stamp;
  Instant due{};
};

/// One peer's socket. Like a ZeroMQ DEALER it reconnects by itself without telling its owner: what
/// was on the wire is lost, what had not left yet goes over the next connection, which the broker
/// knows under another id.
class Link {
 public:
  using Receive = std::function<void(protocol::Envelope, Stamp)>;

  Link(World& world, std::uint64_t peer, Receive receive);

  void send(protocol::Envelope envelope);
  /// The peer's process stands still: what arrives waits in its socket.
  void freeze();
  void thaw();
  /// The peer's process is gone. `silent`: the broker's side of the connection does not see it.
  void close(bool silent);

 private:
  friend class Network;

  void connect();
  /// A connection ends; it comes again by itself after a while.
  void break_off();
  void pump_up();
  void pump_down();
  Duration latency();

  World& world_;
  std::weak_ptr<Link> self_;
  std::uint64_t peer_;
  Receive receive_;
  broker::ConnectionId connection_;
  std::deque<Frame> up_;
  std::deque<Frame> down_;
  std::deque<Frame> waiting_;  ///< no connection yet
  bool cut_up_ = false;
  bool cut_down_ = false;
  bool frozen_ = false;
  bool closed_ = false;
  bool connecting_ = false;
};

/// All links. In order and without repeats within a connection, as TCP is; everything else that can
/// happen to messages happens.
class Network {
 public:
  explicit Network(World& world) : world_(world) {}

  std::shared_ptr<Link> add(std::uint64_t peer, Link::Receive receive);
  /// From the broker. False: nobody is there, or reads too slowly.
  bool deliver(broker::ConnectionId to, protocol::Envelope envelope);
  void broker_is_up();
  void broker_is_down();
  void heal();

  // ---- faults
  void break_one();
  void cut_one();

 private:
  friend class Link;

  Link* pick_connected();
  [[nodiscard]] std::size_t hwm() const;

  World& world_;
  std::vector<std::shared_ptr<Link>> links_;
  std::map<broker::ConnectionId, Link*> connections_;  ///< null: the peer is gone, nobody noticed
  std::uint64_t last_connection_ = 0;
  std::uint64_t last_stamp_ = 0;
};

}  // namespace millrace::simulation
