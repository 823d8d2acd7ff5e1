#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/store/memory_store.h"
#include "common/protocol/messages.h"
#include "tests/simulation/decisions.h"
#include "tests/simulation/outputs_seen.h"
#include "tests/simulation/sim_network.h"
#include "tests/support/store_audit.h"
#include "worker/outbox.h"

namespace millrace::simulation {

using worker::Verb;

/// Processes of one peer are numbered from its own number times this on.
constexpr std::uint64_t kLivesMax = 1000;
constexpr std::uint64_t peer_of(std::uint64_t life) { return life / kLivesMax; }

/// One ENQUEUE or REPLAY as its sender knows it.
struct RequestSeen {
  std::string queue;
  std::vector<protocol::NewJob> jobs;
  std::vector<JobId> origins;  ///< REPLAY
  bool force = false;          ///< REPLAY
  Instant sent_at{};           ///< for the first time
  std::optional<protocol::Enqueued> answer;
  Instant answered_at{};
  JobId parent;  ///< whose run enqueues them
};

/// A job that was acknowledged.
struct JobSeen {
  RequestId request;
  std::string queue;
  protocol::NewJob spec;
  bool replayed = false;
  Instant sent_at{};
  Instant acked_at{};
  std::set<LeaseId> leases;
  std::uint64_t redrives_sent = 0;
  std::uint64_t redriven = 0;
  std::optional<Stamp> cancelled;  ///< the last CANCEL that was answered `ok`
  std::uint64_t cancels_sent = 0;
};

/// A delivery that arrived.
struct LeaseSeen {
  JobId job;
  std::uint64_t life = 0;  ///< of a worker
  std::uint64_t broker_life = 0;
  int attempt = 0;
  int deliveries = 0;
  Duration timeout{};
  Stamp stamp;
  Instant received_at{};
  std::optional<Instant> started_at;
  std::optional<Instant> timed_out_at;
  std::vector<std::pair<Verb, protocol::Outcome>> outcomes;  ///< sent by its holder
  Instant first_outcome_at{};
  bool answered = false;        ///< its holder was told what became of an outcome
  std::optional<Verb> settled;  ///< the outcome that was answered `ok`
  bool crashed = false;         ///< it told of a crash
  bool waited = false;  ///< its answer waited for a load: another item was not open any more
  Stamp settled_stamp;
};

/// Runs that ended with their worker's process.
struct DeathSeen {
  LeaseId lease;
  std::uint64_t peer = 0;
  Instant at{};
};

/// What the clients saw and what the store was given; the rules are checked over this and over the
/// rows at the end. Contradictions that can be seen at once throw Violation at once.
class History {
 public:
  explicit History(World& world) : world_(world) {}

  // ---- producers and the admin
  void request_sent(const protocol::Enqueue& enqueue);
  void request_sent(const protocol::Replay& replay);
  void answered(RequestId id, const protocol::Enqueued& answer);
  void cancel_sent(JobId job) { ++jobs.at(job).cancels_sent; }
  void cancelled(const protocol::Outcomes& outcomes, Stamp stamp);
  void redrive_sent(JobId job) {
    ++jobs.at(job).redrives_sent;
    decisions.redrive_sent(job);
  }
  void redriven(const protocol::Outcomes& outcomes);
  void close_sent(const std::string& queue) { ++closes_[queue]; }
  /// A producer that closed with `wait`.
  void drained(const protocol::Drained& drained, Stamp stamp);

  // ---- workers
  void delivered(std::uint64_t life, const protocol::Delivery& delivery, Stamp stamp);
  void started(LeaseId lease);
  void outcome_sent(std::uint64_t life, Verb verb, const protocol::Outcome& outcome);
  void settled(std::uint64_t life, Verb verb, const std::vector<protocol::Outcome>& items,
               const protocol::Settled& settled, Stamp stamp);
  void timed_out(LeaseId lease);
  /// A worker's process ended while it ran these.
  void died_running(const std::vector<LeaseId>& leases, std::uint64_t peer);
  void sent_home(const protocol::Drained& drained, Stamp stamp);
  /// What is on the way to or from this peer may get lost.
  void disturb(std::uint64_t peer);
  [[nodiscard]] bool disturbed(std::uint64_t peer) const { return disturbed_.contains(peer); }

  void output_sent(std::uint64_t life, const protocol::OutputItem& item);
  void output_settled(std::uint64_t life, const std::vector<protocol::OutputItem>& items,
                      const protocol::Settled& settled);

  // ---- the store
  void decided(const broker::WriteBatch& writes) { decisions.decided(writes, world_.now()); }
  void committed(const broker::WriteBatch& writes);
  void restarted(const broker::MemoryState& rows, std::uint64_t epoch);
  void broker_died() { broker_deaths.push_back(world_.now().mono); }

  [[nodiscard]] bool broker_lived(Instant from, Instant to) const;
  /// Requests are remembered for a day; a broker that started on a clock that was set on by more
  /// cannot know better.
  [[nodiscard]] bool may_forget_requests() const;
  [[nodiscard]] World& world() const { return world_; }
  /// Jobs that have not ended, as far as the store was told.
  [[nodiscard]] std::size_t open_jobs() const { return open_.size(); }
  [[nodiscard]] std::optional<JobId> open_job() const {
    return open_.empty() ? std::nullopt : std::optional(*open_.begin());
  }
  [[nodiscard]] bool has_ended(JobId job) const { return ended_.contains(job); }

  std::map<RequestId, RequestSeen> requests;
  std::map<JobId, JobSeen> jobs;
  std::vector<JobId> job_ids;  ///< of `jobs`, in the order of their acknowledgement
  std::map<LeaseId, LeaseSeen> leases;
  std::vector<DeathSeen> deaths;
  std::vector<Instant> broker_deaths;
  Decisions decisions;
  OutputsSeen outputs;

 private:
  void answered_new(RequestId id, const RequestSeen& request, const protocol::NewJob& spec,
                    JobId job);
  void check_child(JobId parent, const protocol::Enqueued& answer) const;
  void check_existing(const RequestSeen& request, const protocol::NewJob& spec, JobId job) const;
  void check_replayed(const RequestSeen& request, const protocol::NewJob& spec) const;
  void check_drained(const std::string& queue, Stamp stamp);
  void note_state(JobId job, JobState state);

  World& world_;
  std::map<std::string, std::uint64_t> closes_;
  std::map<std::string, std::uint64_t> drains_;  ///< DRAINED told, by queue
  std::set<std::uint64_t> disturbed_;
  std::set<JobId> open_;
  std::set<JobId> ended_;
  std::uint64_t last_epoch_ = 0;
  broker::StoreAudit audit_;
};

}  // namespace millrace::simulation
