#pragma once

// The things that the engine remembers, as plain data; Core (core.h) holds them. Private to the
// engine's .cpp files; one thread.

#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/engine/effects.h"
#include "broker/engine/engine.h"

namespace millrace::broker {

/// Order of dispatch within a queue.
struct ReadyKey {
  int priority = 0;
  JobId id;
  auto operator<=>(const ReadyKey&) const = default;
};
/// Order in which scheduled jobs come up.
struct ScheduledKey {
  Time run_at{};
  JobId id;
  auto operator<=>(const ScheduledKey&) const = default;
};

/// An ordered set of which only the front is in memory. Everything up to `frontier` is in `items`;
/// beyond it the jobs are only in the store. While a load runs, what arrives beyond the frontier
/// waits in `arrivals`, because the load may not see it.
template <class Key>
struct Window {
  std::set<Key> items;
  std::set<Key> arrivals;
  Key frontier{};
  bool whole = true;  ///< nothing beyond: `frontier` does not count
  bool loading = false;

  /// True when the job stays in memory.
  bool insert(const Key& key) {
    if (whole || key <= frontier) return items.insert(key).second;
    if (loading) return arrivals.insert(key).second;
    return false;
  }
  bool erase(const Key& key) { return items.erase(key) + arrivals.erase(key) != 0; }
};

struct Session;
struct Pool;

struct Queue {
  QueueRow row;
  StateCounts counts{};
  std::vector<LaneId> lanes;
  std::map<std::string, LaneId, std::less<>> lanes_by_kind;
  std::vector<Session*> workers;                             ///< sessions that offer it
  std::vector<std::pair<SessionId, std::uint64_t>> closers;  ///< CLOSE with wait: who, generation
  bool dirty = false;

  [[nodiscard]] std::uint64_t open_jobs() const {
    return counts[0] + counts[1] + counts[2] + counts[3];
  }
};

struct Lane {
  LaneId id;
  std::string kind;
  Queue* queue = nullptr;
  StateCounts counts{};
  StateDeltas deltas{};  ///< of the batch being gathered
  StateBytes ended_bytes{};
  StateDeltas bytes_deltas{};  ///< of the batch being gathered
  bool dirty = false;
  Window<ReadyKey> ready;
  std::size_t bytes = 0;  ///< payloads of `ready` in memory
  /// Who may run its jobs; valid while `offers_seen` equals Core::offers.
  std::vector<std::pair<Session*, Pool*>> takers;
  std::uint64_t offers_seen = 0;
};

struct Job {
  JobSpec spec;
  JobStatus status;
  Payload payload;  ///< empty when it is only in the store
  std::size_t payload_bytes = 0;
  std::optional<Payload> result;
  // While leased:
  Session* session = nullptr;  ///< null: its worker has not come back after a restart
  Pool* pool = nullptr;        ///< of `session`; null: it does not offer the kind any more
  std::uint64_t delivery = 0;
  Instant leased_at{};
  Instant started_at{};  ///< of the run; status.started_at is the same moment in UTC
  bool started = false;
  std::uint64_t outputs = 0;  ///< highest number of what this run left behind
  std::uint64_t output_bytes = 0;
  // While scheduled:
  Instant due{};
  // Of the batch being gathered:
  bool dirty = false;
  bool fresh = false;    ///< not in the store yet
  bool indexed = false;  ///< in a window; else it leaves memory when the batch is taken
  JobState from_state = JobState::ready;
  LeaseId from_lease;
};

struct Batch {
  BatchRow row;
  bool dirty = false;
  /// A job enqueued alone is its own batch and has no row, until it enqueues further ones.
  bool implicit = false;
  std::set<SessionId> watchers;
  /// Rows that ended since somebody watches: all with a cursor above `recent_after`.
  std::deque<protocol::ResultRow> recent;
  std::size_t recent_bytes = 0;
  FinishSeq recent_after;

