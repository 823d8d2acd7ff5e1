#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/simulation/sim_executor.h"
#include "tests/simulation/sim_peer.h"
#include "worker/output_buffer.h"
#include "worker/registry.h"
#include "worker/workbench.h"

namespace millrace::simulation {

/// A worker process around the real workbench, as worker/agent.cpp has it. When it dies another one
/// takes its place. What lost processes said once may be said again by their successors.
class SimWorker final : public SimPeer, private worker::Link, private SimExecutor::Host {
 public:
  SimWorker(World& world, std::uint64_t number);
  ~SimWorker() override;

  /// kill -9, or the end of its machine when `silent`.
  void die(bool silent);
  /// Says an old outcome again.
  void haunt();
  [[nodiscard]] bool at_rest() const;
  [[nodiscard]] std::string describe() const;

 private:
  // ---- SimPeer
  void on_connected(const protocol::Welcome& welcome) override;
  void on_reply(std::uint64_t correlation, const protocol::Message& asked, protocol::Message reply,
                Stamp stamp) override;
  void on_push(protocol::Message message, Stamp stamp) override;
  void on_tick() override;
  protocol::Heartbeat heartbeat() override { return bench_->heartbeat(); }

  // ---- worker::Link
  void tell(const protocol::Message& message) override;
  std::uint64_t request(protocol::Message message) override;
  void forget(std::uint64_t correlation) override { SimPeer::forget(correlation); }

  // ---- SimExecutor::Host
  void completed(worker::Completion completion) override;
  void wrote() override {
    if (!frozen()) turn();
  }
  void enqueued(const Job& parent, const std::string& queue,
                const worker::ChildJobs::Answer& answer) override;
  void killed() override { die_soon(false); }

  void be_born();
  void die_soon(bool silent);
  void leave();
  void send_resume();
  void turn();

  worker::Registry registry_;
  const Wakeup wakeup_;  // nobody waits for it: every turn looks
  std::unique_ptr<worker::OutputBuffer> outputs_;
  std::unique_ptr<worker::ChildJobs> children_;
  std::unique_ptr<SimExecutor> executor_;
  std::unique_ptr<worker::Workbench> bench_;
  protocol::Until until_ = protocol::Until::forever;
  bool leaving_ = false;
  std::uint64_t births_ = 0;
  std::uint64_t resume_ = 0;
  Instant resumed_at_{};
  std::vector<protocol::Message> old_outcomes_;  ///< of all its lives
};

/// The outcomes that an ACK, NACK, REJECT or RELEASE carries, with its verb; else nothing.
[[nodiscard]] std::optional<std::pair<Verb, const std::vector<protocol::Outcome>*>> outcomes_of(
    const protocol::Message& message);

}  // namespace millrace::simulation
