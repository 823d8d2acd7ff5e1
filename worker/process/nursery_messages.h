#pragma once

// What the worker and its nursery tell each other: one msgpack array a datagram, over a
// SOCK_SEQPACKET pair. Both are the same program, so there is no version.

#include <cstdint>
#include <msgpack.hpp>
#include <string>
#include <vector>

#include "common/limits.h"

namespace millrace::worker {

/// What a child may use; 0: no limit of ours.
struct ChildLimits {
  std::uint64_t memory_bytes = 0;  ///< RLIMIT_DATA: heap and private pages, of each process
  std::uint64_t cpu_seconds = 0;   ///< RLIMIT_CPU, of each process over its life
  std::uint64_t files = 0;         ///< RLIMIT_NOFILE
  /// How many the job may have; RLIMIT_NPROC, which counts every thread of the child's user, is set
  /// to twice that above what there is.
  std::uint64_t processes = 0;
  MSGPACK_DEFINE_ARRAY(memory_bytes, cpu_seconds, files, processes)
};

/// Who a child is, when the worker is root.
struct ChildUser {
  std::uint32_t uid = 0;  ///< 0: as the worker
  std::uint32_t gid = 0;
  MSGPACK_DEFINE_ARRAY(uid, gid)
};

/// The child's 0, 1 and 2 come with the datagram.
struct SpawnRequest {
  std::uint64_t id = 0;                  ///< the worker's; never used twice
  std::vector<std::string> command;      ///< the program, looked up in PATH, and its arguments
  bool self = false;                     ///< the program is this one, whatever `command` calls it
  std::vector<std::string> environment;  ///< NAME=VALUE, added to what the worker has
  bool clean_environment = false;        ///< PATH, LANG, TZ and HOME only, and `environment`
  ChildLimits limits;
  ChildUser user;
  MSGPACK_DEFINE_ARRAY(id, command, self, environment, clean_environment, limits, user)
};

/// To the nursery: a SpawnRequest, or the id of a child to kill with all that descends from it.
struct NurseryRequest {
  std::uint64_t kill = 0;
  SpawnRequest spawn;
  MSGPACK_DEFINE_ARRAY(kill, spawn)
};

enum class ReportKind : std::uint8_t {
  started,      ///< `pid`
  not_started,  ///< `error`
  ended,        ///< `status` and what it used; nothing that descends from it lives any more
};

struct NurseryReport {
  std::uint64_t id = 0;
  std::uint8_t kind = 0;
  std::int32_t pid = 0;
  std::int32_t status = 0;  ///< as waitpid() gives it
  std::string error = {};
  std::int64_t user_us = 0;  ///< CPU time of the child and of the descendants it waited for
  std::int64_t system_us = 0;
  std::int64_t rss_max_kib = 0;
  MSGPACK_DEFINE_ARRAY(id, kind, pid, status, error, user_us, system_us, rss_max_kib)

  [[nodiscard]] ReportKind report_kind() const { return static_cast<ReportKind>(kind); }
};

/// A datagram's limit; arguments and environment have to fit.
inline constexpr std::size_t kNurseryMessageMax = 128 * kKiB;

template <class T>
[[nodiscard]] std::string pack_message(const T& message) {
  msgpack::sbuffer buffer;
  msgpack::pack(buffer, message);
  return {buffer.data(), buffer.size()};
}

/// Throws msgpack::unpack_error or msgpack::type_error.
template <class T>
[[nodiscard]] T unpack_message(const char* data, std::size_t size) {
  return msgpack::unpack(data, size).get().as<T>();
}

}  // namespace millrace::worker
