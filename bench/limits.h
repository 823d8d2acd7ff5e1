#pragma once

// What the machine allows, measured with as little around it as can be. Each function adds limits
// to the workload that asks, so that a figure and its limit come from the same minute.

#include <chrono>
#include <cstddef>

#include "bench/workload.h"

namespace millrace::bench {

/// `sqlite.insert`, and with `update` also `sqlite.update` and `sqlite.insert+update`, rows/s at
/// 1,000 rows or 1 MiB a transaction, and `sqlite.cpu`, user and system time of both in us/job.
/// With payloads of other sizes `suffix` goes after the name.
struct RowLimits {
  std::size_t rows = 0;
  std::size_t payload_bytes = 100;
  bool update = false;
  const char* suffix = "";
};
void add_row_limits(Run& run, const RowLimits& wanted);

/// `sqlite.commit.p50` and `.p99`: a transaction of one row, in ms, one right after the other. And
/// `sqlite.commit.paced.…`: with a `pause` before each, in which the disk and the CPUs go to sleep.
void add_commit_limits(Run& run, std::size_t commits, std::chrono::microseconds pause = {});
/// `fdatasync.p50` and `.p99` in ms and `fdatasync.rate`: 4 KiB written over in place and synced.
void add_sync_limits(Run& run, std::size_t syncs);
/// `zeromq.echo`: messages of 100 bytes, 100 in a frame, from a DEALER to a ROUTER over loopback
/// and back, eight frames under way. `zeromq.echo.cpu`: user and system time of one end,
/// us/message.
void add_echo_limit(Run& run, std::size_t messages);
/// `zeromq.ping.p50` and `.p99` in ms: one message of 100 bytes from a DEALER to a ROUTER over
/// loopback and back, with a `pause` before each.
void add_ping_limit(Run& run, std::size_t messages, std::chrono::microseconds pause);
/// `spawn.p50` in ms: a program that does nothing, from start to end.
void add_spawn_limit(Run& run, std::size_t starts);

}  // namespace millrace::bench
