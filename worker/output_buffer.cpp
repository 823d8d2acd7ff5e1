#include "worker/output_buffer.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "common/assert.h"
#include "common/util/clock.h"
#include "common/util/log.h"
#include "worker/outbox.h"
#include "worker/text.h"

namespace millrace::worker {
namespace {

/// Keys, ids and times of one item on the wire.
constexpr std::size_t kItemBytes = 96;
/// Kept free, with one row, for the line that says that the log ends here.
constexpr std::size_t kNoticeBytes = 200;
constexpr std::string_view kStopped =
    "the run was asked to stop while its output waited for the broker";

std::size_t size_of(const protocol::OutputItem& item) { return kItemBytes + item.data.size(); }

}  // namespace

// ---- the thread of the run ---------------------------------------------------------------------

OutputBuffer::Run& OutputBuffer::run_of(const Job& job) {
  Run& run = runs_[job.lease];
  run.job = job.id;
  return run;
}

/// False when stop was requested and there is no room.
bool OutputBuffer::await_room(const std::stop_token& stop) {
  {
    Lock lock(mutex_);
    if (has_room()) return true;
  }
  // Under the mutex, so that it cannot fall between a waiter's look and its wait. It is made and
  // ended without the mutex: both may wait for a call that runs.
  const std::stop_callback wake(stop, [this] {
    Lock lock(mutex_);
    room_.notify_all();
  });
  Lock lock(mutex_);
  while (!has_room() && !stop.stop_requested()) room_.wait(mutex_);
  return has_room();
}

/// Unless it is the `last` item of its kind, what the notice needs stays free.
std::string OutputBuffer::limit_passed(const Run& run, std::size_t bytes, bool last) const {
  const bool reserve = !last && !run.log_closed;
  if (run.rows + (reserve ? 2 : 1) > limits_.rows_max)
    return fmt::format("output_rows_max is {}", limits_.rows_max);
  if (run.bytes + bytes + (reserve ? kNoticeBytes : 0) > limits_.bytes_max)
    return fmt::format("output_bytes_max is {}", limits_.bytes_max);
  return {};
}

void OutputBuffer::log(const Job& job, const std::stop_token& stop, std::string_view line) {
  const Time at = read_clocks().utc;
  const bool room = await_room(stop);
  std::string why;
  {
    Lock lock(mutex_);
    Run& run = run_of(job);
    if (run.discarded || run.log_closed) return;
    if (line.ends_with('\n')) line.remove_suffix(1);
    line = utf8_prefix(line, limits_.item_bytes_max);
    if (const std::string limit = limit_passed(run, line.size(), false); !limit.empty())
      why = "the broker's limit " + limit;
    else if (!room)
      why = kStopped;
    if (why.empty())
      push(job.lease, run, OutputType::log, Payload::text(std::string(line)), at);
    else
      close_log(job.lease, run, why);
  }
  if (!why.empty()) log::warn("job {}: the rest of its log is not kept: {}", job.id.value, why);
}

void OutputBuffer::close_log(LeaseId lease, Run& run, const std::string& why) {
  run.log_closed = true;
  std::string text = "the rest of this log is not kept: " + why;
  text.resize(utf8_prefix(text, limits_.item_bytes_max).size());
  // Chunks may have taken the last row; the worker's own log then has the only word of it.
  if (limit_passed(run, text.size(), true).empty())
    push(lease, run, OutputType::log, Payload::text(std::move(text)), read_clocks().utc);
}

void OutputBuffer::chunk(const Job& job, const std::stop_token& stop, Payload part) {
  const Time at = read_clocks().utc;
  const bool room = await_room(stop);
  Lock lock(mutex_);
  Run& run = run_of(job);
  if (run.discarded) return;
  if (part.size() > limits_.item_bytes_max)
    throw std::length_error(fmt::format(
        "output_too_large: {} bytes in a chunk, the broker's limit output_item_bytes_max is {}",
        part.size(), limits_.item_bytes_max));
  if (const std::string limit = limit_passed(run, part.size(), true); !limit.empty())
    throw std::length_error(
        fmt::format("output_too_large: {} rows and {} bytes with this chunk, the broker's limit {}",
                    run.rows + 1, run.bytes + part.size(), limit));
  if (!room) throw std::runtime_error(fmt::format("cancelled: {}", kStopped));
  push(job.lease, run, OutputType::chunk, std::move(part), at);
}

void OutputBuffer::progress(const Job& job, std::uint64_t done, std::uint64_t total,
                            std::string_view text) {
  const Time at = read_clocks().utc;
  Lock lock(mutex_);
  Run& run = run_of(job);
  if (run.discarded) return;
  // One that waits has its time already; the agent knows it.
  if (!run.progress) mark_dirty();
  run.progress = Progress{done, total, std::string(utf8_prefix(text, kProgressTextBytesMax)), at};
}

// ---- within ------------------------------------------------------------------------------------

void OutputBuffer::mark_dirty() {
  if (!std::exchange(dirty_, true)) wakeup_.notify();
}

void OutputBuffer::push(LeaseId lease, Run& run, OutputType type, Payload data, Time at) {
  run.bytes += data.size();
  bytes_ += kItemBytes + data.size();
  run.items.push_back({.lease = lease,
                       .job = run.job,
                       .n = ++run.rows,
                       .type = type,
                       .data = std::move(data),
                       .at = at});
  mark_dirty();
}

void OutputBuffer::push_progress(LeaseId lease, Run& run) {
  const Progress told = *std::exchange(run.progress, std::nullopt);
  std::string data = fmt::format(R"({{"done":{},"total":{},"text":{}}})", told.done, told.total,
                                 json_string(told.text));
  if (data.size() > limits_.item_bytes_max)
    data = fmt::format(R"({{"done":{},"total":{},"text":""}})", told.done, told.total);
  if (data.size() > limits_.item_bytes_max || !limit_passed(run, data.size(), false).empty())
    return;
  push(lease, run, OutputType::progress, Payload::text(std::move(data)), told.at);
}

std::optional<OutputBuffer::Ended> OutputBuffer::remove_if_over(Runs::iterator found) {
  const Run& run = found->second;
  if (!run.ended || !run.items.empty() || run.progress || run.in_flight > 0) return std::nullopt;
  const Ended ended{found->first, run.chunk_lost};
  runs_.erase(found);
  return ended;
}

// ---- the agent's thread ------------------------------------------------------------------------

void OutputBuffer::set_limits(const OutputLimits& limits) {
  Lock lock(mutex_);
  limits_ = limits;
}

void OutputBuffer::set_outcome_bytes(std::size_t bytes) {
  Lock lock(mutex_);
  if (bytes < std::exchange(outcome_bytes_, bytes)) room_.notify_all();
}

void OutputBuffer::take_from(LeaseId lease, Run& run, Instant now, Taken& taken,
                             std::size_t& bytes) {
  if (run.progress && now >= run.progress_due) {
    push_progress(lease, run);
    if (!run.progress_since) run.progress_since = now;
    // At the full rate for a twentieth of the rows, then ever slower: after a day a third of the
    // rows is used.
    const auto share = std::max<std::int64_t>(1, static_cast<std::int64_t>(limits_.rows_max / 20));
    run.progress_due = now + std::max(kProgressEvery, (now - *run.progress_since) / share);
  }
  while (!run.items.empty() && taken.items.size() < kParcelItemsMax &&
         (taken.items.empty() || bytes + size_of(run.items.front()) <= kParcelBytesMax)) {
    bytes += size_of(run.items.front());
    taken.items.push_back(std::move(run.items.front()));
    run.items.pop_front();
    ++run.in_flight;
    last_ = lease;
  }
  if (run.progress && (!taken.next_due || run.progress_due < *taken.next_due))
    taken.next_due = run.progress_due;
}

OutputBuffer::Taken OutputBuffer::take(Instant now) {
  Taken taken;
  std::size_t bytes = 0;
  Lock lock(mutex_);
  dirty_ = true;  // nobody needs to wake this thread meanwhile
  const LeaseId after = last_;
  for (auto& [lease, run] : runs_)
    if (run.ended) take_from(lease, run, now, taken, bytes);
  for (auto entry = runs_.upper_bound(after); entry != runs_.end(); ++entry)
    if (!entry->second.ended) take_from(entry->first, entry->second, now, taken, bytes);
  for (auto entry = runs_.begin(); entry != runs_.upper_bound(after); ++entry)
    if (!entry->second.ended) take_from(entry->first, entry->second, now, taken, bytes);
  // What did not fit is taken after the answer to what did, which wakes the agent.
  dirty_ = false;
  return taken;
}

OutputBuffer::Settlement OutputBuffer::settle(const std::vector<protocol::OutputItem>& items,
                                              const std::vector<protocol::ItemStatus>& statuses) {
  using protocol::ItemStatus;
  Settlement settlement;
  Lock lock(mutex_);
  for (std::size_t i = 0; i < items.size(); ++i) {
    bytes_ -= size_of(items[i]);
    const auto found = runs_.find(items[i].lease);
    MR_ASSERT(found != runs_.end() && found->second.in_flight > 0, "lease {}",
              items[i].lease.value);
    Run& run = found->second;
    --run.in_flight;
    const ItemStatus status = i < statuses.size() ? statuses[i] : ItemStatus::refused;
    const bool taken = status == ItemStatus::ok || status == ItemStatus::duplicate;
    if (!taken && !run.discarded) {
      if (settlement.lost++ == 0) settlement.first_lost = run.job;
      if (status == ItemStatus::refused) ++settlement.refused;
      if (items[i].type == OutputType::chunk) run.chunk_lost = true;
    }
    if (const auto ended = remove_if_over(found)) settlement.ended.push_back(*ended);
  }
  room_.notify_all();
  return settlement;
}

std::optional<OutputBuffer::Ended> OutputBuffer::end(LeaseId lease) {
  Lock lock(mutex_);
  const auto found = runs_.find(lease);
  if (found == runs_.end()) return Ended{lease};
  found->second.ended = true;
  if (found->second.progress) push_progress(lease, found->second);
  return remove_if_over(found);
}

void OutputBuffer::discard(LeaseId lease) {
  Lock lock(mutex_);
  Run& run = runs_[lease];
  run.discarded = true;
  run.progress.reset();
  for (const protocol::OutputItem& item : run.items) bytes_ -= size_of(item);
  run.items.clear();
  room_.notify_all();
}

bool OutputBuffer::is_full() {
  Lock lock(mutex_);
  return !has_room();
}

}  // namespace millrace::worker
