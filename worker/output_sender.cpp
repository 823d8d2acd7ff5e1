#include "worker/output_sender.h"

#include <algorithm>

#include "common/util/log.h"

namespace millrace::worker {
namespace {

/// A broker that does not tell a limit has the standard one.
std::uint64_t or_else(std::uint64_t told, std::uint64_t standard) {
  return told > 0 ? told : standard;
}

}  // namespace

void OutputSender::connected(const protocol::Welcome& welcome) {
  const OutputLimits standard;
  buffer_.set_limits({or_else(welcome.output_rows_max, standard.rows_max),
                      or_else(welcome.output_bytes_max, standard.bytes_max),
                      or_else(welcome.output_item_bytes_max, standard.item_bytes_max)});
  open_ = false;
  // It is sent anew after RESUMED; an answer to this one would come too early to be believed.
  if (correlation_ != 0) link_.forget(correlation_);
  correlation_ = 0;
  send_at_ = {};
}

void OutputSender::turn(Instant now) {
  if (!open_ || correlation_ != 0 || now < send_at_) return;
  if (parcel_.empty()) {
    OutputBuffer::Taken taken = buffer_.take(now);
    parcel_ = std::move(taken.items);
    buffer_due_ = taken.next_due;
  }
  if (!parcel_.empty()) correlation_ = link_.request(protocol::Output{parcel_});
}

std::optional<std::vector<OutputBuffer::Ended>> OutputSender::answered(
    std::uint64_t correlation, const protocol::Message& reply, Instant now) {
  if (correlation == 0 || correlation != correlation_) return std::nullopt;
  correlation_ = 0;
  const auto* error = std::get_if<protocol::ErrorReply>(&reply);
  if (error != nullptr && error->retryable) {
    send_at_ = now + std::max(error->after, kSendAgainAfter);
    return std::vector<OutputBuffer::Ended>{};
  }
  if (error != nullptr)
    log::error("the broker refused {} rows of output: {}: {}", parcel_.size(), error->code,
               error->message);
  const auto* settled = std::get_if<protocol::Settled>(&reply);
  OutputBuffer::Settlement settlement = buffer_.settle(
      parcel_, settled != nullptr ? settled->statuses : std::vector<protocol::ItemStatus>{});
  parcel_.clear();
  send_at_ = {};
  if (settlement.lost > 0)
    log::warn("{} rows of output were not taken ({} for a limit), the first of job {}",
              settlement.lost, settlement.refused, settlement.first_lost.value);
  return std::move(settlement.ended);
}

std::optional<Instant> OutputSender::next_due() const {
  if (!open_ || correlation_ != 0) return std::nullopt;
  return parcel_.empty() ? buffer_due_ : send_at_;
}

}  // namespace millrace::worker
