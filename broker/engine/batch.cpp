// Batches and the streams of their results. A stream is fed from `Batch::recent` when it is live
// and from the reading thread when it is behind; `recent` holds everything that ended since
// somebody watches, so the two meet without gap or repeat.

#include <fmt/format.h>

#include <algorithm>

#include "broker/engine/core.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;
using protocol::ResultRow;

constexpr std::size_t kRecentRowsMax = 8192;
constexpr std::size_t kRecentBytesMax = 8 * kMiB;
constexpr std::size_t kResultsMessageRows = 1000;
constexpr std::size_t kResultsMessageBytes = 1 * kMiB;

std::size_t size_of(const ResultRow& row) { return row.result.size() + row.error.size() + 64; }

void mark(Core& core, const Batch& batch) {
  for (const SessionId& watcher : batch.watchers) core.watches_dirty.emplace(watcher, batch.row.id);
}

void acknowledge(WatchState& state, FinishSeq cursor) {
  state.acked = cursor;
  while (!state.unacked.empty() && state.unacked.front().cursor <= cursor) {
    state.rows_unacked -= state.unacked.front().rows;
    state.bytes_unacked -= state.unacked.front().bytes;
    state.unacked.pop_front();
  }
}

void rewind(WatchState& state, FinishSeq cursor) {
  state = {.seen = cursor,
           .told = cursor,
           .acked = cursor,
           .unacked = {},
           .reading = false,
           .answered = state.answered,
           .correlation = state.correlation};
}

void begin_watch(Core& core, Session& session, Batch& batch, const Received& command,
                 FinishSeq from) {
  if (batch.watchers.empty()) {
    batch.recent.clear();
    batch.recent_bytes = 0;
    batch.recent_after = core.last_finish;
  }
  batch.watchers.insert(session.id);
  const auto [entry, inserted] = session.watches.try_emplace(batch.row.id);
  WatchState& state = entry->second;
  // On one connection nothing is lost, so a cursor behind what was sent only says that rows are on
  // their way; it is a wish to begin again only when it falls behind what the peer itself had said.
  if (inserted || from < state.acked || from > state.told) {
    rewind(state, from);
  } else {
    acknowledge(state, from);
  }
  state.answered = false;
  state.correlation = command.correlation;
  core.watches_dirty.emplace(session.id, batch.row.id);
}

void send_rows(Core& core, Session& session, const Batch& batch, WatchState& state,
               std::vector<ResultRow> rows, bool end) {
  WatchState::Sent sent{state.seen, rows.size(), 0};
  for (const ResultRow& row : rows) sent.bytes += size_of(row);
  state.rows_unacked += sent.rows;
  state.bytes_unacked += sent.bytes;
  state.unacked.push_back(sent);
  core.reply(session.connection, std::exchange(state.answered, true) ? 0 : state.correlation,
             protocol::Results{.batch = batch.row.id,
                               .from = std::exchange(state.told, state.seen),
                               .cursor = state.seen,
                               .rows = std::move(rows),
                               .total = batch.row.total,
                               .open = batch.row.open,
                               .end = end});
}

bool has_room(const Core& core, const WatchState& state) {
  return state.rows_unacked < core.options.limits.results_rows_max &&
         state.bytes_unacked < core.options.limits.results_bytes_max;
}

/// The next rows from memory after `state.seen`.
std::vector<ResultRow> take_recent(const Batch& batch, WatchState& state) {
  auto row = std::upper_bound(
      batch.recent.begin(), batch.recent.end(), state.seen,
      [](FinishSeq cursor, const ResultRow& other) { return cursor < other.cursor; });
  std::vector<ResultRow> rows;
  std::size_t bytes = 0;
  for (; row != batch.recent.end() && rows.size() < kResultsMessageRows; ++row) {
    bytes += size_of(*row);
    if (bytes > kResultsMessageBytes && !rows.empty()) break;
    rows.push_back(*row);
    state.seen = row->cursor;
  }
  return rows;
}

bool is_behind(const Batch& batch, const WatchState& state) {
  return state.seen < batch.recent_after;
}

/// Sends what can be sent now. True: the stream has ended.
bool pump(Core& core, Session& session, Batch& batch, WatchState& state) {
  while (!state.reading) {
    if (is_behind(batch, state)) {
      if (!has_room(core, state)) break;
      state.reading = true;
      core.effects.reads.emplace_back(ReadResults{session.connection, batch.row.id, state.seen,
                                                  kResultsMessageRows, kResultsMessageBytes});
      return false;
    }
    auto rows = has_room(core, state) ? take_recent(batch, state) : std::vector<ResultRow>{};
    const bool all = batch.recent.empty() || batch.recent.back().cursor <= state.seen;
    const bool end =
        all && (batch.ended() || (planted(Mutant::batch_ends_early) && batch.row.open == 0));
    if (rows.empty() && !end) break;
    send_rows(core, session, batch, state, std::move(rows), end);
    if (end) return true;
  }
  if (!state.answered && !state.reading) send_rows(core, session, batch, state, {}, false);
  return false;
}

void end_watch(Core& core, Session& session, BatchId id) {
  session.watches.erase(id);
  const auto batch = core.batches.find(id);
  if (batch == core.batches.end()) return;
  batch->second.watchers.erase(session.id);
  if (batch->second.watchers.empty()) batch->second.recent.clear();
  forget_if_idle(core, id);
}

