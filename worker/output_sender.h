#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/protocol/messages.h"
#include "worker/link.h"
#include "worker/output_buffer.h"

namespace millrace::worker {

/// Brings what runs leave behind to the broker: one OUTPUT at a time, kept until it is settled.
/// The agent's thread.
///
/// The order of a run's output and its outcome. The broker answers output of a lease that has ended
/// with `stale`: it would be lost. So the outcome of a run is not sent before all of its output is
/// settled (`ended()` says when). Then neither `busy`, nor a reconnect, nor a broker that restarts
/// between the two can turn them round. It costs runs that leave something behind one more round
/// trip, during which their slot works on.
///
/// After a reconnect nothing is sent before RESUMED: a broker that restarted does not know yet that
/// the lease is held by this session. What it had taken before it answers with `duplicate`.
class OutputSender {
 public:
  /// Both must outlive it.
  OutputSender(Link& link, OutputBuffer& buffer) : link_(link), buffer_(buffer) {}

  void connected(const protocol::Welcome& welcome);
  void resumed() { open_ = true; }
  /// Sends what may be sent now.
  void turn(Instant now);
  /// The reply to an OUTPUT: the runs of which nothing is unsettled any more. Nothing when the
  /// request was not ours.
  [[nodiscard]] std::optional<std::vector<OutputBuffer::Ended>> answered(
      std::uint64_t correlation, const protocol::Message& reply, Instant now);
  /// When turn() must be called at the latest.
  [[nodiscard]] std::optional<Instant> next_due() const;

 private:
  Link& link_;
  OutputBuffer& buffer_;
  bool open_ = false;
  std::vector<protocol::OutputItem> parcel_;  // not settled; the next ones wait for it
  std::uint64_t correlation_ = 0;             // of its OUTPUT; 0: it is not on its way
  Instant send_at_{};                         // not before; a broker that is busy says so
  std::optional<Instant> buffer_due_;
};

}  // namespace millrace::worker
