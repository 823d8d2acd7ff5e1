#pragma once

// One producer's or worker's side of the connection with its broker.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "common/protocol/messages.h"
#include "common/types.h"

namespace millrace::net {

struct PeerOptions {
  std::string endpoint = kEndpointDefault;
  protocol::Role role = protocol::Role::producer;
  std::string name;
  /// How long `~Peer` may take to hand over what was sent.
  Duration linger{1000};
};

/// A session began or was renewed: after the first contact, a reconnect or a broker's restart.
/// Requests without a reply have been sent again; OFFER, RESUME and OUTPUT are the owner's to send,
/// in this order.
struct Connected {
  protocol::Welcome welcome;
};
/// Nothing was heard of the broker for kPeerLostAfter. The peer goes on trying by itself.
struct Lost {};
/// The answer to a request, possibly an ErrorReply. Comes once.
struct Replied {
  std::uint64_t correlation = 0;
  protocol::Message message;
};
/// A message nobody asked for: JOBS, CANCEL, RECALL, RESULTS, DRAINED …
struct Pushed {
  protocol::Message message;
};
using Event = std::variant<Connected, Lost, Replied, Pushed>;

/// Says HELLO, keeps the session alive with heartbeats, matches replies to requests and sends
/// requests again after every new session until they are answered. Reconnects by itself, at most
/// kReconnectMax apart. Belongs to one thread, never blocks but in `poll`.
class Peer {
 public:
  /// Throws std::runtime_error (with what to do) when the endpoint cannot be used at all.
  explicit Peer(PeerOptions options);
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  /// Sends a request and remembers it until its reply. Returns its correlation.
  std::uint64_t request(protocol::Message message);
  /// Stops sending a request again; a late reply is dropped.
  void forget(std::uint64_t correlation);
  /// Sends without asking for a reply. Lost when there is no session just now.
  void tell(const protocol::Message& message);
  /// What the next heartbeats carry (a worker's credit and held leases).
  void set_heartbeat(protocol::Heartbeat heartbeat) { heartbeat_ = std::move(heartbeat); }

  /// Waits at most `timeout` for something to happen on the connection or for one of `wake_fds` to
  /// become readable; returns what happened, in order.
  [[nodiscard]] std::vector<Event> poll(Duration timeout, std::span<const int> wake_fds = {});

  [[nodiscard]] bool connected() const { return connected_; }
  /// Requests without a reply.
  [[nodiscard]] std::size_t pending() const { return pending_.size(); }
  /// Since when the broker has been silent; zero while connected.
  [[nodiscard]] Duration unreachable_for() const;
  [[nodiscard]] const SessionId& session() const { return session_; }
  [[nodiscard]] const protocol::Welcome& welcome() const { return welcome_; }
  [[nodiscard]] const std::string& endpoint() const { return options_.endpoint; }

 private:
  struct Socket;

  void say_hello(Instant now);
  void send(std::uint64_t correlation, const protocol::Message& message);
  void receive_all(std::vector<Event>& events, Instant now);
  void handle(protocol::Envelope envelope, std::vector<Event>& events, Instant now);
  void handle_error(std::uint64_t correlation, protocol::ErrorReply error,
                    std::vector<Event>& events, Instant now);
  void keep_alive(std::vector<Event>& events, Instant now);

  PeerOptions options_;
  SessionId session_;
  std::unique_ptr<Socket> socket_;
  protocol::Heartbeat heartbeat_;
  protocol::Welcome welcome_;
  std::map<std::uint64_t, protocol::Message> pending_;  // by correlation, in order of sending
  std::uint64_t last_correlation_ = 0;
  std::uint64_t hello_correlation_ = 0;  // of the HELLO without WELCOME, else 0
  bool connected_ = false;
  Instant heard_at_;
  Instant silent_since_;
  Instant hello_at_;
  Instant beat_at_;
};

}  // namespace millrace::net