/// A job that is its own batch and is in memory tells its batch's row.
bool adopt_implicit(Core& core, BatchId id) {
  const Job* job = core.find_job(JobId{id.value});
  if (job == nullptr || job->spec.batch != id) return false;
  Batch& batch = core.batches[id];
  batch.implicit = true;
  batch.row.id = id;
  batch.row.sealed = batch.row.implicit = true;
  batch.row.total = 1;
  if (!is_final(job->status.state)) batch.row.open = 1;
  return true;
}

void run_again(Core& core, Received command, Now now) {
  const auto connection = core.connections.find(command.from);
  if (std::holds_alternative<protocol::Enqueue>(command.message)) {
    on_enqueue(core, std::move(command), now);
  } else if (std::holds_alternative<protocol::Replay>(command.message)) {
    on_replay(core, std::move(command), now);
  } else if (connection != core.connections.end()) {
    const auto watch = std::get<protocol::Watch>(command.message);
    on_watch(core, *connection->second, command, watch);
  }
}

}  // namespace

void forget_if_idle(Core& core, BatchId id) {
  const auto found = core.batches.find(id);
  if (found == core.batches.end()) return;
  const Batch& batch = found->second;
  if (batch.dirty || !batch.watchers.empty() || !(batch.implicit || batch.ended())) return;
  // What a load under way brings may be older than this row, which then has to be here.
  if (core.job_loads_under_way != 0 || !core.batch_parked.empty())
    return core.visiting_batches.push_back(id);
  core.batches.erase(found);
}

void on_watch(Core& core, Session& session, Received& command, const protocol::Watch& watch) {
  const BatchId id = watch.batch;
  if (core.batches.contains(id) || adopt_implicit(core, id))
    return begin_watch(core, session, core.batches.at(id), command, watch.from);
  if (park_for_batch(core, command, id)) return;
  core.refuse(
      command, ErrorCode::not_found,
      fmt::format("there is no batch {} (or its jobs were deleted by retention)", id.value));
}

void on_loaded_batch(Core& core, LoadedBatch loaded, std::uint64_t batch, Now now) {
  if (!core.batches.contains(loaded.id) && loaded.row && !adopt_implicit(core, loaded.id)) {
    const auto changed = core.changed.find(JobId{loaded.id.value});
    if (loaded.row->implicit && changed != core.changed.end() && changed->second > batch)
      return core.load(LoadBatch{loaded.id});  // its job ended meanwhile
    Batch& entry = core.batches[loaded.id];
    entry.implicit = loaded.row->implicit;
    entry.row = std::move(*loaded.row);
  }
  auto parked = core.batch_parked.extract(loaded.id);
  if (parked.empty()) return;
  core.absent_batch = core.batches.contains(loaded.id) ? BatchId{} : loaded.id;
  for (Received& command : parked.mapped()) run_again(core, std::move(command), now);
  core.absent_batch = {};
  forget_if_idle(core, loaded.id);
}

void on_unwatch(Core& core, Session& session, BatchId id) { end_watch(core, session, id); }

void on_results_read(Core& core, ResultsRead read) {
  const auto connection = core.connections.find(read.to);
  if (connection == core.connections.end()) return;
  Session& session = *connection->second;
  const auto watch = session.watches.find(read.batch);
  if (watch == session.watches.end()) return;
  WatchState& state = watch->second;
  if (!state.reading || state.seen != read.from) return;
  state.reading = false;
  state.seen = read.upto;
  if (planted(Mutant::cursor_skips)) ++state.seen.value;
  if (!read.rows.empty())
    send_rows(core, session, core.batches.at(read.batch), state, std::move(read.rows), false);
  core.watches_dirty.emplace(session.id, read.batch);
}

void pump_watches(Core& core) {
  for (const auto& [session_id, batch_id] : std::exchange(core.watches_dirty, {})) {
    const auto session = core.sessions.find(session_id);
    const auto batch = core.batches.find(batch_id);
    if (session == core.sessions.end() || batch == core.batches.end()) continue;
    const auto watch = session->second.watches.find(batch_id);
    if (watch == session->second.watches.end()) continue;
    if (pump(core, session->second, batch->second, watch->second))
      end_watch(core, session->second, batch_id);
  }
}

void record_result(Core& core, JobId id, const Job& job) {
  const auto found = core.batches.find(job.spec.batch);
  if (found == core.batches.end() || found->second.watchers.empty()) return;
  Batch& batch = found->second;
  ResultRow row{.job = id,
                .kind = core.lane_of(job).kind,
                .state = job.status.state,
                .result = job.result.value_or(Payload{}),
                .error = job.status.error,
                .attempts = job.status.attempts,
                .cursor = job.status.finish_seq,
                .elapsed = job.status.started_at == Time{}
                               ? Duration{0}
                               : job.status.finished_at - job.status.started_at};
  batch.recent_bytes += size_of(row);
  batch.recent.push_back(std::move(row));
  while (batch.recent.size() > kRecentRowsMax || batch.recent_bytes > kRecentBytesMax) {
    batch.recent_after = batch.recent.front().cursor;
    batch.recent_bytes -= size_of(batch.recent.front());
    batch.recent.pop_front();
  }
  mark(core, batch);
}

void batch_changed(Core& core, Batch& batch) {
  core.touch(batch);
  mark(core, batch);
}

void drop_owner(Core& core, const SessionId& owner) {
  for (auto& [id, batch] : core.batches) {
    if (batch.row.owner != owner || owner.empty()) continue;
    batch.row.owner.clear();
    batch_changed(core, batch);
  }
}

void drop_watches(Core& core, Session& session) {
  while (!session.watches.empty()) end_watch(core, session, session.watches.begin()->first);
}

}  // namespace millrace::broker
