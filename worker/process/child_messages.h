#pragma once

// The stdio worker protocol, version 1: what a worker and a warm child tell each other over the
// child's stdin and stdout. docs/stdio_protocol.md is the long form.
//
// Two forms of the same messages: `msgpack`, a map behind its length in 4 bytes, highest first, or
// `json`, an object a line. The child's first byte decides: `{` is json. Unknown keys are ignored.

#include <millrace/handler.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/errors.h"

namespace millrace::worker {

inline constexpr int kStdioVersion = 1;
/// The longest message of either side: the largest payload in base64, and room for the rest.
inline constexpr std::size_t kChildMessageMax = 24UL * 1024 * 1024;

enum class ChildForm : std::uint8_t { unknown, msgpack, json };

/// Worker → child.
struct ToChild {
  enum class Type : std::uint8_t { job, cancel, enqueued };
  Type type = Type::job;
  LeaseId lease;
  const Job* job = nullptr;     ///< job
  std::uint64_t request = 0;    ///< enqueued: which one
  std::vector<JobId> ids = {};  ///< enqueued
  std::string error = {};       ///< enqueued: why not
};

/// Child → worker.
struct FromChild {
  enum class Type : std::uint8_t { ready, result, error, progress, log, chunk, enqueue };
  Type type = Type::ready;
  int protocol = kStdioVersion;  ///< ready
  LeaseId lease = {};            ///< all others
  Payload data = {};             ///< result, chunk
  std::string text = {};         ///< error, progress, log
  bool retry = true;             ///< error: false is a reject
  std::optional<Duration> delay = {};
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  std::uint64_t request = 0;  ///< enqueue: the child's number for it, told back
  std::string queue = {};     ///< enqueue: where to; empty: the queue of the job
  std::vector<JobRequest> jobs = {};
};

/// With the frame around it. `form` is not `unknown`.
[[nodiscard]] std::string encode(const ToChild& message, ChildForm form);
[[nodiscard]] std::string encode(const FromChild& message);  ///< msgpack: children of ours

/// One message without its frame. Errors: bad_format, saying what is wrong with it.
[[nodiscard]] Result<FromChild> decode_from_child(std::string_view body, ChildForm form);

/// What a child of ours reads: the job's texts are its own.
struct JobMessage {
  ToChild::Type type = ToChild::Type::job;
  LeaseId lease;
  Job job;
  std::uint64_t request = 0;
  std::vector<JobId> ids;
  std::string error;
};
[[nodiscard]] Result<JobMessage> decode_to_child(std::string_view body);

/// Cuts a stream of bytes into messages. Grows to one message at most.
class ChildStream {
 public:
  explicit ChildStream(ChildForm form = ChildForm::unknown) : form_(form) {}

  void append(std::string_view bytes);
  /// The next whole message, valid until the next call of either. Errors: bad_format, when it is
  /// longer than kChildMessageMax.
  [[nodiscard]] Result<std::optional<std::string_view>> next();
  [[nodiscard]] ChildForm form() const { return form_; }

 private:
  ChildForm form_;
  std::string bytes_;
  std::size_t begin_ = 0;     // of what was not taken
  std::size_t searched_ = 0;  // for the end of a line
};

}  // namespace millrace::worker
