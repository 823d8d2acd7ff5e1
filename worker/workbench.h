#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/protocol/messages.h"
#include "worker/child_sender.h"
#include "worker/credit.h"
#include "worker/executor.h"
#include "worker/lease_book.h"
#include "worker/link.h"
#include "worker/outbox.h"
#include "worker/output_sender.h"
#include "worker/registry.h"

namespace millrace::worker {

/// The executor is borrowed; it outlives the workbench.
struct PoolSpec {
  std::string name;
  Executor* executor = nullptr;
};

struct Tally {
  std::uint64_t ran = 0;
  std::uint64_t failed = 0;
  std::uint64_t released = 0;
};

/// Everything about jobs at hand, nothing about when to come and go: takes deliveries, starts them
/// as slots free up, keeps outcomes until they are settled, and says how much more the broker may
/// send. Owned by the agent, on its thread. What it is told in one turn leaves together in `turn`.
class Workbench {
 public:
  /// All but `pools` itself must outlive it.
  Workbench(Link& link, const Registry& registry, const std::vector<PoolSpec>& pools,
            OutputBuffer& outputs, ChildJobs& children);

  // ---- the session -----------------------------------------------------------------------------
  void connected(const protocol::Welcome& welcome);
  [[nodiscard]] protocol::Resume resume(Instant now) const { return {book_.list(now)}; }
  void resumed(const protocol::Resumed& resumed);
  [[nodiscard]] protocol::Heartbeat heartbeat() const;
  [[nodiscard]] std::map<std::string, std::uint64_t> slots() const;

  // ---- what arrives ----------------------------------------------------------------------------
  void deliver(protocol::Jobs jobs);
  void complete(std::vector<Completion> completions);
  /// CANCEL: these leases are gone. Runs are stopped and what they return is not sent.
  void revoke(const std::vector<LeaseId>& leases, StopReason reason);
  /// RECALL: gives those back that have not started.
  void recall(const std::vector<LeaseId>& leases);
  /// The reply to a request; false when the request was not the workbench's.
  bool answered(std::uint64_t correlation, const protocol::Message& reply, Instant now);

  // ---- leaving ---------------------------------------------------------------------------------
  /// From now on nothing starts: waiting jobs and those still to come are given back.
  void close();
  /// Asks every run to stop; those that fail because of it are given back, uncharged.
  void stop_runs();

  /// Starts what can start, sends what may be sent. Once per turn, after everything above.
  void turn(Instant now);

  // ---- looking ---------------------------------------------------------------------------------
  [[nodiscard]] std::size_t held() const { return book_.held(); }
  [[nodiscard]] std::size_t running() const { return book_.running(); }
  [[nodiscard]] std::size_t unsettled_results() const { return outbox_.results(); }
  [[nodiscard]] const Tally& tally() const { return tally_; }
  /// When `turn` must be called at the latest.
  [[nodiscard]] std::optional<Instant> next_deadline() const;

 private:
  struct Pool {
    std::string name;
    Executor* executor;
    Credit credit;
    std::deque<LeaseId> waiting = {};  // may name leases that are gone
    std::size_t started = 0;           // and not completed
    [[nodiscard]] bool is_batching() const { return started > credit.slots(); }
  };

  void complete(Completion completion);
  Verb judge(Completion& completion, const HeldLease& held);
  void finish(LeaseId lease);
  void put(Verb verb, HeldLease& held, protocol::Outcome outcome);
  void let_go_after_children();
  void let_go_after_output(LeaseId lease);
  void let_go(const OutputBuffer::Ended& run);
  void release(HeldLease& held);
  void drop(const std::vector<LeaseId>& leases);
  [[nodiscard]] std::size_t pool_index(const std::string& name, const std::string& kind) const;
  void settle(const Outbox::Parcel& parcel, const protocol::Settled& settled);
  [[nodiscard]] static bool may_start(const Pool& pool, const protocol::Delivery& delivery);
  void start_waiting(Instant now);
  void look_after_batches(Instant now);
  void stop_overdue(Instant now);
  void share_leases();
  void send_credit();

  Link& link_;
  const Registry& registry_;
  std::vector<Pool> pools_;
  LeaseBook book_;
  OutputBuffer& outputs_;
  OutputSender output_sender_;
  ChildJobs& children_;
  ChildSender child_sender_;
  Outbox outbox_;
  std::set<std::pair<Instant, LeaseId>> deadlines_;
  std::optional<Instant> look_again_at_;  // while a pool has more jobs than slots
  std::uint64_t leases_max_ = Limits{}.leases_per_worker_max;
  std::size_t result_bytes_max_;
  bool closed_ = false;
  Tally tally_;
};

}  // namespace millrace::worker
