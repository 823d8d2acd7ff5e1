#pragma once

// What the engine asks of the shell. The order is a contract: `writes` are committed in one
// transaction, then `loads` run, then `replies` leave. `replies_now` may leave at once.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "broker/engine/records.h"

namespace millrace::broker {

/// One connection of one peer, numbered by the front; a reconnect is a new one.
using ConnectionId = Id<struct ConnectionTag>;

struct Reply {
  ConnectionId to;
  std::uint64_t correlation = 0;
  protocol::Message message;
};

// ---- loads: answered by Loaded, in the FIFO of the commits ------------------------------------

/// Ready jobs of a lane with (priority, id) above `after`, in that order.
struct LoadReady {
  LaneId lane;
  int after_priority = -1;
  JobId after_id;
  std::size_t jobs_max = 0;
};
/// Scheduled jobs with (run_at, id) above `after`, in that order.
struct LoadScheduled {
  Time after_run_at{};
  JobId after_id;
  std::size_t jobs_max = 0;
};
/// Jobs by id, in any state; ids that name none are left out.
struct LoadJobs {
  std::uint64_t ticket = 0;
  std::vector<JobId> ids;
  bool payloads = false;
  bool unique = false;  ///< also who holds their unique keys now
};
/// Who holds these unique keys of a queue, with those jobs and their batches.
struct LoadUnique {
  std::uint64_t ticket = 0;
  std::string queue;
  std::vector<std::string> keys;
};
/// Waiting jobs (scheduled, ready) whose expires_at is not after `upto`, the earliest first.
struct LoadExpired {
  Time upto{};
  std::size_t jobs_max = 0;
};
struct LoadRequest {
  RequestId id;
};
/// A batch by id. A job that was enqueued alone has no batch row: if there is none but a job of
/// that id and batch, the row is made up from it (`implicit`).
struct LoadBatch {
  BatchId id;
};
/// What retention wants gone of one lane, by final state.
struct LanePrune {
  LaneId lane;
  std::array<Time, kJobStateCount> finished_before{};  ///< zero: none for its age
  StateCounts jobs{};  ///< so many more, whatever their age, the lowest ids first
  StateBytes bytes{};  ///< and as many more as it takes to free so many bytes
};
/// Deletes up to `jobs_max` ended jobs that `lanes` names (and not much more than `bytes_max` of
/// their payloads and results), looking at up to ten times as many rows from `from` on, with their
/// attempts and outputs; and requests, batches, workers and outdated unique keys nobody needs.
/// Where `lanes` names no number of jobs or bytes, the walk ends at jobs enqueued after
/// `finished_before`.
struct Prune {
  Time finished_before{};  ///< the latest of all lanes
  Time requests_before{};
  Time unique_before{};
  JobId from;
  std::size_t jobs_max = 0;
  std::size_t bytes_max = 0;
  std::vector<LanePrune> lanes;
};
using Load = std::variant<LoadReady, LoadScheduled, LoadJobs, LoadRequest, LoadBatch, LoadUnique,
                          LoadExpired, Prune>;

struct LoadedReady {
  LaneId lane;
  std::vector<JobRecord> jobs;
  bool end = false;  ///< nothing beyond the last of `jobs`
};
struct LoadedScheduled {
  std::vector<JobRecord> jobs;
  bool end = false;
};
struct LoadedJobs {
  std::uint64_t ticket = 0;
  std::vector<JobRecord> jobs;
  std::vector<BatchRow> batches;  ///< those of `jobs` that have a row
  std::vector<UniqueRow> unique;  ///< when asked for
};
struct LoadedUnique {
  std::uint64_t ticket = 0;
  std::vector<UniqueRow> rows;
  std::vector<JobRecord> jobs;  ///< that hold them; one that was deleted since is left out
  std::vector<BatchRow> batches;
};
struct LoadedExpired {
  std::vector<JobRecord> jobs;
  std::vector<BatchRow> batches;
  std::optional<Time> next;  ///< the earliest expires_at of those that still wait after these
};
struct LoadedRequest {
  RequestId id;
  std::optional<RequestRow> row;
  std::uint64_t counter_max = 0;  ///< highest counter stored under the same prefix
};
struct LoadedBatch {
  BatchId id;
  std::optional<BatchRow> row;
};
struct Pruned {
  std::vector<LaneDelta> deltas;  ///< already applied to the stored counters
  std::size_t jobs = 0;
  JobId next;  ///< where the next step begins; none: the walk has reached jobs that are too young
};
using Loaded = std::variant<LoadedReady, LoadedScheduled, LoadedJobs, LoadedRequest, LoadedBatch,
                            LoadedUnique, LoadedExpired, Pruned>;

// ---- reads: run on the reading thread, after the batch they came with is committed ------------

/// Results of a batch after `from`; answered by ResultsRead.
struct ReadResults {
  ConnectionId to;
  BatchId batch;
  FinishSeq from;
  std::size_t rows_max = 0;
  std::size_t bytes_max = 0;
};
/// LIST or SHOW; the shell answers the peer itself.
struct Inspect {
  ConnectionId to;
  std::uint64_t correlation = 0;
  std::variant<protocol::List, protocol::Show> request;
};
/// AWAIT (`result`) or WATCH_OUTPUT of a job after `from`; answered by JobRead.
struct ReadJob {
  ConnectionId to;
  std::uint64_t correlation = 0;
  JobId job;
  bool result = false;
  OutputSeq from;
  std::size_t rows_max = 0;
  std::size_t bytes_max = 0;
};
/// BACKUP; the shell answers the peer itself.
struct MakeBackup {
  ConnectionId to;
  std::uint64_t correlation = 0;
  std::string path;
};
using Read = std::variant<ReadResults, Inspect, ReadJob, MakeBackup>;

struct ResultsRead {
  ConnectionId to;
  BatchId batch;
  FinishSeq from;
  std::vector<protocol::ResultRow> rows;
  FinishSeq upto;  ///< everything of the batch up to here was seen; ≥ the last row's cursor
};

struct JobRead {
  ConnectionId to;
  std::uint64_t correlation = 0;
  JobId job;
  bool result_asked = false;
  bool exists = false;
  bool ended = false;
  std::optional<protocol::ResultRow> result;  ///< when asked for and the job has ended
  std::vector<protocol::OutputRow> rows;
  bool more = false;  ///< of the rows
  /// The row could not be read: damaged.
  std::string error;
};

struct Effects {
  WriteBatch writes;
  std::vector<Load> loads;
  std::vector<Read> reads;
  std::vector<Reply> replies;      ///< only after `writes` are on disk
  std::vector<Reply> replies_now;  ///< depend on no write
  /// Jobs inside `replies` whose payload must be read from the store before they are sent.
  std::vector<JobId> payloads;
  Instant next_tick = Instant::max();

  [[nodiscard]] bool needs_store() const {
    return !writes.empty() || !loads.empty() || !payloads.empty();
  }
};

/// Puts payloads that came from the store, in the order of `ids`, into the deliveries that lack
/// them.
void fill_payloads(std::vector<Reply>& replies, const std::vector<JobId>& ids,
                   const std::vector<Payload>& payloads);

}  // namespace millrace::broker
