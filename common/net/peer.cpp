#include "common/net/peer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <zmq.hpp>

#include "common/net/sockets.h"
#include "common/protocol/codec.h"
#include "common/util/clock.h"
#include "common/util/random.h"

namespace millrace::net {
namespace {

/// A HELLO without an answer is repeated: the broker may be starting, or the bytes were lost.
constexpr Duration kHelloAgainAfter{1000};

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

}  // namespace

struct Peer::Socket {
  zmq::context_t context{1};
  zmq::socket_t dealer{context, zmq::socket_type::dealer};
};

Peer::Peer(PeerOptions options)
    : options_(std::move(options)),
      session_(random_bytes(16)),
      socket_(std::make_unique<Socket>()),
      heard_at_(read_clocks().mono),
      silent_since_(heard_at_),
      beat_at_(heard_at_) {
  configure_dealer(socket_->dealer, options_.linger);
  try {
    socket_->dealer.connect(options_.endpoint);
  } catch (const zmq::error_t& error) {
    throw std::runtime_error(
        fmt::format("`{}` is no endpoint ({}): use tcp://HOST:PORT or ipc://PATH",
                    options_.endpoint, error.what()));
  }
  say_hello(heard_at_);
}

Peer::~Peer() = default;

std::uint64_t Peer::request(protocol::Message message) {
  const std::uint64_t correlation = ++last_correlation_;
  const auto [entry, inserted] = pending_.emplace(correlation, std::move(message));
  if (connected_) send(correlation, entry->second);
  return correlation;
}

void Peer::forget(std::uint64_t correlation) { pending_.erase(correlation); }

void Peer::tell(const protocol::Message& message) {
  if (connected_) send(0, message);
}

Duration Peer::unreachable_for() const {
  return connected_ ? Duration{} : read_clocks().mono - silent_since_;
}

void Peer::say_hello(Instant now) {
  hello_correlation_ = ++last_correlation_;
  hello_at_ = now;
  send(hello_correlation_, protocol::Hello{.role = options_.role,
                                           .session = session_,
                                           .name = options_.name,
                                           .host = host_name(),
                                           .pid = getpid()});
}

void Peer::send(std::uint64_t correlation, const protocol::Message& message) {
  // A full queue means a broker that has not read for long; what matters is sent again later.
  const std::string frame = protocol::encode({correlation, message});
  [[maybe_unused]] const auto sent =
      socket_->dealer.send(zmq::buffer(frame), zmq::send_flags::dontwait);
}

std::vector<Event> Peer::poll(Duration timeout, std::span<const int> wake_fds) {
  std::vector<Event> events;
  const Instant before = read_clocks().mono;
  // Anything already here is returned at once; libzmq may have read it during a send.
  receive_all(events, before);
  if (events.empty()) {
    std::vector<zmq::pollitem_t> items{{socket_->dealer.handle(), 0, ZMQ_POLLIN, 0}};
    for (int fd : wake_fds) items.push_back({nullptr, fd, ZMQ_POLLIN, 0});
    // Without a session there is no beat, only the next HELLO.
    const Instant next_sign =
        connected_ ? beat_at_ + welcome_.heartbeat : hello_at_ + kHelloAgainAfter;
    zmq::poll(items, std::clamp(next_sign - before, Duration{0}, timeout));
  }
  const Instant now = read_clocks().mono;
  receive_all(events, now);
  keep_alive(events, now);
  return events;
}

void Peer::receive_all(std::vector<Event>& events, Instant now) {
  zmq::message_t frame;
  while (socket_->dealer.recv(frame, zmq::recv_flags::dontwait)) {
    const std::string_view bytes(static_cast<const char*>(frame.data()), frame.size());
    auto envelope = protocol::decode(bytes);
    if (!envelope) continue;  // a newer broker may know messages that we do not
    heard_at_ = now;
    handle(std::move(*envelope), events, now);
  }
}

void Peer::handle(protocol::Envelope envelope, std::vector<Event>& events, Instant now) {
  if (auto* error = std::get_if<protocol::ErrorReply>(&envelope.message)) {
    handle_error(envelope.correlation, std::move(*error), events, now);
  } else if (auto* welcome = std::get_if<protocol::Welcome>(&envelope.message)) {
    if (envelope.correlation != hello_correlation_) return;
    hello_correlation_ = 0;
    connected_ = true;
    welcome_ = *welcome;
    beat_at_ = now;
    // A RESUME told what was held when it was sent: repeated now, it would give leases back that
    // came since. And OUTPUT is taken only from who holds the lease, which RESUME tells. The owner
    // sends both anew.
    std::erase_if(pending_, [](const auto& entry) {
      return std::holds_alternative<protocol::Resume>(entry.second) ||
             std::holds_alternative<protocol::Output>(entry.second);
    });
    for (const auto& [correlation, message] : pending_) send(correlation, message);
    events.emplace_back(Connected{std::move(*welcome)});
  } else if (std::holds_alternative<protocol::Heartbeat>(envelope.message)) {
    return;  // heard_at_ has moved, which is all it is for
  } else if (pending_.erase(envelope.correlation) != 0) {
    events.emplace_back(Replied{envelope.correlation, std::move(envelope.message)});
  } else if (envelope.correlation == 0) {
    events.emplace_back(Pushed{std::move(envelope.message)});
  }
}

void Peer::handle_error(std::uint64_t correlation, protocol::ErrorReply error,
                        std::vector<Event>& events, Instant now) {
  if (error_code(error.code) == ErrorCode::no_session) {
    // Answers to what was sent before the HELLO under way tell nothing new.
    if (hello_correlation_ == 0) {
      connected_ = false;
      silent_since_ = now;
      say_hello(now);
    }
  } else if (pending_.erase(correlation) != 0 || correlation == hello_correlation_) {
    events.emplace_back(Replied{correlation, std::move(error)});
  } else if (correlation == 0) {
    events.emplace_back(Pushed{std::move(error)});
  }
}

void Peer::keep_alive(std::vector<Event>& events, Instant now) {
  if (connected_ && now - heard_at_ > welcome_.lost_after) {
    connected_ = false;
    silent_since_ = heard_at_;
    events.emplace_back(Lost{});
  }
  if (!connected_ && now - hello_at_ >= kHelloAgainAfter) say_hello(now);
  if (connected_ && now - beat_at_ >= welcome_.heartbeat) {
    beat_at_ = now;
    send(0, heartbeat_);
  }
}

}  // namespace millrace::net
