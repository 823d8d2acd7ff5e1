#include "bench/own_worker.h"

#include <fmt/format.h>
#include <millrace/worker.h>

#include <charconv>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <mutex>
#include <string_view>
#include <vector>

namespace millrace::bench {
namespace {

constexpr std::string_view kStampBegin = "\"at ";

std::int64_t monotonic_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000L + time.tv_nsec;
}

/// The stamp of a payload, or 0.
std::int64_t stamp_of(std::string_view payload) {
  std::int64_t stamp = 0;
  if (!payload.starts_with(kStampBegin)) return 0;
  payload.remove_prefix(kStampBegin.size());
  std::from_chars(payload.data(), payload.data() + payload.size(), stamp);
  return stamp;
}

}  // namespace

std::string stamped_payload() {
  return fmt::format("{}{} {}\"", kStampBegin, monotonic_ns(), std::string(78, 'x'));
}

int run_own_worker(const std::string& broker, const std::string& latencies) {
  std::mutex mutex;
  std::vector<double> seen;
  Worker worker({.broker = broker, .cpu_threads = 0});
  worker.kind("noop", kPoolIo, [&](JobContext& context) {
    if (const std::int64_t stamp = stamp_of(context.job().payload.bytes); stamp > 0) {
      const double ms = static_cast<double>(monotonic_ns() - stamp) / 1e6;
      const std::lock_guard lock(mutex);
      seen.push_back(ms);
    }
    return Outcome::ack();
  });
  const int code = worker.run();
  std::ofstream file(latencies);
  for (const double ms : seen) file << ms << '\n';
  return code;
}

}  // namespace millrace::bench
