// What runs leave behind before they end, and the peers that wait for it or for a job's end.

#include <fmt/format.h>

#include <algorithm>

#include "broker/engine/core.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;
using protocol::ItemStatus;

constexpr std::size_t kOutputPageRows = 1000;
constexpr std::size_t kOutputPageBytes = 1 * kMiB;

ItemStatus take_output(Core& core, Session& session, protocol::OutputItem& item, Now now) {
  const Limits& limits = core.options.limits;
  OpenLease open = open_lease(core, session, item.lease, item.job);
  const bool any = planted(Mutant::stale_output);
  if (open.job == nullptr && any) open = {item.job, core.find_job(item.job)};
  if (open.job == nullptr || !(any || is_own(session, *open.job))) return ItemStatus::stale;
  Job& job = *open.job;
  if (item.n <= job.outputs) return ItemStatus::duplicate;
  if (item.n > limits.output_rows_max || item.data.size() > limits.output_item_bytes_max ||
      job.output_bytes + item.data.size() > limits.output_bytes_max)
    return ItemStatus::refused;
  job.outputs = item.n;
  job.output_bytes += item.data.size();
  core.last_output = OutputSeq{core.last_output.value + 1};
  core.marks_dirty = true;
  core.effects.writes.outputs.push_back({.seq = core.last_output,
                                         .job = open.id,
                                         .lease = item.lease,
                                         .n = item.n,
                                         .attempt = job.status.attempts + job.status.crashes + 1,
                                         .type = item.type,
                                         .at = item.at == Time{} ? now.utc : item.at,
                                         .data = std::move(item.data)});
  wake_waits(core, open.id, false);
  return ItemStatus::ok;
}

void read(Core& core, JobId id, Wait& wait) {
  wait.reading = true;
  wait.again = false;
  core.effects.reads.emplace_back(ReadJob{.to = wait.to,
                                          .correlation = wait.correlation,
                                          .job = id,
                                          .result = wait.result,
                                          .from = wait.from,
                                          .rows_max = kOutputPageRows,
                                          .bytes_max = kOutputPageBytes});
}

void begin_wait(Core& core, Session& session, const Received& command, JobId id, Wait wait) {
  const std::uint64_t limit = core.options.limits.waits_per_session_max;
  if (session.waits.size() >= limit)
    return core.refuse(command, ErrorCode::busy,
                       fmt::format("{} questions of this peer are waiting, the limit is {} "
                                   "(waits_per_session_max)",
                                   session.waits.size(), limit),
                       Duration{1000});
  wait.to = command.from;
  wait.correlation = command.correlation;
  session.waits.emplace(id, command.correlation);
  read(core, id, core.waits[id].emplace_back(wait));
}

/// What the peer is told now; nothing while it has to wait.
std::optional<protocol::Message> answer(const Wait& wait, JobRead& read) {
  if (!read.error.empty())
    return protocol::make_error({ErrorCode::corrupt, std::move(read.error), {}});
  if (!read.exists)
    return protocol::make_error(
        {ErrorCode::not_found,
         fmt::format("there is no job {} (never, or no more: see --retention)", read.job.value),
         {}});
  if (wait.result) {
    if (!read.result) return std::nullopt;
    const FinishSeq cursor = read.result->cursor;
    protocol::Results results;
    results.cursor = cursor;
    results.total = 1;
    results.end = true;
    results.rows.push_back(std::move(*read.result));
    return results;
  }
  if (read.rows.empty() && !read.ended && wait.follow) return std::nullopt;
  const OutputSeq cursor = read.rows.empty() ? wait.from : read.rows.back().cursor;
  return protocol::OutputRows{.job = read.job,
                              .cursor = cursor,
                              .rows = std::move(read.rows),
                              .end = read.ended && !read.more};
}

void end_wait(Core& core, JobId id, ConnectionId to, std::uint64_t correlation) {
  const auto found = core.waits.find(id);
  if (found == core.waits.end()) return;
  std::erase_if(found->second,
                [&](const Wait& wait) { return wait.to == to && wait.correlation == correlation; });
  if (found->second.empty()) core.waits.erase(found);
}

}  // namespace

void on_output(Core& core, Session& session, Received command, Now now) {
  protocol::Settled settled;
  for (protocol::OutputItem& item : std::get<protocol::Output>(command.message).items) {
    settled.leases.push_back(item.lease);
    settled.statuses.push_back(take_output(core, session, item, now));
  }
  core.reply(command.from, command.correlation, std::move(settled));
}

void on_await(Core& core, Session& session, const Received& command, const protocol::Await& await) {
  Wait wait;
  wait.result = true;
  begin_wait(core, session, command, await.job, wait);
}

void on_watch_output(Core& core, Session& session, const Received& command,
                     const protocol::WatchOutput& watch) {
  Wait wait;
  wait.from = watch.from;
  wait.follow = watch.wait;
  begin_wait(core, session, command, watch.job, wait);
}

void on_job_read(Core& core, JobRead read_answer) {
  const auto found = core.waits.find(read_answer.job);
  if (found == core.waits.end()) return;
  const auto wait =
      std::find_if(found->second.begin(), found->second.end(), [&](const Wait& candidate) {
        return candidate.to == read_answer.to && candidate.correlation == read_answer.correlation;
      });
  if (wait == found->second.end()) return;
  wait->reading = false;
  const JobId id = read_answer.job;
  if (auto message = answer(*wait, read_answer)) {
    core.reply(wait->to, wait->correlation, std::move(*message));
    const auto connection = core.connections.find(wait->to);
    if (connection != core.connections.end())
      connection->second->waits.erase({id, wait->correlation});
    return end_wait(core, id, read_answer.to, read_answer.correlation);
  }
  if (wait->again) read(core, id, *wait);
}

void wake_waits(Core& core, JobId id, bool ended) {
  const auto found = core.waits.find(id);
  if (found == core.waits.end()) return;
  for (Wait& wait : found->second) {
    if (wait.result && !ended) continue;
    if (wait.reading) {
      wait.again = true;
    } else {
      read(core, id, wait);
    }
  }
}

void drop_waits(Core& core, Session& session, ConnectionId connection) {
  for (const auto& [id, correlation] : std::exchange(session.waits, {}))
    end_wait(core, id, connection, correlation);
}

}  // namespace millrace::broker
