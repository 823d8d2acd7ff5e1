#include "tests/unit/engine/storm_peers.h"

#include <fmt/format.h>

namespace millrace::broker {

using protocol::Delivery;
using protocol::Envelope;
using protocol::ErrorReply;
using protocol::Outcome;

namespace {

bool lost_session(const protocol::Message& message) {
  const auto* error = std::get_if<ErrorReply>(&message);
  return error != nullptr && error->code == "no_session";
}

}  // namespace

// ---- worker
// --------------------------------------------------------------------------------------

StormWorker::StormWorker(EngineHarness& broker, TestRandom& random)
    : broker_(broker), random_(random), peer_(&broker.stranger(protocol::Role::worker)) {}

OfferOptions StormWorker::offer_options() {
  OfferOptions options;
  options.queues = {"a", "b"};
  options.kinds = {{"x", "io"}, {"y", "io"}};
  options.pools = {{"io", 4}};
  options.credit = 0;
  return options;
}

bool StormWorker::is_busy_with(JobId job) const {
  for (const auto& [lease, held] : held_)
    if (held.delivery.job == job && !held.ended && !held.revoked) return true;
  return false;
}

void StormWorker::reconnect() {
  if (session_ && peer_->connection()) return;
  peer_->beats = true;
  session_ = true;
  const auto welcome = std::get<protocol::Welcome>(peer_->hello());
  if (!welcome.known) seen_ = 0;
  receive();
  peer_->offer(offer_options());
  resume();
}

void StormWorker::resume() {
  std::vector<protocol::HeldLease> leases;
  for (const auto& [lease, held] : held_)
    if (!held.revoked) leases.push_back({lease, held.delivery.job, held.started, Duration{1}});
  peer_->send(protocol::Resume{leases});
}

void StormWorker::receive() {
  for (Envelope& envelope : std::exchange(peer_->inbox, {})) handle(std::move(envelope));
}

void StormWorker::handle(Envelope envelope) {
  auto& message = envelope.message;
  if (lost_session(message)) {
    session_ = false;
  } else if (auto* jobs = std::get_if<protocol::Jobs>(&message)) {
    for (Delivery& delivery : jobs->items) {
      seen_ = std::max(seen_, delivery.number);
      new_.push_back(delivery);
      held_[delivery.lease].delivery = std::move(delivery);
    }
  } else if (auto* settled = std::get_if<protocol::Settled>(&message)) {
    for (LeaseId lease : settled->leases) held_.erase(lease);
  } else if (auto* cancel = std::get_if<protocol::Cancel>(&message)) {
    drop(cancel->leases);
  } else if (auto* resumed = std::get_if<protocol::Resumed>(&message)) {
    drop(resumed->drop);
    seen_ = std::max(seen_, resumed->delivered["io"]);
    for (auto& [lease, held] : held_)
      if (held.ended) send_outcome(held);
  } else if (std::holds_alternative<protocol::ResumeWanted>(message)) {
    resume();
  } else if (auto* recall = std::get_if<protocol::Recall>(&message)) {
    for (LeaseId lease : recall->leases)
      if (const auto found = held_.find(lease); found != held_.end() && !found->second.started)
        end(found->second, 3);
  }
}

/// A run that was revoked leaves when it notices; an outcome stays until it is settled.
void StormWorker::drop(const std::vector<LeaseId>& leases) {
  for (LeaseId lease : leases) {
    const auto found = held_.find(lease);
    if (found != held_.end() && !found->second.ended) held_.erase(found);
  }
}

void StormWorker::step() {
  if (held_.empty() || random_.chance(40)) {
    if (seen_ + 4 > held_.size())
      peer_->send(protocol::Credit{{{"io", seen_ - std::min(seen_, held_.size()) + 4}}});
    return;
  }
  auto at = held_.begin();
  std::advance(at, static_cast<std::ptrdiff_t>(random_.below(held_.size())));
  Held& held = at->second;
  if (held.ended) return send_outcome(held);
  if (!held.started && random_.chance(60)) {
    held.started = true;
    peer_->send(protocol::Started{{at->first}});
    return;
  }
  end(held, random_.below(6));
}

void StormWorker::end(Held& held, std::uint64_t how) {
  held.ended = true;
  Outcome outcome{held.delivery.lease, held.delivery.job, {}, {}, Duration{-1}, Duration{1}};
  if (how == 0) {
    outcome.error = "refused";
    held.outcome = protocol::Nack{{outcome}};
  } else if (how == 1) {
    outcome.error = "bad";
    held.outcome = protocol::Reject{{outcome}};
  } else if (how == 3) {
    held.outcome = protocol::Release{{outcome}};
  } else {
    outcome.result = Payload::text(fmt::format("{}", held.delivery.lease.value));
    held.outcome = protocol::Ack{{outcome}};
  }
  send_outcome(held);
}

void StormWorker::send_outcome(Held& held) { peer_->send(held.outcome); }

void StormWorker::finish_all() {
  for (auto& [lease, held] : held_) {
    if (held.ended) {
      send_outcome(held);
    } else {
      end(held, 2);
    }
  }
}

void StormWorker::die() {
  peer_->disconnect();
  peer_->beats = false;
  peer_ = &broker_.stranger(protocol::Role::worker);
  held_.clear();
  session_ = false;
  seen_ = 0;
}

// ---- producer
// ------------------------------------------------------------------------------------

StormProducer::StormProducer(EngineHarness& broker, TestRandom& random, std::string queue)
    : broker_(broker),
      random_(random),
      peer_(&broker.stranger(protocol::Role::producer)),
      queue_(std::move(queue)) {}

void StormProducer::reconnect() {
  if (session_ && peer_->connection()) return;
  session_ = true;
  peer_->hello();
  receive();
  send_again();
}

void StormProducer::send_again() {
  for (auto& [correlation, message] : std::exchange(pending_, {})) {
    const std::uint64_t again = peer_->send(message);
    pending_.emplace(again, std::move(message));
  }
  for (const auto& [id, batch] : batches_)
    if (!batch.end) peer_->send(protocol::Watch{id, batch.cursor});
}

void StormProducer::step() {
  if (pending_.size() > 5 || random_.chance(50)) {
    if (!jobs_.empty() && random_.chance(20))
      peer_->send(protocol::Cancel{{random_.pick(jobs_)}, {}, {}});
    return;
  }
  std::vector<protocol::NewJob> batch;
  for (std::uint64_t i = 0, count = 1 + random_.below(8); i < count; ++i) {
    batch.push_back(job(random_.chance(50) ? "x" : "y"));
    batch.back().priority = static_cast<int>(random_.below(3));
    if (random_.chance(20)) batch.back().delay = Duration{random_.below(2000)};
  }
  protocol::Message message = peer_->enqueue_message(std::move(batch), {.queue = queue_});
  const std::uint64_t correlation = peer_->send(message);
  pending_.emplace(correlation, std::move(message));
}

void StormProducer::receive() {
  for (Envelope& envelope : std::exchange(peer_->inbox, {})) handle(std::move(envelope));
}

void StormProducer::handle(Envelope envelope) {
  if (lost_session(envelope.message)) {
    session_ = false;
  } else if (const auto* enqueued = std::get_if<protocol::Enqueued>(&envelope.message)) {
    if (pending_.erase(envelope.correlation) != 0) accept(*enqueued);
  } else if (const auto* results = std::get_if<protocol::Results>(&envelope.message)) {
    accept(*results);
  }
}

void StormProducer::accept(const protocol::Enqueued& answer) {
  for (std::uint64_t i = 0; i < answer.count; ++i) jobs_.emplace_back(answer.first.value + i);
  batches_[answer.batch].total = answer.count;
  peer_->send(protocol::Watch{answer.batch, {}});
}

void StormProducer::accept(const protocol::Results& results) {
  Batch& batch = batches_.at(results.batch);
  // Not the continuation of what it has: something was lost, WATCH will bring it again.
  if (results.from != batch.cursor) return;
  for (const protocol::ResultRow& row : results.rows) ++batch.rows[row.job];
  batch.cursor = results.cursor;
  batch.end = batch.end || results.end;
}

bool StormProducer::streams_ended() const {
  for (const auto& [id, batch] : batches_)
    if (!batch.end) return false;
  return true;
}

}  // namespace millrace::broker
