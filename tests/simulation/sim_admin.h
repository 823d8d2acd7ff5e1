#pragma once

#include <map>
#include <string>

#include "tests/simulation/sim_peer.h"

namespace millrace::simulation {

/// Somebody who operates the broker while everything runs; at the end puts all in order again and
/// asks how it stands.
class SimAdmin final : public SimPeer {
 public:
  SimAdmin(World& world, std::uint64_t number);

  /// Closes all queues, waits for DRAINED and asks for STATS.
  void close_all();
  /// The faults are over and no queue is paused any more.
  [[nodiscard]] bool in_order() const { return ordered_ && pending() == 0; }
  [[nodiscard]] bool all_closed() const { return pending() == 0 && to_drain_.empty() && report_; }
  [[nodiscard]] const protocol::Report& report() const { return *report_; }

 private:
  void on_connected(const protocol::Welcome& welcome) override;
  void on_reply(std::uint64_t correlation, const protocol::Message& asked, protocol::Message reply,
                Stamp stamp) override;
  void on_push(protocol::Message message, Stamp stamp) override;
  void on_tick() override;

  void meddle();
  void put_in_order();
  void dismiss_one(const protocol::Report& report);
  void cancel_some();
  void redrive_some();
  void replay_some();
  void close(const std::string& queue, std::uint64_t generation);
  [[nodiscard]] std::string some_queue() { return random_.chance(0.5) ? "a" : "b"; }
  [[nodiscard]] std::vector<JobId> some_jobs();

  Instant next_at_{};
  Instant next_dismissal_at_{};
  std::uint64_t counter_ = 0;
  bool ordered_ = false;
  bool closing_ = false;
  std::map<std::string, std::uint64_t> to_drain_;  ///< queue → generation, 0: not known yet
  std::optional<protocol::Report> report_;
};

}  // namespace millrace::simulation
