#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/simulation/sim_peer.h"
#include "tests/simulation/watcher.h"

namespace millrace::simulation {

/// Draws one job; every field of NewJob that matters to a rule is set here.
[[nodiscard]] protocol::NewJob draw_job(const SimConfig& config, SimRandom& random, Now now,
                                        std::string tag);

/// A producer that sends each request again until it gets a definite answer, remembers what was
/// acknowledged, and streams the results of all its batches.
class SimProducer final : public SimPeer {
 public:
  SimProducer(World& world, std::uint64_t number);

  [[nodiscard]] bool at_rest() const;
  [[nodiscard]] std::string describe() const;
  [[nodiscard]] const std::map<BatchId, Watcher>& watchers() const { return watchers_; }

 private:
  void on_connected(const protocol::Welcome& welcome) override;
  void on_reply(std::uint64_t correlation, const protocol::Message& request,
                protocol::Message reply, Stamp stamp) override;
  void on_push(protocol::Message message, Stamp stamp) override;
  void on_tick() override;

  void enqueue();
  void accept(const protocol::Enqueue& request, const protocol::Enqueued& answer);
  void refuse(const protocol::Enqueue& request, const protocol::ErrorReply& error);
  void watch(const Watcher& watcher);
  void watch_all();
  [[nodiscard]] bool may_be_lost() const;

  std::string queue_;
  Instant next_at_{};
  std::uint64_t counter_ = 0;
  std::size_t waiting_ = 0;   ///< requests without a definite answer
  BatchId open_batch_;        ///< to be continued
  bool batch_waits_ = false;  ///< a request into `open_batch_`, or one that makes it, is under way
  std::map<BatchId, Watcher> watchers_;
  std::map<BatchId, std::uint64_t> watch_requests_;  ///< the newest WATCH; only it is answered
  Instant watch_at_{};
};

}  // namespace millrace::simulation
