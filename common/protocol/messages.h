#pragma once

// MRP/1: every message there is, as plain values. docs/protocol.md is the long form of this file.
//
// `visit` names each field once, with its key in the body map; encoder, decoder and JSON writer all
// use it. A field that holds its default is left out of the map; an unknown key is ignored. So a
// new field is added with a default that means what its absence meant, and a key is never reused.
//
// It is longer than other headers because it is one table: whoever changes a message sees its
// neighbours and the numbers already taken.

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "common/errors.h"
#include "common/limits.h"
#include "common/types.h"

namespace millrace::protocol {

inline constexpr int kVersion = 1;

enum class Role : std::uint8_t { producer, worker };
enum class Until : std::uint8_t { drained, forever, empty };
enum class QueueState : std::uint8_t { open, closed, drained };
/// What became of one item of ACK, NACK, REJECT, RELEASE, CANCEL or REDRIVE.
enum class ItemStatus : std::uint8_t { ok, duplicate, stale, cancelled, not_found, refused };

// ---- session ---------------------------------------------------------------------------------

struct Hello {
  static constexpr int kType = 1;
  Role role = Role::producer;
  SessionId session;  ///< 16 bytes, drawn once per process
  std::string name;   ///< for people: shown by `worker ls`
  std::string host;
  std::int64_t pid = 0;
  int version_min = kVersion;
  int version_max = kVersion;
  void visit(auto& v) {
    v("role", role), v.bytes("session", session), v("name", name), v("host", host), v("pid", pid);
    v("version_min", version_min), v("version_max", version_max);
  }
};

struct Welcome {
  static constexpr int kType = 2;
  int version = kVersion;
  std::string broker;  ///< version of the broker's program
  std::uint64_t epoch = 0;
  bool known = false;  ///< the broker still had this session: its leases and watches stand
  Time now{};
  Duration heartbeat = kHeartbeat;
  Duration lost_after = kPeerLostAfter;
  std::uint64_t payload_bytes_max = 0;
  std::uint64_t result_bytes_max = 0;
  std::uint64_t enqueue_jobs_max = 0;
  std::uint64_t enqueue_bytes_max = 0;
  std::uint64_t leases_max = 0;
  std::uint64_t output_rows_max = 0;
  std::uint64_t output_bytes_max = 0;
  std::uint64_t output_item_bytes_max = 0;
  void visit(auto& v) {
    v("version", version), v("broker", broker), v("epoch", epoch), v("known", known);
    v("now", now), v("heartbeat_ms", heartbeat), v("lost_after_ms", lost_after);
    v("payload_bytes_max", payload_bytes_max), v("result_bytes_max", result_bytes_max);
    v("enqueue_jobs_max", enqueue_jobs_max), v("enqueue_bytes_max", enqueue_bytes_max);
    v("leases_max", leases_max), v("output_rows_max", output_rows_max);
    v("output_bytes_max", output_bytes_max), v("output_item_bytes_max", output_item_bytes_max);
  }
};

struct ErrorReply {
  static constexpr int kType = 3;
  std::string code;
  std::string message;
  bool retryable = false;
  Duration after{};
  void visit(auto& v) {
    v("code", code), v("message", message), v("retryable", retryable), v("after_ms", after);
  }
};

/// A peer leaves for good. What it had not settled goes back to ready, uncharged.
struct Bye {
  static constexpr int kType = 4;
  void visit(auto&) {}
};

/// Renews everything the session holds. A worker adds its credit and what it holds; the broker
/// answers with an empty HEARTBEAT.
struct Heartbeat {
  static constexpr int kType = 5;
  std::map<std::string, std::uint64_t> credit;  ///< pool → upto
  std::uint64_t held = 0;                       ///< leases the worker holds
  std::uint64_t held_hash = 0;                  ///< see lease_hash()
  void visit(auto& v) { v("credit", credit), v("held", held), v("held_hash", held_hash); }
};

/// The broker sees that a worker's held leases differ from its own list: send RESUME.
struct ResumeWanted {
  static constexpr int kType = 6;
  void visit(auto&) {}
};

// ---- enqueue ---------------------------------------------------------------------------------

/// What a job does not say of itself, its kind says (KindOptions), at the time of the enqueue.
struct NewJob {
  std::string kind;
  Payload payload;
  int priority = kPriorityDefault;
  int max_attempts = 0;  ///< 0: as its kind says, else kMaxAttemptsDefault
  Duration delay{};      ///< after the enqueue; not together with `run_at`
  Time run_at{};
  Duration timeout{};      ///< of one run; zero: as its kind says, else none
  Duration backoff{};      ///< first delay after a failure, then doubling; short for `retry`
  std::string retry;       ///< see parse_retry(); not with `backoff`; empty: as its kind says
  int crashes_max = 0;     ///< 0: as its kind says, else kCrashesMaxDefault
  Duration expires_in{};   ///< ends waiting so long after the enqueue; not with `expires_at`
  Time expires_at{};       ///< ends waiting at this time; zero: never
  std::string unique_key;  ///< among the jobs of its queue; empty: none
  UniqueScope unique_scope = UniqueScope::active;
  Duration unique_ttl{};  ///< with scope `ttl`
  OnConflict on_conflict = OnConflict::existing;
  void visit(auto& v) {
    v("kind", kind), v("payload", payload), v("priority", priority);
    v("max_attempts", max_attempts), v("delay_ms", delay), v("run_at", run_at);
    v("timeout_ms", timeout), v("backoff_ms", backoff), v("unique_key", unique_key);
    v("retry", retry), v("crashes_max", crashes_max), v("expires_in_ms", expires_in);
    v("expires_at", expires_at), v("unique_scope", unique_scope);
    v("unique_ttl_ms", unique_ttl), v("on_conflict", on_conflict);
  }
};

/// All or nothing. The ids of the new jobs are contiguous and in the order of `jobs`.
struct Enqueue {
  static constexpr int kType = 10;
  RequestId request;
  std::string queue = kQueueDefault;
  BatchId batch;      ///< none: these jobs begin a new batch
  bool seal = false;  ///< no further ENQUEUE follows for this batch; `jobs` may then be empty
  std::vector<NewJob> jobs;
  /// A running job enqueues them: they join its batch. With neither `batch` nor `seal`.
  LeaseId lease{};
  void visit(auto& v) {
    v("request", request), v("queue", queue), v("batch", batch), v("seal", seal), v("jobs", jobs);
    v("lease", lease);
  }
};

struct Enqueued {
  static constexpr int kType = 11;
  BatchId batch;  ///< none when nothing new was enqueued and no batch was named
  JobId first;    ///< ids of the new jobs are first … first+count−1
  std::uint64_t count = 0;
  /// The id of each job of the request, in order, when a unique key led to a job that was there
  /// before; empty when all of them are new.
  std::vector<JobId> ids;
  std::vector<JobId> replay_of;  ///< for REPLAY: the origin of each, in order
  void visit(auto& v) {
    v("batch", batch), v("first", first), v("count", count), v("replay_of", replay_of);
    v("ids", ids);
  }
};

// ---- work ------------------------------------------------------------------------------------

/// What holds for the jobs of a kind that are enqueued from now on and do not say otherwise.
struct KindOptions {
  int max_attempts = 0;         ///< 0: kMaxAttemptsDefault
  int crashes_max = 0;          ///< 0: kCrashesMaxDefault
  Duration timeout{};           ///< of one run; zero: none
  std::string retry;            ///< see parse_retry(); empty: the default
  bool not_replayable = false;  ///< REPLAY of its jobs needs `force`
  bool operator==(const KindOptions&) const = default;
  void visit(auto& v) {
    v("max_attempts", max_attempts), v("crashes_max", crashes_max), v("timeout_ms", timeout);
    v("retry", retry), v("not_replayable", not_replayable);
  }
};

struct Offer {
  static constexpr int kType = 20;
  std::vector<std::string> queues;
  std::map<std::string, std::string> kinds;    ///< kind → pool
  std::map<std::string, std::uint64_t> pools;  ///< pool → slots
  Until until = Until::drained;
  /// What the worker's handlers say of their kinds; remembered by the broker, the newest word
  /// counts, unless an operator set them (KIND_SET).
  std::map<std::string, KindOptions> kind_options;
  void visit(auto& v) {
    v("queues", queues), v("kinds", kinds), v("pools", pools), v("until", until);
    v("kind_options", kind_options);
  }
};

/// Deliveries of a pool are numbered 1, 2, 3 …; the broker never sends one above `upto`.
struct Credit {
  static constexpr int kType = 21;
  std::map<std::string, std::uint64_t> upto;  ///< pool → highest delivery wanted; never lowered
  void visit(auto& v) { v("upto", upto); }
};

struct Delivery {
  std::uint64_t number = 0;  ///< of this session and pool
  LeaseId lease;
  JobId job;
  std::string kind;
  std::string queue;
  Payload payload;
  int attempt = 1;  ///< 1 for the first try
  int max_attempts = 0;
  int deliveries = 0;
  Duration timeout{};
  BatchId batch;
  void visit(auto& v) {
    v("number", number), v("lease", lease), v("job", job), v("kind", kind), v("queue", queue);
    v("payload", payload), v("attempt", attempt), v("max_attempts", max_attempts);
    v("deliveries", deliveries), v("timeout_ms", timeout), v("batch", batch);
  }
};

struct Jobs {
  static constexpr int kType = 22;
  std::string pool;
  std::vector<Delivery> items;
  void visit(auto& v) { v("pool", pool), v("items", items); }
};

/// Sent before the handlers begin. Losing the worker afterwards counts as a crash of these jobs.
struct Started {
  static constexpr int kType = 23;
  std::vector<LeaseId> leases;
  void visit(auto& v) { v("leases", leases); }
};

/// How one run ended. `job` lets a broker that restarted find a lease it no longer holds.
struct Outcome {
  LeaseId lease;
  JobId job;
  Payload result;        ///< ACK
  std::string error;     ///< NACK, REJECT: what a person reads; begins with a word, e.g. `refused`
  Duration delay{-1};    ///< NACK: the handler's own delay before the next try; -1: by policy
  Duration elapsed{};    ///< of the run
  bool crashed = false;  ///< NACK: the process of the run was lost, its worker was not
  void visit(auto& v) {
    v("lease", lease), v("job", job), v("result", result), v("error", error);
    v("delay_ms", delay), v("elapsed_ms", elapsed), v("crashed", crashed);
  }
};

struct Ack {
  static constexpr int kType = 24;
  std::vector<Outcome> items;
  void visit(auto& v) { v("items", items); }
};

struct Nack {
  static constexpr int kType = 25;
  std::vector<Outcome> items;
  void visit(auto& v) { v("items", items); }
};

struct Reject {
  static constexpr int kType = 26;
  std::vector<Outcome> items;
  void visit(auto& v) { v("items", items); }
};

/// Gives leases back; nothing is charged.
struct Release {
  static constexpr int kType = 27;
  std::vector<Outcome> items;
  void visit(auto& v) { v("items", items); }
};

struct Settled {
  static constexpr int kType = 28;
  std::vector<LeaseId> leases;
  std::vector<ItemStatus> statuses;  ///< one for each of `leases`
  void visit(auto& v) { v("leases", leases), v("statuses", statuses); }
};

/// One thing a run leaves behind before it ends.
struct OutputItem {
  LeaseId lease;
  JobId job;
  std::uint64_t n = 0;  ///< 1, 2, 3 … within the run; a repeated one is `duplicate`
  OutputType type = OutputType::log;
  Payload data;  ///< log: a line of text; progress: JSON {"done","total","text"}; chunk: anything
  Time at{};
  void visit(auto& v) {
    v("lease", lease), v("job", job), v("n", n), v("type", type), v("data", data), v("at", at);
  }
};

/// Answered by SETTLED, an item each: `ok`, `duplicate`, `stale`, `refused` (a limit is reached).
struct Output {
  static constexpr int kType = 29;
  std::vector<OutputItem> items;
  void visit(auto& v) { v("items", items); }
};

struct HeldLease {
  LeaseId lease;
  JobId job;
  bool started = false;
  Duration elapsed{};  ///< since the start of the run
  void visit(auto& v) {
    v("lease", lease), v("job", job), v("started", started), v("elapsed_ms", elapsed);
  }
};

/// Every lease the worker holds: waiting, running and unsettled. Required after every OFFER that
/// follows a HELLO, also when empty: nothing is delivered before it.
struct Resume {
  static constexpr int kType = 30;
  std::vector<HeldLease> leases;
  void visit(auto& v) { v("leases", leases); }
};

struct Resumed {
  static constexpr int kType = 31;
  std::vector<LeaseId> keep;
  std::vector<LeaseId> drop;
  std::map<std::string, std::uint64_t> delivered;  ///< pool → highest delivery number used so far
  void visit(auto& v) { v("keep", keep), v("drop", drop), v("delivered", delivered); }
};

/// Give back those of these leases that have not started (by RELEASE).
struct Recall {
  static constexpr int kType = 32;
  std::vector<LeaseId> leases;
  void visit(auto& v) { v("leases", leases); }
};

/// To the broker: end these jobs. To a worker: these leases are revoked, stop their runs.
struct Cancel {
  static constexpr int kType = 33;
  std::vector<JobId> jobs;
  std::vector<LeaseId> leases;
  std::string reason;  ///< `cancelled` or `timeout`
  void visit(auto& v) { v("jobs", jobs), v("leases", leases), v("reason", reason); }
};

// ---- results ---------------------------------------------------------------------------------

/// Asks for the results of a batch after `from`; sent again with the newest cursor it allows more.
struct Watch {
  static constexpr int kType = 40;
  BatchId batch;
  FinishSeq from;
  void visit(auto& v) { v("batch", batch), v("from", from); }
};

struct ResultRow {
  JobId job;
  std::string kind;
  JobState state = JobState::done;
  Payload result;
  std::string error;
  int attempts = 0;
  FinishSeq cursor;
  Duration elapsed{};  ///< of the last run
  void visit(auto& v) {
    v("job", job), v("kind", kind), v("state", state), v("result", result), v("error", error);
    v("attempts", attempts), v("cursor", cursor), v("elapsed_ms", elapsed);
  }
};

/// Rows with from < cursor ≤ `cursor`. A receiver whose own cursor is not `from` lost a message and
/// sends WATCH again.
struct Results {
  static constexpr int kType = 41;
  BatchId batch;
  FinishSeq from;
  FinishSeq cursor;
  std::vector<ResultRow> rows;
  std::uint64_t total = 0;  ///< jobs in the batch so far
  std::uint64_t open = 0;   ///< of them not ended
  bool end = false;         ///< sealed (or its producer gone), nothing open, nothing after `cursor`
  void visit(auto& v) {
    v("batch", batch), v("from", from), v("cursor", cursor), v("rows", rows);
    v("total", total), v("open", open), v("end", end);
  }
};

struct Unwatch {
  static constexpr int kType = 42;
  BatchId batch;
  void visit(auto& v) { v("batch", batch); }
};

/// Asks how one job ended, and waits for its end. Answered by RESULTS with that one row.
struct Await {
  static constexpr int kType = 43;
  JobId job;
  void visit(auto& v) { v("job", job); }
};

/// Asks what a job's runs left behind after `from`; with `wait` answered as soon as there is
/// something, or the job has ended. To follow a job, ask again with the `cursor` of the answer.
struct WatchOutput {
  static constexpr int kType = 44;
  JobId job;
  OutputSeq from;
  bool wait = false;
  void visit(auto& v) { v("job", job), v("from", from), v("wait", wait); }
};

struct OutputRow {
  OutputSeq cursor;
  int attempt = 1;  ///< which run of the job, from 1: attempts and crashes before it, plus one
  OutputType type = OutputType::log;
  Payload data;
  Time at{};
  void visit(auto& v) {
    v("cursor", cursor), v("attempt", attempt), v("type", type), v("data", data), v("at", at);
  }
};

struct OutputRows {
  static constexpr int kType = 45;
  JobId job;
  OutputSeq cursor;  ///< where to go on
  std::vector<OutputRow> rows;
  bool end = false;  ///< the job has ended and there is nothing after `cursor`
  void visit(auto& v) { v("job", job), v("cursor", cursor), v("rows", rows), v("end", end); }
};

// ---- queues ----------------------------------------------------------------------------------

/// The sentinel: ends the queue's current generation.
struct Close {
  static constexpr int kType = 50;
  std::string queue;
  bool wait = false;  ///< also send DRAINED when it is drained
  /// 0 closes. With the generation that an earlier reply named nothing is closed: it only asks to
  /// be told when that generation is drained (after a reconnect).
  std::uint64_t generation = 0;
  void visit(auto& v) { v("queue", queue), v("wait", wait), v("generation", generation); }
};

struct Open {
  static constexpr int kType = 51;
  std::string queue;
  void visit(auto& v) { v("queue", queue); }
};

struct QueueGeneration {
  std::string queue;
  std::uint64_t generation = 0;
  void visit(auto& v) { v("queue", queue), v("generation", generation); }
};

/// To a worker: go home. To a producer that closed with `wait`: it is drained.
struct Drained {
  static constexpr int kType = 52;
  std::vector<QueueGeneration> queues;
  std::string reason = "drained";  ///< `drained`, or `empty` for a worker in burst mode
  void visit(auto& v) { v("queues", queues), v("reason", reason); }
};

struct Pause {
  static constexpr int kType = 53;
  std::string queue;
  void visit(auto& v) { v("queue", queue); }
};

struct Unpause {
  static constexpr int kType = 54;
  std::string queue;
  void visit(auto& v) { v("queue", queue); }
};

/// A row of `queue ls`; also the reply to CLOSE, OPEN, PAUSE and UNPAUSE.
struct QueueInfo {
  static constexpr int kType = 55;
  std::string queue;
  QueueState state = QueueState::open;
  bool paused = false;
  std::uint64_t generation = 1;
  std::array<std::uint64_t, kJobStateCount> counts{};  ///< by JobState
  std::uint64_t workers = 0;
  [[nodiscard]] std::uint64_t open_jobs() const {
    return counts[0] + counts[1] + counts[2] + counts[3];
  }
  void visit(auto& v) {
    v("queue", queue), v("state", state), v("paused", paused), v("generation", generation);
    v("blocked", counts[0]), v("scheduled", counts[1]), v("ready", counts[2]);
    v("leased", counts[3]), v("done", counts[4]), v("dead", counts[5]);
    v("cancelled", counts[6]), v("expired", counts[7]), v("workers", workers);
  }
};

/// Says what holds for the jobs of a kind, above what workers say of it. Answered by KIND_INFO.
struct KindSet {
  static constexpr int kType = 56;
  std::string kind;
  KindOptions options;
  bool reset = false;  ///< forget all that was said; workers' next OFFER counts again
  void visit(auto& v) { v("kind", kind), v("options", options), v("reset", reset); }
};

struct KindInfo {
  static constexpr int kType = 57;
  std::string kind;
  KindOptions options;
  bool by_operator = false;  ///< else as workers offer it
  void visit(auto& v) { v("kind", kind), v("options", options), v("by_operator", by_operator); }
};

/// Sends workers home: they finish what runs, give back the rest and end. Answered by OUTCOMES.
struct Dismiss {
  static constexpr int kType = 58;
  std::vector<WorkerId> workers;
  void visit(auto& v) { v("workers", workers); }
};

// ---- jobs by id ------------------------------------------------------------------------------

/// Dead (or cancelled) jobs are made ready again, with fresh attempts.
struct Redrive {
  static constexpr int kType = 60;
  std::vector<JobId> jobs;
  void visit(auto& v) { v("jobs", jobs); }
};

/// Ended jobs are enqueued again as new ones that name their origin. Ids that name no ended job are
/// left out of the reply. Idempotent by `request`, like ENQUEUE.
struct Replay {
  static constexpr int kType = 61;
  RequestId request;
  BatchId batch;
  bool seal = false;
  std::vector<JobId> jobs;
  bool force = false;  ///< also kinds that say they are not to be replayed
  void visit(auto& v) {
    v("request", request), v("batch", batch), v("seal", seal), v("jobs", jobs), v("force", force);
  }
};

/// Reply to CANCEL, REDRIVE and DISMISS, an item for each job or worker named.
struct Outcomes {
  static constexpr int kType = 62;
  std::vector<JobId> jobs;  ///< empty for DISMISS
  std::vector<ItemStatus> statuses;
  void visit(auto& v) { v("jobs", jobs), v("statuses", statuses); }
};

// ---- looking ---------------------------------------------------------------------------------

struct Stats {
  static constexpr int kType = 70;
  std::string queue;  ///< only this one; empty: all
  void visit(auto& v) { v("queue", queue); }
};

struct WorkerInfo {
  WorkerId worker;
  std::string name;
  std::string host;
  std::int64_t pid = 0;
  std::vector<std::string> queues;
  std::map<std::string, std::uint64_t> pools;  ///< pool → slots
  std::uint64_t leases = 0;
  Until until = Until::drained;
  Time connected_at{};
  Time seen_at{};
  void visit(auto& v) {
    v("worker", worker), v("name", name), v("host", host), v("pid", pid), v("queues", queues);
    v("pools", pools), v("leases", leases), v("until", until), v("connected_at", connected_at);
    v("seen_at", seen_at);
  }
};

/// Reply to STATS.
struct Report {
  static constexpr int kType = 71;
  std::string broker;
  std::uint64_t epoch = 0;
  Time started_at{};
  Time now{};
  bool storage_full = false;
  std::uint64_t producers = 0;
  std::uint64_t jobs_in_memory = 0;
  std::vector<QueueInfo> queues;
  std::vector<WorkerInfo> workers;
  std::vector<KindInfo> kinds;  ///< those of which something was said
  void visit(auto& v) {
    v("broker", broker), v("epoch", epoch), v("started_at", started_at), v("now", now);
    v("storage_full", storage_full), v("producers", producers);
    v("jobs_in_memory", jobs_in_memory), v("queues", queues), v("workers", workers);
    v("kinds", kinds);
  }
};

/// Selects jobs; every field given must match. Times are those of the end of the job, or of its
/// enqueue while it has not ended.
struct JobFilter {
  std::vector<JobId> ids;
  BatchId batch;
  std::vector<JobState> states;
  std::string queue;
  std::string kind;
  Time since{};
  Time until{};
  bool ended = false;  ///< only ended jobs
  std::string unique_key;
  void visit(auto& v) {
    v("ids", ids), v("batch", batch), v("states", states), v("queue", queue), v("kind", kind);
    v("since", since), v("until", until), v("ended", ended);
    v("unique_key", unique_key);
  }
};

enum class ListWhat : std::uint8_t { jobs, batches };

/// A page of jobs or batches in the order of their ids.
struct List {
  static constexpr int kType = 72;
  ListWhat what = ListWhat::jobs;
  JobFilter filter;
  std::uint64_t after = 0;  ///< ids above this one
  std::uint64_t upto = 0;   ///< and not above this one; 0: no bound
  std::uint64_t limit = kPageRowsMax;
  bool newest_first = false;  ///< ids falling, `after` is then an upper bound (0: none)
  bool payloads = false;      ///< with payload and result
  void visit(auto& v) {
    v("what", what), v("filter", filter), v("after", after), v("upto", upto), v("limit", limit);
    v("newest_first", newest_first), v("payloads", payloads);
  }
};

struct JobInfo {
  JobId job;
  std::string queue;
  std::string kind;
  JobState state = JobState::ready;
  int priority = kPriorityDefault;
  Payload payload;
  Payload result;
  std::string error;
  int deliveries = 0;
  int attempts = 0;
  int max_attempts = 0;
  int crashes = 0;
  int crashes_max = 0;
  std::string retry;  ///< empty: exponential from 1 s
  BatchId batch;
  JobId replay_of;
  std::string worker;
  Time enqueued_at{};
  Time run_at{};
  Time started_at{};
  Time finished_at{};
  Duration timeout{};
  FinishSeq cursor;
  Time expires_at{};
  std::string unique_key;
  bool unique_held = false;
  Payload progress;  ///< the newest its runs told; SHOW only
  void visit(auto& v) {
    v("job", job), v("queue", queue), v("kind", kind), v("state", state), v("priority", priority);
    v("payload", payload), v("result", result), v("error", error), v("deliveries", deliveries);
    v("attempts", attempts), v("max_attempts", max_attempts), v("crashes", crashes);
    v("batch", batch), v("replay_of", replay_of), v("worker", worker);
    v("enqueued_at", enqueued_at), v("run_at", run_at), v("started_at", started_at);
    v("finished_at", finished_at), v("timeout_ms", timeout), v("cursor", cursor);
    v("crashes_max", crashes_max), v("retry", retry), v("expires_at", expires_at);
    v("unique_key", unique_key), v("unique_held", unique_held), v("progress", progress);
  }
};

struct AttemptInfo {
  int attempt = 0;
  std::string worker;
  Time started_at{};
  Time finished_at{};
  std::string outcome;  ///< ack, nack, reject, timeout or crash
  std::string error;
  void visit(auto& v) {
    v("attempt", attempt), v("worker", worker), v("started_at", started_at);
    v("finished_at", finished_at), v("outcome", outcome), v("error", error);
  }
};

struct BatchInfo {
  BatchId batch;
  bool sealed = false;
  std::uint64_t total = 0;
  std::uint64_t open = 0;
  std::uint64_t done = 0;
  std::uint64_t dead = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t expired = 0;
  Time created_at{};
  void visit(auto& v) {
    v("batch", batch), v("sealed", sealed), v("total", total), v("open", open), v("done", done);
    v("dead", dead), v("cancelled", cancelled), v("expired", expired), v("created_at", created_at);
  }
};

/// Reply to LIST. `next` is the `after` of the next page, 0 at the end; `highest` the highest job
/// id that exists, to bound a walk over pages.
struct Page {
  static constexpr int kType = 73;
  std::vector<JobInfo> jobs;
  std::vector<BatchInfo> batches;
  std::uint64_t next = 0;
  std::uint64_t highest = 0;
  void visit(auto& v) {
    v("jobs", jobs), v("batches", batches), v("next", next), v("highest", highest);
  }
};

struct Show {
  static constexpr int kType = 74;
  JobId job;      ///< either a job
  BatchId batch;  ///< or a batch
  void visit(auto& v) { v("job", job), v("batch", batch); }
};

/// Reply to SHOW, with the part that was asked for.
struct Item {
  static constexpr int kType = 75;
  std::vector<JobInfo> job;
  std::vector<AttemptInfo> attempts;
  std::vector<BatchInfo> batch;
  void visit(auto& v) { v("job", job), v("attempts", attempts), v("batch", batch); }
};

/// Copies the database, while it is in use, to a new file on the broker's machine. Refused from
/// afar unless the broker was given a folder for it. Answered by BACKED_UP.
struct Backup {
  static constexpr int kType = 76;
  std::string path;  ///< absolute; with a folder of the broker's: a file name in it
  void visit(auto& v) { v("path", path); }
};

struct BackedUp {
  static constexpr int kType = 77;
  std::string path;
  std::uint64_t bytes = 0;
  std::uint64_t jobs = 0;
  void visit(auto& v) { v("path", path), v("bytes", bytes), v("jobs", jobs); }
};

using Message = std::variant<Hello, Welcome, ErrorReply, Bye, Heartbeat, ResumeWanted, Enqueue,
                             Enqueued, Offer, Credit, Jobs, Started, Ack, Nack, Reject, Release,
                             Settled, Resume, Resumed, Recall, Cancel, Watch, Results, Unwatch,
                             Close, Open, Drained, Pause, Unpause, QueueInfo, Redrive, Replay,
                             Outcomes, Stats, Report, List, Page, Show, Item, Output, Await,
                             WatchOutput, OutputRows, KindSet, KindInfo, Dismiss, Backup, BackedUp>;

/// One frame: `[version, type, correlation, body]`. A reply echoes the correlation of its request;
/// 0 marks a message nobody asked for.
struct Envelope {
  std::uint64_t correlation = 0;
  Message message;
};

/// Order-independent hash of the leases a worker holds; the broker compares it with its own.
[[nodiscard]] constexpr std::uint64_t lease_hash(LeaseId lease) {
  std::uint64_t x = lease.value + 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

[[nodiscard]] ErrorReply make_error(const Error& error);
[[nodiscard]] Error to_error(const ErrorReply& reply);
/// e.g. `enqueue` for an Enqueue; for logs.
[[nodiscard]] std::string_view type_name(const Message& message);

[[nodiscard]] std::string_view to_string(Role role);
[[nodiscard]] std::string_view to_string(Until until);
[[nodiscard]] std::string_view to_string(QueueState state);
[[nodiscard]] std::string_view to_string(ItemStatus status);
[[nodiscard]] std::string_view to_string(ListWhat what);
[[nodiscard]] bool parse(std::string_view name, Role& role);
[[nodiscard]] bool parse(std::string_view name, Until& until);
[[nodiscard]] bool parse(std::string_view name, QueueState& state);
[[nodiscard]] bool parse(std::string_view name, ItemStatus& status);
[[nodiscard]] bool parse(std::string_view name, ListWhat& what);

}  // namespace millrace::protocol
