#pragma once

// All that the engine remembers, the few functions through which it changes, and what the concerns
// offer each other. Private to the engine's .cpp files; one thread.

#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "broker/engine/effects.h"
#include "broker/engine/engine.h"
#include "broker/engine/state.h"
#include "broker/engine/transition.h"
#include "common/assert.h"

namespace millrace::broker {

struct Core {
  EngineOptions options;
  std::uint64_t epoch = 0;
  std::uint64_t lease_counter = 0;
  JobId last_job;
  FinishSeq last_finish;
  WorkerId last_worker;
  OutputSeq last_output;
  bool marks_dirty = false;
  Space space = Space::plenty;
  Time started_at{};

  std::unordered_map<JobId, Job> jobs;  // look-ups only: never iterated
  std::deque<Lane> lanes;               // lane id n at n-1
  std::map<std::string, Queue, std::less<>> queues;
  std::map<BatchId, Batch> batches;
  std::map<SessionId, Session> sessions;
  std::map<ConnectionId, Session*> connections;
  std::map<std::uint64_t, RequestLog> requests;
  /// Leased before the restart, not resumed.
  std::map<std::pair<WorkerId, LeaseId>, JobId> orphans;
  std::map<WorkerId, WorkerRow> orphan_workers;
  Instant orphans_until{};

  Window<ScheduledKey> scheduled;
  std::uint64_t scheduled_total = 0;
  std::set<std::pair<Instant, JobId>> due;
  std::set<std::pair<Instant, JobId>> timeouts;
  std::set<std::pair<Instant, JobId>> start_writes;
  Duration wall_offset{};
  Duration last_offset{};    ///< of the last turn
  Duration steady_offset{};  ///< as wall_offset, but a jump of the wall clock does not move it
  Instant last_turn{};
  Instant sessions_checked_at{};

  Instant prune_at{};
  Instant excess_check_at{};
  JobId prune_from;
  std::int64_t prune_steps = 0;  ///< of the walk under way
  bool pruning = false;

  Instant expiry_at{};  ///< nothing that waits expires before
  bool expiry_loading = false;

  std::map<std::string, KindRow, std::less<>> kinds;
  std::set<std::string> dirty_kinds;
  std::map<std::pair<std::string, std::string>, UniqueChange> unique_changes;  ///< by queue, key
  std::vector<std::pair<std::string, std::string>> dirty_unique;
  std::map<JobId, std::vector<Wait>> waits;

  std::uint64_t offers = 1;  ///< changes when the takers of some lane may have
  bool dispatch_wanted = false;
  std::string dispatch_cursor;
  std::set<std::pair<SessionId, BatchId>> watches_dirty;
  bool leave_checks = false;

  // Loads under way, oldest first: the number of the batch each was asked with.
  std::deque<std::uint64_t> loads_under_way;
  std::size_t job_loads_under_way = 0;
  std::map<std::uint64_t, Parked> parked;
  /// Commands that wait for a batch's row: WATCH, and ENQUEUE and REPLAY into a batch.
  std::map<BatchId, std::vector<Received>> batch_parked;
  BatchId absent_batch;  ///< while they run again: the store has no such batch
  std::uint64_t last_ticket = 0;
  std::uint64_t batch_number = 1;  ///< of the batch being gathered
  /// Jobs that changed and left memory, with their batch, while loads are under way that may have
  /// seen them as they were before.
  std::unordered_map<JobId, std::uint64_t> changed;
  std::size_t changed_max = 0;  ///< at this size those that no load needs are dropped

  std::vector<std::pair<JobId, Job*>> dirty_jobs;  ///< none leaves memory before it is written
  std::vector<JobId> visitors;                     ///< loaded for one command
  std::vector<BatchId> visiting_batches;
  std::vector<LaneId> dirty_lanes;
  std::vector<BatchId> dirty_batches;
  std::vector<std::string> dirty_queues;
  std::vector<LaneId> new_lanes;
  std::uint64_t random_state = 0;
  Effects effects;

  // ---- jobs (core.cpp) -------------------------------------------------------------------------
  Job* find_job(JobId id);
  Lane& lane(LaneId id) { return lanes[id.value - 1]; }
  Lane& lane_of(const Job& job) { return lane(job.spec.lane); }
  Queue& queue(const std::string& name);                   ///< made on first use
  LaneId lane_for(Queue& queue, const std::string& kind);  ///< likewise

