#include "broker/front/front.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/protocol/codec.h"
#include "common/util/clock.h"
#include "common/util/instrument.h"
#include "common/util/log.h"
#include "common/util/parse.h"
#include "common/util/thread.h"

namespace millrace::broker {
namespace {

/// Messages read in one turn, so that commits and timers get theirs under any load.
constexpr int kReceiveMax = 512;
constexpr std::size_t kInFlightMax = 2;
constexpr Duration kBusyFor{100};
constexpr Duration kWaitMax{10'000};

}  // namespace

Front::Front(std::unique_ptr<Router> router, Engine engine, CommitPort& commits, ReadPort& reads,
             Signals& signals, const Options& options)
    : router_(std::move(router)),
      engine_(std::move(engine)),
      commits_(commits),
      reads_(reads),
      signals_(signals),
      options_(options) {}

void Front::run() {
  name_thread("mr-front");
  while (true) {
    signals_.wakeup.clear();
    const Now now = read_clocks();  // once: the whole turn sees one time
    const bool stopping = signals_.stop;
    front_take_done(now);
    front_take_reads(now);
    front_check_space(now);
    if (!stopping) front_receive(now);
    engine_.tick(now, inbox_empty_);
    front_send(engine_.take_replies_now(), now);
    if (in_flight_.size() < kInFlightMax) front_take_effects(now);
    if (stopping && in_flight_.empty()) return;
    if (!inbox_empty_ && !stopping) continue;
    const Duration until_tick = std::max(Duration{0}, next_tick_ - now.mono);
    router_->wait(in_flight_.size() < kInFlightMax ? std::min(until_tick, kWaitMax) : kWaitMax,
                  {signals_.wakeup.fd()});
  }
}

void Front::front_take_done(Now now) {
  for (CommitDone& done : commits_.take_done()) {
    InFlight batch = std::move(in_flight_.front());
    in_flight_.pop_front();
    MR_ASSERT(batch.number == done.number, "batch {} finished before {}", done.number,
              batch.number);
    in_flight_bytes_ -= batch.bytes;
    if (!batch.payload_ids.empty()) fill_payloads(batch.replies, batch.payload_ids, done.payloads);
    const bool has_replies = !batch.replies.empty();
    if (has_replies) instrument::crash_point("broker.before_reply");
    front_send(std::move(batch.replies), now);
    if (has_replies) instrument::crash_point("broker.after_reply");
    for (Read& read : batch.reads) reads_.submit(std::move(read));
    for (Loaded& loaded : done.loaded) engine_.step(std::move(loaded), now);
  }
}

void Front::front_take_reads(Now now) {
  for (ReadAnswer& answer : reads_.take_done()) {
    if (auto* reply = std::get_if<Reply>(&answer)) {
      front_send_one(std::move(*reply), now);
    } else if (auto* job = std::get_if<JobRead>(&answer)) {
      engine_.step(std::move(*job), now);
    } else {
      engine_.step(std::get<ResultsRead>(std::move(answer)), now);
    }
  }
}

void Front::front_check_space(Now now) {
  const std::uint64_t free = commits_.free_bytes();
  const std::uint64_t wanted = options_.min_free_bytes;
  // An eighth more before it counts as better, so that it does not change with every commit.
  const auto below = [&](std::uint64_t bytes, Space level) {
    return free < (space_ >= level ? bytes + bytes / 8 : bytes);
  };
  const Space space = below(wanted / 2, Space::critical) ? Space::critical
                      : below(wanted, Space::low)        ? Space::low
                                                         : Space::plenty;
  if (space == space_) return;
  space_ = space;
  engine_.step(SpaceChanged{space}, now);
  if (space == Space::plenty) return log::info("there is space again: new jobs are accepted");
  log::error("{} free for the database, below {}--min-free {}: new jobs are refused{}",
             format_size(free), space == Space::critical ? "half of " : "", format_size(wanted),
             space == Space::critical ? " and no more are handed out; free some space"
                                      : ", queued ones run on");
}

void Front::front_receive(Now now) {
  for (int i = 0; i < kReceiveMax; ++i) {
    auto frame = router_->receive();
    inbox_empty_ = !frame;
    if (inbox_empty_) return;
    front_receive_one(*frame, now);
  }
}

void Front::front_receive_one(const Router::Frame& frame, Now now) {
  if (!frame.one_part)
    return front_refuse(frame.from, 0,
                        {ErrorCode::bad_format, "a message is exactly one frame", {}});
  auto envelope = protocol::decode(frame.bytes);
  if (!envelope)
    return front_refuse(frame.from, envelope.error().correlation, envelope.error().error);
  if (std::holds_alternative<protocol::Enqueue>(envelope->message)) {
    if (in_flight_bytes_ + gathering_bytes_ > options_.limits.parked_bytes_max)
      return front_refuse(frame.from, envelope->correlation,
                          {ErrorCode::busy,
                           fmt::format("{} bytes wait for the disk (parked_bytes_max)",
                                       in_flight_bytes_ + gathering_bytes_),
                           kBusyFor});
    gathering_bytes_ += frame.bytes.size();
  }
  engine_.step(Received{frame.from, envelope->correlation, std::move(envelope->message)}, now);
}

void Front::front_take_effects(Now now) {
  Effects effects = engine_.take_effects(now);
  next_tick_ = effects.next_tick;
  front_send(std::move(effects.replies_now), now);
  const std::size_t bytes = std::exchange(gathering_bytes_, 0);
  if (!effects.needs_store() && in_flight_.empty()) {
    front_send(std::move(effects.replies), now);
    for (Read& read : effects.reads) reads_.submit(std::move(read));
    return;
  }
  // Replies without writes still wait for their turn: what they say may rest on the batch before.
  if (!effects.needs_store() && effects.replies.empty() && effects.reads.empty()) return;
  in_flight_bytes_ += bytes;
  in_flight_.push_back({++last_number_, std::move(effects.replies), std::move(effects.reads),
                        effects.payloads, bytes});
  commits_.submit({last_number_, std::move(effects.writes), std::move(effects.loads),
                   std::move(effects.payloads)});
}

void Front::front_send(std::vector<Reply> replies, Now now) {
  for (Reply& reply : replies) front_send_one(std::move(reply), now);
}

void Front::front_send_one(Reply reply, Now now) {
  if (router_->send(reply.to, protocol::encode({reply.correlation, reply.message}))) {
    if (std::holds_alternative<protocol::Jobs>(reply.message))
      instrument::crash_point("broker.after_lease_sent");
    return;
  }
  engine_.step(Undelivered{std::move(reply)}, now);
}

void Front::front_refuse(ConnectionId to, std::uint64_t correlation, const Error& error) {
  // A stranger who does not read his refusal has nothing to lose.
  const protocol::Envelope refusal{correlation, protocol::make_error(error)};
  [[maybe_unused]] const bool sent = router_->send(to, protocol::encode(refusal));
}

}  // namespace millrace::broker