  [[nodiscard]] bool ended() const { return row.open == 0 && (row.sealed || row.owner.empty()); }
};

struct Pool {
  std::string name;
  std::uint64_t slots = 0;
  std::uint64_t upto = 0;       ///< credit
  std::uint64_t delivered = 0;  ///< highest delivery number used
  std::uint64_t leased = 0;     ///< leases open now
  std::vector<protocol::Delivery> outgoing;
};

/// How far one peer's stream of a batch's results has come.
struct WatchState {
  struct Sent {
    FinishSeq cursor;
    std::size_t rows = 0;
    std::size_t bytes = 0;
  };
  FinishSeq seen;   ///< everything up to here was sent or is known to be none of its business
  FinishSeq told;   ///< the cursor of the last message sent
  FinishSeq acked;  ///< what the peer said it has
  std::deque<Sent> unacked;
  std::size_t rows_unacked = 0;
  std::size_t bytes_unacked = 0;
  bool reading = false;
  bool answered = false;  ///< else `correlation` waits for a RESULTS
  std::uint64_t correlation = 0;
};

/// A question about one job that is answered when there is something to tell.
struct Wait {
  ConnectionId to;
  std::uint64_t correlation = 0;
  bool result = false;  ///< how the job ended; else what its runs left behind
  bool follow = false;  ///< wait for output that is not there yet
  OutputSeq from;
  bool reading = false;
  bool again = false;  ///< something came while the read was under way
};

struct Session {
  SessionId id;
  protocol::Role role = protocol::Role::producer;
  ConnectionId connection;  ///< none: its connection is gone, it may come back
  WorkerRow row;
  Instant heard_at{};
  Time seen_at{};
  // worker
  protocol::Offer offer;
  std::map<std::string, Pool> pools;
  std::map<LeaseId, JobId> leases;
  std::uint64_t leases_hash = 0;
  int mismatches = 0;
  bool resuming = false;  ///< no deliveries until its RESUME is here
  bool told_to_leave = false;
  bool dismissed = false;  ///< by an operator
  /// What became of leases it no longer has, for late and repeated messages; sorted, the oldest are
  /// dropped.
  std::deque<std::pair<LeaseId, protocol::ItemStatus>> closed_leases;
  // producer
  std::map<BatchId, WatchState> watches;
  std::set<std::pair<JobId, std::uint64_t>> waits;  ///< job, correlation
};

/// Requests of one producer process.
struct RequestLog {
  std::uint64_t counter_max = 0;
  std::map<std::uint64_t, RequestRow> recent;
  std::set<std::uint64_t> absent;  ///< counters that were looked up and are not in the store
  bool loading = false;
  std::deque<Received> parked;
  Instant used_at{};
};

/// What a load found about unique keys, and the batch it was asked with.
struct UniqueLooked {
  std::vector<UniqueRow> rows;
  std::uint64_t batch = 0;
};

/// A unique key that changed hands while a load that may not see it is under way.
struct UniqueChange {
  std::optional<UniqueRow> row;     ///< as it is now
  std::optional<UniqueRow> stored;  ///< as it was before the batch being gathered
  std::uint64_t batch = 0;          ///< of the last change
  bool dirty = false;
};

/// What an ENQUEUE makes of one of its jobs.
struct UniqueStep {
  JobId existing;                ///< nothing new: this job has the key
  JobId replaces;                ///< this job ends, the new one takes its key
  bool replaced = false;         ///< it has ended
  std::optional<UniqueRow> row;  ///< of the key, before
};
struct UniquePlan {
  std::vector<UniqueStep> steps;
  std::uint64_t count = 0;  ///< of new jobs
  bool has_existing = false;
};

/// A command that waits for jobs from the store. `done` says what to do with them.
struct Parked {
  Received command;
  std::vector<JobId> asked;          ///< what the store is asked for
  std::set<JobId> absent;            ///< what it does not have (CANCEL, REDRIVE)
  std::vector<std::size_t> unknown;  ///< positions of the items that wait (settlements)
  std::vector<protocol::ItemStatus> statuses;
  UniqueLooked unique;  ///< who holds the keys of the jobs asked for (REDRIVE)
};

/// A lease that is open, and its job; no job when it has ended.
struct OpenLease {
  JobId id;
  Job* job = nullptr;
};

}  // namespace millrace::broker
