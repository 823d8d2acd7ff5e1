#include "tests/simulation/sim_network.h"

#include <algorithm>

#include "common/protocol/codec.h"
#include "tests/simulation/history.h"
#include "tests/simulation/sim_broker.h"

namespace millrace::simulation {
namespace {

constexpr Duration kReconnectMax{1000};
constexpr Duration kNoticeMax{10'000};
constexpr double kLossShare = 0.02;
constexpr double kDelayShare = 0.02;
constexpr std::size_t kWaitingMax = 1000;
constexpr std::size_t kHwmHealed = 100;

/// Messages without which their sender would wait for ever. Within one connection TCP loses
/// nothing, so no peer has to expect that these get lost alone.
bool may_vanish(const protocol::Message& message) {
  return !std::holds_alternative<protocol::Offer>(message) &&
         !std::holds_alternative<protocol::Resumed>(message) &&
         !std::holds_alternative<protocol::Results>(message) &&
         !std::holds_alternative<protocol::Drained>(message);
}

Frame pack(World& world, protocol::Envelope envelope) {
  Frame frame;
  if (world.config().codec) {
    frame.bytes = protocol::encode(envelope);
  } else {
    frame.envelope = std::move(envelope);
  }
  return frame;
}

protocol::Envelope unpack(Frame& frame) {
  if (frame.bytes.empty()) return std::move(frame.envelope);
  auto envelope = protocol::decode(frame.bytes);
  require(envelope.has_value(), "a message cannot be decoded: {}",
          envelope ? "" : envelope.error().error.message);
  return std::move(*envelope);
}

std::uint64_t type_of(const Frame& frame) {
  return frame.bytes.empty() ? frame.envelope.message.index() : frame.bytes.size();
}

}  // namespace

// ---- Link --------------------------------------------------------------------------------------

Link::Link(World& world, std::uint64_t peer, Receive receive)
    : world_(world), peer_(peer), receive_(std::move(receive)) {}

Duration Link::latency() {
  SimRandom& random = world_.random();
  if (world_.faulty(Fault::delay) && random.chance(kDelayShare))
    return random.between(Duration{100}, Duration{1500});
  return random.between(Duration{0}, world_.config().latency_max);
}

void Link::send(protocol::Envelope envelope) {
  if (world_.faulty(Fault::loss) && may_vanish(envelope.message) &&
      world_.random().chance(kLossShare)) {
    world_.note("peer {} lost message {} on the way up", peer_, envelope.message.index());
    return;
  }
  Frame frame = pack(world_, std::move(envelope));
  if (!connection_) {
    if (waiting_.size() < kWaitingMax) waiting_.push_back(std::move(frame));
    return;
  }
  frame.due = world_.now().mono + latency();
  if (!up_.empty()) frame.due = std::max(frame.due, up_.back().due);
  const Duration wait = frame.due - world_.now().mono;
  up_.push_back(std::move(frame));
  world_.after(wait, [this, self = std::weak_ptr(self_)] {
    if (!self.expired()) pump_up();
  });
}

void Link::pump_up() {
  if (cut_up_) return;
  while (!up_.empty() && up_.front().due <= world_.now().mono) {
    Frame frame = std::move(up_.front());
    up_.pop_front();
    world_.note("peer {} says {} on connection {}", peer_, type_of(frame), connection_.value);
    const std::size_t bytes = frame.bytes.size();
    world_.broker().receive(connection_, unpack(frame), bytes);
  }
}

void Link::pump_down() {
  while (!cut_down_ && !frozen_ && !closed_ && !down_.empty() &&
         down_.front().due <= world_.now().mono) {
    Frame frame = std::move(down_.front());
    down_.pop_front();
    world_.note("peer {} hears {} of stamp {}", peer_, type_of(frame), frame.stamp.number);
    const Stamp stamp = frame.stamp;
    receive_(unpack(frame), stamp);
  }
}

void Link::freeze() { frozen_ = true; }

void Link::thaw() {
  frozen_ = false;
  pump_down();
}

void Link::close(bool silent) {
  Network& network = world_.network();
  closed_ = true;
  if (connection_) {
    if (silent) {
      network.connections_[connection_] = nullptr;
      const broker::ConnectionId ghost = connection_;
      world_.after(world_.random().between(Duration{0}, kNoticeMax),
                   [&network, ghost] { network.connections_.erase(ghost); });
    } else {
      network.connections_.erase(connection_);
    }
  }
  connection_ = {};
  up_.clear();
  down_.clear();
  waiting_.clear();
  std::erase_if(network.links_, [this](const auto& link) { return link.get() == this; });
}

void Link::connect() {
  if (closed_ || connection_ || connecting_) return;
  connecting_ = true;
  world_.after(world_.random().between(Duration{1}, kReconnectMax),
               [this, self = std::weak_ptr(self_)] {
                 if (self.expired()) return;
                 connecting_ = false;
                 if (closed_ || connection_ || !world_.broker().up()) return;
                 if (cut_up_ || cut_down_) return connect();
                 Network& network = world_.network();
                 connection_ = broker::ConnectionId{++network.last_connection_};
                 network.connections_[connection_] = this;
                 world_.note("peer {} has connection {}", peer_, connection_.value);
                 const auto waiting = std::exchange(waiting_, {});
                 for (const Frame& frame : waiting) {
                   up_.push_back(frame);
                   up_.back().due = world_.now().mono;
                 }
                 pump_up();
               });
}

void Link::break_off() {
  SimRandom& random = world_.random();
  if (connection_) world_.network().connections_.erase(connection_);
  connection_ = {};
  // What was on the wire is lost from some point on; what the socket had not written is kept for
  // the next connection.
  const std::size_t lost = random.below(up_.size() + 1);
  for (std::size_t i = lost; i < up_.size(); ++i) waiting_.push_back(std::move(up_[i]));
  up_.clear();
  down_.resize(random.below(down_.size() + 1));
  connect();
}

// ---- Network -----------------------------------------------------------------------------------

std::shared_ptr<Link> Network::add(std::uint64_t peer, Link::Receive receive) {
  auto link = std::make_shared<Link>(world_, peer, std::move(receive));
  link->self_ = link;
  links_.push_back(link);
  if (world_.broker().up()) link->connect();
  return link;
}

/// A peer that has more requests open than one connection may hold answers to would begin again and
/// again; in the end everything has to fit.
std::size_t Network::hwm() const {
  const std::size_t drawn = world_.config().hwm;
  return world_.healing() ? std::max(drawn, kHwmHealed) : drawn;
}

bool Network::deliver(broker::ConnectionId to, protocol::Envelope envelope) {
  const auto found = connections_.find(to);
  if (found == connections_.end()) return false;
  if (found->second == nullptr) return true;  // sent to a dead peer
  Link& link = *found->second;
  if (link.down_.size() >= hwm()) return false;
  const Stamp stamp{world_.now().mono, ++last_stamp_};
  if (world_.faulty(Fault::loss) && may_vanish(envelope.message) &&
      world_.random().chance(kLossShare)) {
    world_.note("peer {} does not get {} of stamp {}", link.peer_, envelope.message.index(),
                stamp.number);
    return true;
  }
  Frame frame = pack(world_, std::move(envelope));
  frame.stamp = stamp;
  frame.due = world_.now().mono + link.latency();
  if (!link.down_.empty()) frame.due = std::max(frame.due, link.down_.back().due);
  const Duration wait = frame.due - world_.now().mono;
  link.down_.push_back(std::move(frame));
  world_.after(wait, [weak = link.self_] {
    if (const auto alive = weak.lock()) alive->pump_down();
  });
  return true;
}

void Network::broker_is_up() {
  for (const auto& link : links_) link->connect();
}

void Network::broker_is_down() {
  for (const auto& link : links_) link->break_off();
  connections_.clear();
}

void Network::heal() {
  for (const auto& link : links_) {
    link->cut_up_ = link->cut_down_ = false;
    link->pump_up();
    link->pump_down();
  }
}

Link* Network::pick_connected() {
  std::vector<Link*> all;
  for (const auto& link : links_)
    if (link->connection_) all.push_back(link.get());
  return all.empty() ? nullptr : world_.random().pick(all);
}

void Network::break_one() {
  Link* link = pick_connected();
  if (link == nullptr) return;
  world_.note("the connection {} of peer {} breaks", link->connection_.value, link->peer_);
  world_.history().disturb(link->peer_);
  link->break_off();
}

void Network::cut_one() {
  Link* link = pick_connected();
  if (link == nullptr) return;
  SimRandom& random = world_.random();
  link->cut_up_ = random.chance(0.7);
  link->cut_down_ = !link->cut_up_ || random.chance(0.5);
  world_.note("the link of peer {} is cut: up {}, down {}", link->peer_, link->cut_up_,
              link->cut_down_);
  world_.history().disturb(link->peer_);
  world_.after(random.spread(Duration{200}, Duration{10'000}), [weak = link->self_] {
    const auto alive = weak.lock();
    if (alive == nullptr || alive->closed_) return;
    alive->cut_up_ = alive->cut_down_ = false;
    // Either the bytes were only late, or the connection had been given up meanwhile.
    if (alive->world_.faulty(Fault::reconnect) || alive->world_.random().chance(0.5))
      return alive->break_off();
    alive->pump_up();
    alive->pump_down();
  });
}

}  // namespace millrace::simulation
