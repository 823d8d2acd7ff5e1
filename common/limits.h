#pragma once

// Every queue, batch, frame, string and retry has a named maximum. The fields of `Limits` are
// configurable per broker (TOML table `[limits]`, same names); the constants are part of the
// format.

#include <cstddef>
#include <cstdint>

#include "common/errors.h"
#include "common/types.h"

namespace millrace {

inline constexpr std::size_t kKiB = 1024;
inline constexpr std::size_t kMiB = 1024 * kKiB;

struct Limits {
  std::uint64_t payload_bytes_max = 256 * kKiB;
  std::uint64_t result_bytes_max = 256 * kKiB;
  std::uint64_t error_bytes_max = 4 * kKiB;
  std::uint64_t enqueue_jobs_max = 1000;
  std::uint64_t enqueue_bytes_max = 1 * kMiB;
  std::uint64_t leases_per_worker_max = 1000;
  std::uint64_t queue_jobs_max = 10'000'000;
  /// Pairs of queue and kind; also the number of queues.
  std::uint64_t lanes_max = 4096;
  std::uint64_t sessions_max = 4096;
  /// Input that is decoded but not yet committed; above it ENQUEUE is answered `busy`.
  std::uint64_t parked_bytes_max = 64 * kMiB;
  /// Jobs and payload bytes a lane keeps in memory; the rest of its backlog is only on disk.
  std::uint64_t window_jobs_max = 8192;
  std::uint64_t window_bytes_max = 8 * kMiB;
  /// Rows and bytes a watcher may get beyond the cursor it last named.
  std::uint64_t results_rows_max = 4096;
  std::uint64_t results_bytes_max = 4 * kMiB;
  /// What one run may leave behind while it runs: rows (log lines, progress, chunks), bytes of all
  /// of them, and of a single one.
  std::uint64_t output_rows_max = 10'000;
  std::uint64_t output_bytes_max = 16 * kMiB;
  std::uint64_t output_item_bytes_max = 64 * kKiB;
  /// AWAIT and WATCH_OUTPUT that one peer may have waiting.
  std::uint64_t waits_per_session_max = 4096;
};

/// Within what the frame and array limits of the protocol can carry. Error: bad_config, naming the
/// limit, its value and its range.
[[nodiscard]] Status check(const Limits& limits);

inline constexpr std::size_t kArrayItemsMax = 4096;
inline constexpr std::size_t kDecodeDepthMax = 16;
/// Of all arrays and maps of a frame together; what it takes to decode a frame is bounded by this.
inline constexpr std::size_t kFrameElementsMax = 100'000;
inline constexpr std::size_t kFrameBytesMax = 4 * kMiB;
inline constexpr std::size_t kOutboxBytesMax = 64 * kMiB;
inline constexpr std::size_t kPrefetchMax = 1000;
/// Payloads above this size stay in the store until their job is leased.
inline constexpr std::size_t kPayloadInlineMax = 1 * kKiB;
inline constexpr std::size_t kPageRowsMax = 1000;
/// A command by filter goes through the engine in pages of this many ids.
inline constexpr std::size_t kFilterPageJobs = 500;

inline constexpr int kMaxAttemptsDefault = 3;
inline constexpr int kMaxAttemptsMax = 1'000'000;
inline constexpr int kCrashesMaxDefault = 3;

inline constexpr Duration kHeartbeat{1000};
inline constexpr Duration kPeerLostAfter{3000};
inline constexpr Duration kResumeGrace{10'000};
inline constexpr Duration kBackoffFirst{1000};
inline constexpr Duration kBackoffMax{300'000};
inline constexpr int kJitterPercentDefault = 50;
inline constexpr std::size_t kRetryDelaysMax = 64;
inline constexpr std::size_t kRetryBytesMax = 1024;
inline constexpr std::size_t kUniqueKeyBytesMax = 128;
inline constexpr Duration kReconnectMax{1000};
inline constexpr Duration kHandshakeMax{2000};
inline constexpr Duration kRequestKeptFor{24L * 3600 * 1000};
/// A run that lasts this long gets its start written.
inline constexpr Duration kStartedWrittenAfter{1000};
/// A gap between two turns of the broker's loop that counts as its own stall.
inline constexpr Duration kStallMin{500};
/// Longest time span anything may ask for (delay, timeout, retention): 10 years.
inline constexpr Duration kDurationMax{10L * 366 * 24 * 3600 * 1000};

inline constexpr const char* kEndpointDefault = "tcp://127.0.0.1:7411";
inline constexpr const char* kQueueDefault = "default";

}  // namespace millrace
