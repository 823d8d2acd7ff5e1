#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>

#include "broker/engine/effects.h"
#include "broker/engine/retention.h"
#include "common/limits.h"

namespace millrace::broker {

struct EngineOptions {
  Limits limits;
  Retention retention;
  Duration lost_after = kPeerLostAfter;
  Duration resume_grace = kResumeGrace;
  std::uint64_t seed = 1;     ///< of the back-off jitter
  std::string version = "0";  ///< told to peers
};

/// A message of a peer, decoded and within the frame limits.
struct Received {
  ConnectionId from;
  std::uint64_t correlation = 0;
  protocol::Message message;
  SessionId session{};  ///< of the sender; the engine's own note, for a command that has to wait
};
/// A reply that could not be handed to its peer; what it carried is taken back.
struct Undelivered {
  Reply reply;
};
/// How much may still be written. Below --min-free (`low`) new jobs are refused while queued ones
/// run on; below half of it (`critical`) nothing more is handed out either, so that what runs can
/// still be recorded.
enum class Space : std::uint8_t { plenty, low, critical };
struct SpaceChanged {
  Space space = Space::plenty;
};
using Command = std::variant<Received, Undelivered, SpaceChanged, Loaded, ResultsRead, JobRead>;

struct Core;

/// Decides everything: order, leases, retries, sentinel, batches, sessions. A deterministic state
/// machine: same commands and times in, same effects out. No I/O, no clock, no threads; owned by
/// one thread, in production `mr-front`. It is never rolled back: when a commit of its writes
/// fails, the broker ends, and a restart from the store is the repair.
class Engine {
 public:
  /// `snapshot` is what the store found; O(leases + lanes), not O(backlog).
  Engine(EngineOptions options, Snapshot snapshot, Now now);
  ~Engine();
  Engine(Engine&&) noexcept;

  /// Applies one command. Never fails: bad requests become error replies.
  void step(Command command, Now now);

  /// Time passes: due jobs, timeouts, lost peers, retention. Call once per turn of the loop.
  /// `inbox_empty`: everything peers had sent by `now` went through step(); only then may a silent
  /// worker be called lost.
  void tick(Now now, bool inbox_empty);

  /// Hands out jobs and collects what the shell must do since the last call. The shell commits
  /// `writes` before it lets `replies` go, and feeds each load's answer back in order.
  [[nodiscard]] Effects take_effects(Now now);
  /// Replies that depend on no write, ahead of the next batch; also while commits are slow.
  [[nodiscard]] std::vector<Reply> take_replies_now();

  [[nodiscard]] std::size_t jobs_in_memory() const;
  [[nodiscard]] std::size_t sessions() const;

 private:
  std::unique_ptr<Core> core_;
};

}  // namespace millrace::broker
