#pragma once

// The words every part of millrace shares: ids, time, job states and payloads.

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace millrace {

/// A 64-bit id that cannot be mixed with the ids of other things. Zero means "none".
template <class Tag>
struct Id {
  std::uint64_t value = 0;

  constexpr Id() = default;
  constexpr explicit Id(std::uint64_t v) : value(v) {}
  constexpr explicit operator bool() const { return value != 0; }
  constexpr auto operator<=>(const Id&) const = default;
};

/// Given by the broker, rising, never reused.
using JobId = Id<struct JobTag>;
/// The id of a batch is the id of its first job.
using BatchId = Id<struct BatchTag>;
/// Fencing token, `epoch << 40 | counter`: rising over all leases and restarts.
using LeaseId = Id<struct LeaseTag>;
/// A row of `worker`: one connection life of one worker process.
using WorkerId = Id<struct WorkerTag>;
/// A lane is a (queue, kind); lanes are numbered from 1 and never renumbered.
using LaneId = Id<struct LaneTag>;
/// Position in the order in which jobs ended; cursor of results.
using FinishSeq = Id<struct FinishSeqTag>;

/// Position of a row of output (log line, progress, chunk) among those of all jobs; rising.
using OutputSeq = Id<struct OutputSeqTag>;

/// Milliseconds everywhere: on the wire, in the store, in the code.
using Duration = std::chrono::milliseconds;

namespace detail {
struct UtcClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<UtcClock>;
  static constexpr bool is_steady = false;
};
struct MonotonicClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicClock>;
  static constexpr bool is_steady = true;
};
}  // namespace detail

/// Wall-clock time, UTC, milliseconds since 1970. Stored and sent.
using Time = detail::UtcClock::time_point;
/// Monotonic time of this process, milliseconds. Never stored, never sent.
using Instant = detail::MonotonicClock::time_point;

/// Both clocks, read once per turn, so that one batch of work sees one time.
struct Now {
  Instant mono;
  Time utc;
};

enum class JobState : std::uint8_t {
  blocked,
  scheduled,
  ready,
  leased,
  done,
  dead,
  cancelled,
  expired,
};
inline constexpr std::size_t kJobStateCount = 8;

[[nodiscard]] constexpr bool is_final(JobState state) { return state >= JobState::done; }
[[nodiscard]] std::string_view to_string(JobState state);
/// Returns false and leaves `state` alone when `name` is no state.
[[nodiscard]] bool parse(std::string_view name, JobState& state);

/// How long a job holds its unique key.
enum class UniqueScope : std::uint8_t {
  queued,  ///< until it is first given to a worker
  active,  ///< until it has ended
  ttl,     ///< for a time from its enqueue on, whatever becomes of it
};
/// What becomes of an enqueue whose unique key is held by another job.
enum class OnConflict : std::uint8_t {
  existing,  ///< that job's id is the answer, nothing is enqueued
  reject,    ///< the request is refused with unique_conflict
  replace,   ///< the other job is cancelled if it was never given to a worker, else as `reject`
};
[[nodiscard]] std::string_view to_string(UniqueScope scope);
[[nodiscard]] bool parse(std::string_view name, UniqueScope& scope);
[[nodiscard]] std::string_view to_string(OnConflict conflict);
[[nodiscard]] bool parse(std::string_view name, OnConflict& conflict);

/// What a run may leave behind before it ends.
enum class OutputType : std::uint8_t {
  log,       ///< a line for people
  progress,  ///< how far it is; the newest counts
  chunk,     ///< a part of the result
};
[[nodiscard]] std::string_view to_string(OutputType type);
[[nodiscard]] bool parse(std::string_view name, OutputType& type);

/// What a handler gets and gives: text (JSON by convention) or opaque bytes. The broker never looks
/// inside. Text travels as msgpack `str` and is stored as TEXT, bytes as `bin` and BLOB.
struct Payload {
  enum class Form : std::uint8_t { none, text, binary };

  Form form = Form::none;
  std::string bytes;

  static Payload text(std::string value) { return {Form::text, std::move(value)}; }
  static Payload binary(std::string value) { return {Form::binary, std::move(value)}; }
  [[nodiscard]] bool empty() const { return form == Form::none; }
  [[nodiscard]] std::size_t size() const { return bytes.size(); }
  bool operator==(const Payload&) const = default;
};

/// 16 random bytes a peer draws once per process start.
using SessionId = std::string;

/// Names one ENQUEUE or REPLAY for ever: 8 random bytes per producer process and a counter from 1.
struct RequestId {
  std::uint64_t prefix = 0;
  std::uint64_t counter = 0;
  auto operator<=>(const RequestId&) const = default;
};

/// Most urgent and least urgent; lower runs first.
inline constexpr int kPriorityMin = 0;
inline constexpr int kPriorityDefault = 100;
inline constexpr int kPriorityMax = 255;

/// `[a-z0-9._-]{1,64}`, the rule for names of queues and kinds.
[[nodiscard]] bool is_name(std::string_view name);

}  // namespace millrace

template <class Tag>
struct std::hash<millrace::Id<Tag>> {
  std::size_t operator()(millrace::Id<Tag> id) const noexcept {
    return static_cast<std::size_t>(id.value * 0x9E3779B97F4A7C15ULL >> 7);
  }
};