  /// Adds a job nobody has seen yet, in state scheduled or ready.
  Job& create(JobId id, Job job, Now now);
  /// Brings a stored job into memory without indexing it.
  Job& adopt(JobRecord record);
  /// The only way a job changes state: checks the table, moves counters and indexes, marks dirty.
  void apply(JobId id, Job& job, JobEvent event, Now now);
  /// Marks a job's row to be written.
  void touch(JobId id, Job& job);
  void touch(Queue& queue);
  void touch(Batch& batch);
  /// Puts a ready or scheduled job where dispatch or the clock finds it.
  void index(JobId id, Job& job, Now now);
  void unindex(JobId id, Job& job);
  void count(Job& job, JobState state, int by);

  // ---- replies ---------------------------------------------------------------------------------
  void reply(ConnectionId to, std::uint64_t correlation, protocol::Message message);
  void reply_now(ConnectionId to, std::uint64_t correlation, protocol::Message message);
  void refuse(const Received& command, ErrorCode code, std::string message, Duration after = {});
  void load(Load load);
  double random();  ///< in [0, 1)
  /// The wall clock as it would be without its jumps since the start.
  [[nodiscard]] Time steady(Now now) const;
};

// ---- the concerns, each in its own file ---------------------------------------------------------

// session.cpp
void on_hello(Core&, Received&, const protocol::Hello&, Now);
void on_offer(Core&, Session&, Received&, protocol::Offer&, Now);
void on_heartbeat(Core&, Session&, Received&, const protocol::Heartbeat&, Now);
void on_bye(Core&, Session&, Now);
void on_resume(Core&, Session&, Received&, const protocol::Resume&, Now);
void add_credit(Core&, Session&, const std::map<std::string, std::uint64_t>& upto);
void lose_silent_sessions(Core&, Now);
void end_resume_grace(Core&, Now);

/// Sends these workers home.
void on_dismiss(Core&, const Received&, const protocol::Dismiss&);

// enqueue.cpp
void on_enqueue(Core&, Received, Now);
/// The rest of on_enqueue, once the holders of its unique keys are known.
void enqueue_unique(Core&, Received, const UniqueLooked&, Now);
void on_loaded_request(Core&, LoadedRequest, Now);
/// Answers a request that is remembered. True: handled.
bool recorded_request(Core&, const Received&, RequestId, std::uint64_t body_hash);
/// Answers a repeated request, or parks it until the store was asked. True: handled.
bool known_request(Core&, Received&, RequestId, std::uint64_t body_hash, Now);
void remember_request(Core&, RequestRow);
bool park_for_batch(Core&, Received&, BatchId);
JobId next_job_ids(Core&, std::size_t count);
Batch& batch_for_new_jobs(Core&, BatchId wanted, JobId first, const SessionId& sender, bool seal,
                          Now);

// enqueue_check.cpp
/// What is wrong with the request itself, whatever the queue's state.
[[nodiscard]] std::optional<Error> check_request(const protocol::Enqueue&, const Limits&);
/// The batch, if one is named, is in memory and not sealed.
[[nodiscard]] std::optional<Error> check_batch(const Core&, BatchId);
/// What stands against it just now.
[[nodiscard]] std::optional<Error> check_room(Core&, const protocol::Enqueue&, const Job* parent);
[[nodiscard]] std::optional<Error> check_lanes(const Core&, const protocol::Enqueue&);

// unique.cpp
[[nodiscard]] bool has_unique_keys(const protocol::Enqueue&);
void park_for_unique(Core&, Received);
void on_loaded_unique(Core&, LoadedUnique, std::uint64_t batch, Now);
/// What each job of the request becomes if the new ids begin with `first`. Error: unique_conflict.
[[nodiscard]] Result<UniquePlan> plan_unique(Core&, const protocol::Enqueue&, const UniqueLooked&,
                                             JobId first, Now);
/// The new job takes its key; `before` is the outdated row, if there is one.
void take_key(Core&, JobId, const protocol::NewJob&, Job&, std::optional<UniqueRow> before, Now);
/// For a job that is made ready again. False: another one has the key.
[[nodiscard]] bool take_key_again(Core&, JobId, Job&, const UniqueLooked&, Now);
void give_back_key(Core&, JobId, Job&);
[[nodiscard]] std::optional<UniqueRow> unique_row(const Core&, const std::string& queue,
                                                  const std::string& key, const UniqueLooked&);
void change_unique(Core&, const std::string& queue, const std::string& key,
                   std::optional<UniqueRow> before, std::optional<UniqueRow> after);
void write_unique(Core&);
void forget_unique_changes(Core&, std::uint64_t oldest_load);

// expiry.cpp
[[nodiscard]] bool is_past(const Core&, const Job&, Now);
void arm_expiry(Core&, const Job&, Now);
void expire(Core&, JobId, Job&, Now);
/// Every way back to waiting: applies `event`, then expires the job if its time is over.
void wait_again(Core&, JobId, Job&, JobEvent, Now);
void expire_jobs(Core&, Now);
void on_loaded_expired(Core&, LoadedExpired, std::uint64_t batch, Now);

// kind.cpp
[[nodiscard]] std::optional<std::string> check_kind_options(const std::string& kind,
                                                            const protocol::KindOptions&);
/// What is wrong with a retry policy as text; empty is right.
[[nodiscard]] std::optional<std::string> check_retry(const std::string& retry);
[[nodiscard]] const protocol::KindOptions& kind_options(const Core&, const std::string& kind);
void note_kinds(Core&, const protocol::Offer&);
void on_kind_set(Core&, const Received&, const protocol::KindSet&);
void write_kinds(Core&);

// output.cpp
void on_output(Core&, Session&, Received, Now);
void on_await(Core&, Session&, const Received&, const protocol::Await&);
void on_watch_output(Core&, Session&, const Received&, const protocol::WatchOutput&);
void on_job_read(Core&, JobRead);
void wake_waits(Core&, JobId, bool ended);
void drop_waits(Core&, Session&, ConnectionId);

// settle.cpp
/// Peers name the job with a lease; without one only a lease of the session itself is found.
[[nodiscard]] OpenLease open_lease(Core&, const Session&, LeaseId, JobId named);
/// True when the session may settle this leased job.
[[nodiscard]] bool is_own(const Session&, const Job&);
void on_started(Core&, Session&, const protocol::Started&, Now);
template <class Verb>
void on_settle(Core&, Session&, Received, Now);
void on_loaded_settlement(Core&, Parked, const LoadedJobs&, Now);
void fail_attempt(Core&, JobId, Job&, const char* outcome, std::string error, Duration delay,
                  bool last, Now);
void lose_lease(Core&, JobId, Job&, Now);
void give_back(Core&, JobId, Job&, Now);
/// Ends the lease of a job in memory; afterwards it may be applied any event.
void close_lease(Core&, JobId, Job&, protocol::ItemStatus);
void time_out_runs(Core&, Now);
void write_starts(Core&, Now);
void on_undelivered(Core&, const Undelivered&, Now);

// dispatch.cpp
void dispatch(Core&, Now);
void send_deliveries(Core&);

// window.cpp
void on_loaded_ready(Core&, LoadedReady, std::uint64_t batch, Now);
void on_loaded_scheduled(Core&, LoadedScheduled, std::uint64_t batch, Now);
void load_lane_if_low(Core&, Lane&);
void load_scheduled_if_low(Core&);
void trim_lane(Core&, Lane&);
void trim_scheduled(Core&);
void run_due_jobs(Core&, Now);
void follow_wall_clock(Core&, Now);

// queue.cpp
void on_close(Core&, Session&, Received&, const protocol::Close&, Now);
void on_open(Core&, Received&, const protocol::Open&);
void on_pause(Core&, Received&, const std::string& queue, bool paused);
void check_drained(Core&, Queue&);
void reopen_if_drained(Core&, Queue&);
void send_workers_home(Core&);
protocol::QueueInfo queue_info(const Queue&);
void on_stats(Core&, Received&, const protocol::Stats&, Now);

// batch.cpp
void on_watch(Core&, Session&, Received&, const protocol::Watch&);
void on_unwatch(Core&, Session&, BatchId);
void on_loaded_batch(Core&, LoadedBatch, std::uint64_t batch, Now);
void on_results_read(Core&, ResultsRead);
void pump_watches(Core&);
void record_result(Core&, JobId, const Job&);
void batch_changed(Core&, Batch&);
void drop_owner(Core&, const SessionId&);
void drop_watches(Core&, Session&);
/// Forgets a batch that nobody needs in memory.
void forget_if_idle(Core&, BatchId);

// jobs_by_id.cpp
/// CANCEL and REDRIVE; loads the jobs that are not in memory first.
void run_by_id(Core&, Parked, Now);
void on_replay(Core&, Received, Now);
void on_loaded_jobs(Core&, LoadedJobs, std::uint64_t batch, Now);
/// Brings loaded jobs into memory for one command; they leave again unless they changed.
void adopt_visitors(Core&, std::vector<JobRecord>&, std::vector<BatchRow>&, std::uint64_t batch);
/// Ends a job that has not ended; `error` is kept with it.
protocol::ItemStatus cancel_job(Core&, JobId, std::string error, Now);

// prune.cpp
void on_pruned(Core&, const Pruned&, Now);
void prune_if_due(Core&, Now);

}  // namespace millrace::broker
