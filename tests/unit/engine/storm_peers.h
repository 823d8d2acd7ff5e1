#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/engine_harness.h"
#include "tests/support/test_random.h"

namespace millrace::broker {

/// A worker process as it should be: keeps every outcome until it is settled, resumes what it holds
/// after every reconnect, sends again what was not answered. Nothing here waits for an answer.
class StormWorker {
 public:
  StormWorker(EngineHarness& broker, TestRandom& random);

  /// One random thing a worker does.
  void step();
  /// Takes what has arrived.
  void receive();
  /// Says HELLO, and all that follows from it, when it has no session.
  void reconnect();
  /// Ends everything it holds well and sends it.
  void finish_all();
  /// The process dies and a new one takes its place.
  void die();
  void freeze() { peer_->beats = false; }

  [[nodiscard]] bool frozen() const { return !peer_->beats; }
  /// Jobs it has not decided about: waiting or running.
  [[nodiscard]] bool is_busy_with(JobId job) const;
  [[nodiscard]] bool idle() const { return held_.empty(); }
  /// Deliveries that have arrived since the last call.
  std::vector<protocol::Delivery> take_new() { return std::exchange(new_, {}); }

  static OfferOptions offer_options();

 private:
  struct Held {
    protocol::Delivery delivery;
    bool started = false;
    bool ended = false;
    bool revoked = false;
    protocol::Message outcome;
  };

  void end(Held& held, std::uint64_t how);
  void send_outcome(Held& held);
  void resume();
  void drop(const std::vector<LeaseId>& leases);
  void handle(protocol::Envelope envelope);

  EngineHarness& broker_;
  TestRandom& random_;
  TestPeer* peer_;
  std::map<LeaseId, Held> held_;
  std::vector<protocol::Delivery> new_;
  std::uint64_t seen_ = 0;  ///< highest delivery number
  bool session_ = false;
};

/// A producer that sends every request again until it is answered, and streams its batches.
class StormProducer {
 public:
  struct Batch {
    FinishSeq cursor;
    std::map<JobId, int> rows;  ///< how often each job was told as ended
    std::uint64_t total = 0;
    bool end = false;
  };

  StormProducer(EngineHarness& broker, TestRandom& random, std::string queue);

  void step();
  void receive();
  void reconnect();
  /// Sends again what was not answered, and WATCHes what has not ended.
  void send_again();

  [[nodiscard]] bool answered() const { return pending_.empty(); }
  [[nodiscard]] bool streams_ended() const;
  [[nodiscard]] const std::map<BatchId, Batch>& batches() const { return batches_; }
  /// Ids acknowledged so far.
  [[nodiscard]] const std::vector<JobId>& jobs() const { return jobs_; }

 private:
  void handle(protocol::Envelope envelope);
  void accept(const protocol::Enqueued& answer);
  void accept(const protocol::Results& results);

  EngineHarness& broker_;
  TestRandom& random_;
  TestPeer* peer_;
  std::string queue_;
  std::map<std::uint64_t, protocol::Message> pending_;  ///< by correlation
  std::map<BatchId, Batch> batches_;
  std::vector<JobId> jobs_;
  bool session_ = false;
};

}  // namespace millrace::broker
