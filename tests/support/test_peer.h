#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/engine/effects.h"

namespace millrace {

/// How GoogleTest shows an id.
template <class Tag>
void PrintTo(Id<Tag> id, std::ostream* out) {
  *out << id.value;
}

}  // namespace millrace

namespace millrace::broker {

class EngineHarness;

/// A job of `kind` with a small payload and every option at its default.
[[nodiscard]] protocol::NewJob job(std::string kind = "echo", std::string payload = "1");
[[nodiscard]] std::vector<protocol::NewJob> jobs(std::size_t count,
                                                 const std::string& kind = "echo");

struct EnqueueOptions {
  std::string queue = kQueueDefault;
  BatchId batch{};
  bool seal = true;
  std::uint64_t counter = 0;  ///< of the request id; 0: the next one
};

struct OfferOptions {
  std::vector<std::string> queues{kQueueDefault};
  std::map<std::string, std::string> kinds{{"echo", "io"}};
  std::map<std::string, std::uint64_t> pools{{"io", 10}};
  protocol::Until until = protocol::Until::forever;
  std::uint64_t credit = 10;  ///< for each pool
};

/// A producer or a worker as the engine sees it: what it sends goes through the harness, what it
/// gets lies in its inbox. It beats by itself while time advances. Used by one test, one thread.
class TestPeer {
 public:
  TestPeer(EngineHarness& harness, protocol::Role role, SessionId session, std::uint64_t prefix);

  // ---- session
  /// HELLO on a new connection; returns the answer.
  protocol::Message hello();
  /// HELLO again on the connection it has.
  protocol::Message hello_again();
  void offer(const OfferOptions& options);
  /// Names `held()` unless told otherwise.
  protocol::Resumed resume();
  protocol::Resumed resume(std::vector<protocol::HeldLease> leases);
  void credit(std::uint64_t upto, const std::string& pool = "io");
  /// The credit it has told last, or was offered with, for all pools at once.
  void credit_all();
  void beat();
  void bye();
  /// What is sent to it from now on is undeliverable, and it says nothing.
  void disconnect();

  // ---- messages
  /// Sends without a turn of the loop. Returns the correlation.
  std::uint64_t send(protocol::Message message);
  /// Sends, lets everything settle, returns the answer; throws when there is none.
  protocol::Message request(protocol::Message message);
  template <class Answer>
  Answer ask(protocol::Message message) {
    protocol::Message answer = request(std::move(message));
    if (const auto* wanted = std::get_if<Answer>(&answer)) return *wanted;
    throw std::runtime_error("unexpected answer: " + describe(answer));
  }
  /// The error word that answers `message`; empty when it was granted.
  std::string refusal(protocol::Message message);
  /// The answer to `correlation`, if it is here; taken out of the inbox.
  std::optional<protocol::Message> answer(std::uint64_t correlation);
  /// All messages of a type that have arrived, oldest first; taken out of the inbox.
  template <class M>
  std::vector<M> take() {
    std::vector<M> found;
    std::erase_if(inbox, [&](protocol::Envelope& envelope) {
      auto* message = std::get_if<M>(&envelope.message);
      if (message != nullptr) found.push_back(std::move(*message));
      return message != nullptr;
    });
    return found;
  }

  // ---- producing
  protocol::Enqueue enqueue_message(std::vector<protocol::NewJob> jobs,
                                    const EnqueueOptions& options = {});
  protocol::Enqueued enqueue(std::vector<protocol::NewJob> jobs,
                             const EnqueueOptions& options = {});
  JobId enqueue_one(protocol::NewJob job, const EnqueueOptions& options = {});
  /// The error word; empty when it was accepted.
  std::string enqueue_refusal(std::vector<protocol::NewJob> jobs,
                              const EnqueueOptions& options = {});
  protocol::Replay replay_message(std::vector<JobId> jobs, BatchId batch = {}, bool seal = true);
  std::vector<protocol::ItemStatus> cancel(std::vector<JobId> jobs);
  std::vector<protocol::ItemStatus> redrive(std::vector<JobId> jobs);
  protocol::QueueInfo close(const std::string& queue = kQueueDefault, bool wait = false);
  protocol::QueueInfo open(const std::string& queue = kQueueDefault);
  protocol::QueueInfo pause(const std::string& queue = kQueueDefault);
  protocol::QueueInfo unpause(const std::string& queue = kQueueDefault);
  protocol::QueueInfo queue_info(const std::string& queue = kQueueDefault);
  std::uint64_t next_counter() { return ++counter_; }

  // ---- working
  /// Deliveries that have arrived, oldest first; taken out of the inbox.
  std::vector<protocol::Delivery> take_jobs();
  /// The only delivery that has arrived.
  protocol::Delivery take_job();
  void start(const protocol::Delivery& delivery);
  protocol::ItemStatus ack(const protocol::Delivery& delivery, std::string result = "true");
  protocol::ItemStatus nack(const protocol::Delivery& delivery, std::string error = "refused",
                            Duration delay = Duration{-1});
  protocol::ItemStatus reject(const protocol::Delivery& delivery, std::string error = "bad");
  protocol::ItemStatus release(const protocol::Delivery& delivery);
  template <class Verb>
  std::vector<protocol::ItemStatus> settle(std::vector<protocol::Outcome> items) {
    return ask<protocol::Settled>(Verb{std::move(items)}).statuses;
  }
  [[nodiscard]] std::vector<protocol::HeldLease> held() const;
  /// Forgets what it holds, as a process that was started anew.
  void forget_leases() { held_.clear(); }

  [[nodiscard]] ConnectionId connection() const { return connection_; }
  [[nodiscard]] const SessionId& session() const { return session_; }
  [[nodiscard]] static std::string describe(const protocol::Message& message);

  /// From the harness: a message has arrived.
  void receive(std::uint64_t correlation, protocol::Message message);

  bool beats = true;   ///< off: frozen, or cut off without notice
  bool deaf = false;   ///< what is sent to it comes back as undelivered
  bool lossy = false;  ///< what is sent to it gets lost unseen
  std::vector<protocol::Envelope> inbox;
  std::uint64_t heartbeats_answered = 0;

 private:
  void note_leases(const protocol::Message& message);
  protocol::ItemStatus settle_one(protocol::Message message);

  EngineHarness& harness_;
  protocol::Role role_;
  SessionId session_;
  std::uint64_t prefix_;
  ConnectionId connection_;
  std::uint64_t correlation_ = 0;
  std::uint64_t counter_ = 0;
  std::map<std::string, std::uint64_t> credit_;
  std::map<LeaseId, protocol::HeldLease> held_;
};

}  // namespace millrace::broker
