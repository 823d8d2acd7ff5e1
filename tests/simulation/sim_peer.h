#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "tests/simulation/history.h"
#include "tests/simulation/sim_network.h"

namespace millrace::simulation {

/// The session of one process with the broker, as common/net/peer.cpp keeps it: HELLO until there
/// is a WELCOME, heartbeats, requests sent again after every new session until they are answered.
class SimPeer {
 public:
  SimPeer(World& world, protocol::Role role, std::uint64_t number);
  virtual ~SimPeer() = default;
  SimPeer(const SimPeer&) = delete;
  SimPeer& operator=(const SimPeer&) = delete;

  void freeze(Duration time);
  [[nodiscard]] bool frozen() const { return frozen_; }
  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] std::size_t pending() const { return pending_.size(); }
  /// Names of the requests that wait for their answer.
  [[nodiscard]] std::string pending_names() const;
  [[nodiscard]] std::uint64_t number() const { return number_; }

 protected:
  /// A process starts, with a session of its own.
  void begin();
  /// The process is gone.
  void end(bool silent);
  [[nodiscard]] bool running() const { return link_ != nullptr; }
  /// Of this process; another one gets another number.
  [[nodiscard]] std::uint64_t life() const { return life_; }

  std::uint64_t request(protocol::Message message);
  void forget(std::uint64_t correlation) { pending_.erase(correlation); }
  void tell(const protocol::Message& message);

  virtual void on_connected(const protocol::Welcome&) {}
  virtual void on_reply(std::uint64_t correlation, const protocol::Message& request,
                        protocol::Message reply, Stamp stamp) = 0;
  virtual void on_push(protocol::Message message, Stamp stamp) = 0;
  /// A few times a second.
  virtual void on_tick() {}
  virtual protocol::Heartbeat heartbeat() { return {}; }

  World& world_;
  SimRandom random_;  ///< its own, so that what others do does not change what it does

 private:
  struct Pending {
    protocol::Message message;
    Instant sent_at{};
  };

  void say_hello();
  void send(std::uint64_t correlation, const protocol::Message& message);
  void receive(protocol::Envelope envelope, Stamp stamp);
  void welcome(const protocol::Welcome& welcome);
  void tick();
  void tick_later();
  void send_again();

  protocol::Role role_;
  std::uint64_t number_;
  std::uint64_t life_ = 0;
  std::shared_ptr<Link> link_;
  SessionId session_;
  std::map<std::uint64_t, Pending> pending_;  // by correlation
  std::uint64_t last_correlation_ = 0;
  std::uint64_t hello_correlation_ = 0;
  bool connected_ = false;
  bool frozen_ = false;
  Duration lost_after_ = kPeerLostAfter;
  Instant heard_at_{};
  Instant hello_at_{};
  Instant beat_at_{};
};

}  // namespace millrace::simulation
