#pragma once

// The rows that outlive the process, as values. The engine decides what they say, the store only
// keeps them. A column is added with a default that means what its absence meant (store/schema.h).

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/limits.h"
#include "common/protocol/messages.h"
#include "common/types.h"

namespace millrace::broker {

using protocol::QueueState;

/// Number of jobs by JobState.
using StateCounts = std::array<std::uint64_t, kJobStateCount>;
using StateDeltas = std::array<std::int64_t, kJobStateCount>;

/// Bytes of payloads and results of ended jobs by JobState; zero for the states that are not final.
using StateBytes = std::array<std::uint64_t, kJobStateCount>;

/// A lane is a (queue, kind): jobs that the same workers can run, in one order.
struct LaneRow {
  LaneId id;
  std::string queue;
  std::string kind;
  StateCounts counts{};
  StateBytes bytes{};
};

struct LaneDelta {
  LaneId id;
  StateDeltas deltas{};
  StateDeltas bytes{};
};

struct QueueRow {
  std::string name;
  QueueState state = QueueState::open;
  bool paused = false;
  std::uint64_t generation = 1;
};

/// What was said of a kind; see protocol::KindOptions.
struct KindRow {
  std::string name;
  protocol::KindOptions options;
  bool by_operator = false;
  bool gone = false;  ///< in a WriteBatch: deletes the row
};

/// A unique key that is taken. A real row with (queue, key) as its primary key.
struct UniqueRow {
  std::string queue;
  std::string key;
  JobId job;
  Time until{};  ///< scope ttl: taken until then; else zero: until the job gives it back
  bool operator==(const UniqueRow&) const = default;
};

/// What a run left behind before it ended.
struct OutputRow {
  OutputSeq seq;
  JobId job;
  LeaseId lease;
  std::uint64_t n = 0;  ///< within the run
  int attempt = 1;
  OutputType type = OutputType::log;
  Time at{};
  Payload data;
};

struct BatchRow {
  BatchId id;
  bool sealed = false;
  bool implicit = false;  ///< never stored: made up from a job that is its own batch
  SessionId owner;        ///< the producer that may still add jobs; empty once it is gone
  std::uint64_t total = 0;
  std::uint64_t open = 0;
  std::uint64_t done = 0;
  std::uint64_t dead = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t expired = 0;
  Time created_at{};
};

struct WorkerRow {
  WorkerId id;
  SessionId session;
  std::string name;
  std::string host;
  std::int64_t pid = 0;
  Time connected_at{};
  Time left_at{};  ///< zero while it is connected, or when the broker was killed
};

/// Remembers one ENQUEUE or REPLAY, so that a resend gets the same answer.
struct RequestRow {
  RequestId id;
  std::uint64_t body_hash = 0;
  BatchId batch;
  JobId first;
  std::uint64_t count = 0;
  std::vector<JobId> replay_of;  ///< REPLAY only
  std::vector<JobId> ids;        ///< see protocol::Enqueued::ids
  Time at{};
};

/// What a job is; never changes.
struct JobSpec {
  LaneId lane;
  int priority = kPriorityDefault;
  BatchId batch;
  JobId replay_of;
  int max_attempts = kMaxAttemptsDefault;
  Duration timeout{};     ///< zero: none
  Duration backoff{};     ///< first delay; zero: see `retry`
  bool absolute = false;  ///< run_at was given as a time of day and follows the wall clock
  Time enqueued_at{};
  int crashes_max = kCrashesMaxDefault;
  std::string retry;  ///< see parse_retry(); empty: exponential from kBackoffFirst
  Time expires_at{};  ///< ends waiting; zero: never
  std::string unique_key;
  UniqueScope unique_scope = UniqueScope::active;
};

/// How a job stands.
struct JobStatus {
  JobState state = JobState::ready;
  LeaseId lease;    ///< of the current or last delivery; rises with every lease of the job
  WorkerId worker;  ///< of the current or last delivery
  int deliveries = 0;
  int attempts = 0;
  int crashes = 0;
  int attempts_base = 0;  ///< attempts and crashes at the last redrive: the limits count from there
  int crashes_base = 0;
  Time run_at{};      ///< when it may run next (scheduled), or when it became ready
  Time started_at{};  ///< of the current or last run; written lazily
  Time finished_at{};
  FinishSeq finish_seq;
  std::string error;         ///< of the last failed run
  bool unique_held = false;  ///< there is a UniqueRow that this job gives back
};

/// One run that did not end in `done`; the last, successful one is told by the job's own row.
struct AttemptRow {
  JobId job;
  int attempt = 0;  ///< attempts + crashes of the job, this run included
  WorkerId worker;
  Time started_at{};
  Time finished_at{};
  std::string outcome;  ///< nack, reject, timeout or crash
  std::string error;
};

/// A job as it comes from the store. Payloads above kPayloadInlineMax stay there unless asked for.
struct JobRecord {
  JobId id;
  JobSpec spec;
  JobStatus status;
  Payload payload;
  std::size_t payload_bytes = 0;
  std::uint64_t outputs = 0;  ///< highest `n` stored of its lease; of leased jobs at start only
};

struct JobInsert {
  JobId id;
  JobSpec spec;
  JobStatus status;
  Payload payload;
};

/// Guarded: the job must still be in `from_state` under `from_lease`, else it is a bug (exit 70).
struct JobUpdate {
  JobId id;
  JobState from_state = JobState::ready;
  LeaseId from_lease;
  JobStatus status;
  std::optional<Payload> result;  ///< set when the job is done
  // Of its spec, so that a store need not look them up.
  bool plain = false;  ///< it has neither an expires_at nor a unique key
  LaneId lane;
  int priority = kPriorityDefault;
  BatchId batch;
};

/// Everything one transaction writes.
struct WriteBatch {
  std::vector<LaneRow> lanes;  ///< new ones; counts are ignored, they start at 0
  std::vector<LaneDelta> lane_deltas;
  std::vector<QueueRow> queues;    ///< insert or replace
  std::vector<BatchRow> batches;   ///< insert or replace
  std::vector<WorkerRow> workers;  ///< insert or replace
  std::vector<RequestRow> requests;
  std::vector<JobInsert> inserts;
  std::vector<JobUpdate> updates;  ///< one at most for each job
  std::vector<AttemptRow> attempts;
  std::vector<KindRow> kinds;              ///< insert, replace or delete
  std::vector<UniqueRow> unique_released;  ///< first; each must be there as it says
  std::vector<UniqueRow> unique_acquired;  ///< then; none may be there
  std::vector<OutputRow> outputs;
  JobId last_job;  ///< high-water marks, zero: unchanged
  FinishSeq last_finish;
  OutputSeq last_output;

  [[nodiscard]] bool empty() const {
    return lanes.empty() && lane_deltas.empty() && queues.empty() && batches.empty() &&
           workers.empty() && requests.empty() && inserts.empty() && updates.empty() &&
           attempts.empty() && kinds.empty() && unique_released.empty() &&
           unique_acquired.empty() && outputs.empty() && !last_job && !last_finish && !last_output;
  }
};

/// What the engine needs to know at start; none of it grows with the backlog.
struct Snapshot {
  std::uint64_t epoch = 0;
  JobId last_job;
  FinishSeq last_finish;
  WorkerId last_worker;
  OutputSeq last_output;
  std::vector<LaneRow> lanes;
  std::vector<QueueRow> queues;
  std::vector<BatchRow> batches;   ///< those not sealed or with open jobs
  std::vector<WorkerRow> workers;  ///< those that hold a lease
  std::vector<JobRecord> leased;
  std::vector<KindRow> kinds;
};

}  // namespace millrace::broker
