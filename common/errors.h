#pragma once

// One numbered table of everything that can go wrong and that some caller acts on.
// A number is never reused. 1xxx a retry may help, 2xxx the caller's fault, 3xxx store, 4xxx bug.

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "common/types.h"

namespace millrace {

// name, wire number, exit code of a program that ends because of it, meaning
#define MR_ERRORS(X)                                                                        \
  X(busy, 1001, 75, "the broker has too much unwritten input; send again after `after_ms`") \
  X(queue_full, 1002, 75, "the queue holds as many jobs as it may")                         \
  X(storage_full, 1003, 74, "free space is below the broker's --min-free")                  \
  X(no_session, 1004, 69, "say HELLO first; the broker may have restarted")                 \
  X(queue_closed, 1005, 75, "the queue's generation is closed")                             \
  X(unreachable, 1006, 69, "the broker does not answer")                                    \
  X(timeout, 1007, 75, "it took longer than it may")                                        \
  X(stopping, 1008, 75, "the program is shutting down")                                     \
  X(address_in_use, 1009, 75, "something else listens there")                               \
  X(queue_open, 1010, 75, "the queue was opened again, so it does not drain")               \
  X(unique_conflict, 1011, 75, "another job that has not ended holds this unique key")      \
  X(bad_format, 2001, 70, "the bytes are no message of this protocol")                      \
  X(unsupported_version, 2002, 70, "no common protocol version")                            \
  X(unknown_type, 2003, 70, "no such message type")                                         \
  X(bad_request, 2004, 64, "a value is missing, malformed or out of range")                 \
  X(too_large, 2005, 65, "a size or count is over its limit")                               \
  X(conflict, 2006, 70, "this request id was used for another body")                        \
  X(not_found, 2007, 1, "no such job, batch or queue")                                      \
  X(not_allowed, 2008, 77, "this peer may not do that")                                     \
  X(unknown_kind, 2009, 1, "no worker of the queue has a handler of this kind")             \
  X(bad_payload, 2010, 65, "the handler cannot use this payload")                           \
  X(usage, 2011, 64, "the command line is wrong")                                           \
  X(bad_data, 2012, 65, "an input file or line is wrong")                                   \
  X(no_input, 2013, 66, "the input file cannot be read")                                    \
  X(bad_config, 2014, 78, "the configuration is wrong")                                     \
  X(not_replayable, 2015, 77, "this kind says that its jobs must not be replayed")          \
  X(lease_lost, 2016, 1, "the run that asks does not hold its job any more")                \
  X(storage_failed, 3001, 74, "the store could not write or read")                          \
  X(foreign_file, 3002, 78, "the file is not a millrace database, or a newer one")          \
  X(store_locked, 3003, 75, "another broker has this database open")                        \
  X(corrupt, 3004, 74, "stored data does not match its checksum")                           \
  X(internal, 4001, 70, "a bug in millrace")

enum class ErrorCode : int {
#define MR_ENUMERATOR(name, number, exit_code, meaning) name = number,
  MR_ERRORS(MR_ENUMERATOR)
#undef MR_ENUMERATOR
};

/// What went wrong, the value, the limit and what to do next, in one sentence a user can act on.
struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  /// How long to wait before a retry makes sense; zero: no advice.
  Duration after{};
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

[[nodiscard]] inline tl::unexpected<Error> fail(ErrorCode code, std::string message,
                                                Duration after = {}) {
  return tl::make_unexpected(Error{code, std::move(message), after});
}

/// The word used on the wire, in logs and in documentation, e.g. `queue_closed`.
[[nodiscard]] std::string_view to_string(ErrorCode code);
[[nodiscard]] std::string_view meaning(ErrorCode code);
[[nodiscard]] int number(ErrorCode code);
/// Exit code of a program that gives up because of this error.
[[nodiscard]] int exit_code(ErrorCode code);
/// True for 1xxx: the same request may succeed later.
[[nodiscard]] bool is_retryable(ErrorCode code);
/// An unknown word (a newer peer) becomes `internal`.
[[nodiscard]] ErrorCode error_code(std::string_view word);

/// Exit codes that are no error's.
inline constexpr int kExitOk = 0;
inline constexpr int kExitSomeFailed = 1;
inline constexpr int kExitInterrupted = 130;
inline constexpr int kExitTerminated = 143;

}  // namespace millrace
