#include "tests/simulation/sim_peer.h"

#include <fmt/format.h>

#include <vector>

namespace millrace::simulation {
namespace {

constexpr Duration kTickMin{100};
constexpr Duration kTickMax{250};
constexpr Duration kHelloAgainAfter{1000};
/// Where messages can vanish alone, what was not answered for so long is sent again.
constexpr Duration kSendAgainAfter{1500};

}  // namespace

SimPeer::SimPeer(World& world, protocol::Role role, std::uint64_t number)
    : world_(world),
      random_(world.config().request.seed * 1000 + number),
      role_(role),
      number_(number) {}

void SimPeer::begin() {
  life_ = life_ == 0 ? number_ * kLivesMax + 1 : life_ + 1;
  session_ = fmt::format("session {:08}", life_);
  pending_.clear();
  hello_correlation_ = 0;
  connected_ = frozen_ = false;
  heard_at_ = beat_at_ = world_.now().mono;
  link_ = world_.network().add(number_, [this](protocol::Envelope envelope, Stamp stamp) {
    receive(std::move(envelope), stamp);
  });
  world_.note("peer {} begins life {}", number_, life_);
  say_hello();
  tick_later();
}

void SimPeer::end(bool silent) {
  world_.note("peer {} ends life {}, silently {}", number_, life_, silent);
  const auto link = std::exchange(link_, nullptr);
  link->close(silent);
  connected_ = false;
  pending_.clear();
}

void SimPeer::freeze(Duration time) {
  if (!running() || frozen_) return;
  world_.note("peer {} stands still for {} ms", number_, time.count());
  frozen_ = true;
  link_->freeze();
  if (time > Duration{1000}) world_.history().disturb(number_);
  world_.after(time, [this, life = life_] {
    if (life != life_ || !running()) return;
    world_.note("peer {} goes on", number_);
    frozen_ = false;
    link_->thaw();
  });
}

// ---- sending -----------------------------------------------------------------------------------

std::uint64_t SimPeer::request(protocol::Message message) {
  const std::uint64_t correlation = ++last_correlation_;
  const auto [entry, fresh] =
      pending_.emplace(correlation, Pending{std::move(message), world_.now().mono});
  if (connected_) send(correlation, entry->second.message);
  return correlation;
}

std::string SimPeer::pending_names() const {
  std::string names;
  for (const auto& [correlation, pending] : pending_)
    names += fmt::format("{} ", type_name(pending.message));
  return names;
}

void SimPeer::tell(const protocol::Message& message) {
  if (connected_) send(0, message);
}

void SimPeer::send(std::uint64_t correlation, const protocol::Message& message) {
  if (const auto* close = std::get_if<protocol::Close>(&message))
    world_.history().close_sent(close->queue);
  link_->send({correlation, message});
}

void SimPeer::say_hello() {
  hello_correlation_ = ++last_correlation_;
  hello_at_ = world_.now().mono;
  send(hello_correlation_, protocol::Hello{.role = role_,
                                           .session = session_,
                                           .name = fmt::format("peer-{}", number_),
                                           .host = "sim",
                                           .pid = static_cast<std::int64_t>(life_)});
}

/// Peers that repeat themselves for no reason, and those that have to.
void SimPeer::send_again() {
  const bool lossy = world_.config().faults.has(Fault::loss);
  if (!lossy && !world_.faulty(Fault::resend)) return;
  for (auto& [correlation, pending] : pending_) {
    // A RESUME that is repeated may be older than what was delivered since; its owner makes new
    // ones.
    if (std::holds_alternative<protocol::Resume>(pending.message)) continue;
    const bool late = lossy && world_.now().mono - pending.sent_at >= kSendAgainAfter;
    if (!late && !(world_.faulty(Fault::resend) && random_.chance(0.1))) continue;
    pending.sent_at = world_.now().mono;
    send(correlation, pending.message);
  }
}

// ---- receiving ---------------------------------------------------------------------------------

void SimPeer::receive(protocol::Envelope envelope, Stamp stamp) {
  if (!running()) return;
  heard_at_ = world_.now().mono;
  auto& message = envelope.message;
  if (const auto* hello = std::get_if<protocol::Welcome>(&message)) {
    if (envelope.correlation == hello_correlation_) welcome(*hello);
    return;
  }
  if (std::holds_alternative<protocol::Heartbeat>(message)) return;
  const auto* error = std::get_if<protocol::ErrorReply>(&message);
  if (error != nullptr && error->code == "no_session") {
    if (hello_correlation_ != 0) return;
    connected_ = false;
    return say_hello();
  }
  const auto asked = pending_.extract(envelope.correlation);
  if (!asked.empty()) {
    on_reply(envelope.correlation, asked.mapped().message, std::move(message), stamp);
  } else if (envelope.correlation == 0 || std::holds_alternative<protocol::Results>(message)) {
    // The first RESULTS answers a WATCH that may have been asked again meanwhile.
    on_push(std::move(message), stamp);
  }
}

void SimPeer::welcome(const protocol::Welcome& welcome) {
  hello_correlation_ = 0;
  connected_ = true;
  lost_after_ = welcome.lost_after;
  beat_at_ = world_.now().mono;
  std::erase_if(pending_, [](const auto& entry) {
    return std::holds_alternative<protocol::Resume>(entry.second.message);
  });
  for (auto& [correlation, pending] : pending_) {
    pending.sent_at = world_.now().mono;
    send(correlation, pending.message);
  }
  on_connected(welcome);
}

void SimPeer::tick_later() {
  world_.after(random_.between(kTickMin, kTickMax), [this, life = life_] {
    if (life != life_ || !running()) return;
    tick_later();
    if (!frozen_) tick();
  });
}

void SimPeer::tick() {
  const Instant now = world_.now().mono;
  if (connected_ && now - heard_at_ > lost_after_) connected_ = false;
  if (!connected_ && now - hello_at_ >= kHelloAgainAfter) say_hello();
  if (connected_ && now - beat_at_ >= kHeartbeat) {
    beat_at_ = now;
    tell(heartbeat());
  }
  if (connected_) send_again();
  on_tick();
}

}  // namespace millrace::simulation
