#include "tests/support/test_peer.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/support/engine_harness.h"

namespace millrace::broker {

using protocol::Envelope;
using protocol::ItemStatus;
using protocol::Message;

protocol::NewJob job(std::string kind, std::string payload) {
  protocol::NewJob made;
  made.kind = std::move(kind);
  made.payload = Payload::text(std::move(payload));
  return made;
}

std::vector<protocol::NewJob> jobs(std::size_t count, const std::string& kind) {
  return std::vector<protocol::NewJob>(count, job(kind));
}

TestPeer::TestPeer(EngineHarness& harness, protocol::Role role, SessionId session,
                   std::uint64_t prefix)
    : harness_(harness), role_(role), session_(std::move(session)), prefix_(prefix) {}

// ---- session -----------------------------------------------------------------------------------

Message TestPeer::hello() {
  connection_ = harness_.new_connection();
  return hello_again();
}

Message TestPeer::hello_again() {
  protocol::Hello hello;
  hello.role = role_;
  hello.session = session_;
  hello.name = fmt::format("peer-{}", prefix_);
  hello.host = "here";
  hello.pid = static_cast<std::int64_t>(prefix_);
  return request(std::move(hello));
}

void TestPeer::offer(const OfferOptions& options) {
  send(protocol::Offer{options.queues, options.kinds, options.pools, options.until, {}});
  for (const auto& [pool, slots] : options.pools) credit_[pool] = options.credit;
}

protocol::Resumed TestPeer::resume() { return resume(held()); }

protocol::Resumed TestPeer::resume(std::vector<protocol::HeldLease> leases) {
  return ask<protocol::Resumed>(protocol::Resume{std::move(leases)});
}

void TestPeer::credit(std::uint64_t upto, const std::string& pool) {
  credit_[pool] = std::max(credit_[pool], upto);
  send(protocol::Credit{{{pool, upto}}});
  harness_.run();
}

void TestPeer::credit_all() {
  send(protocol::Credit{credit_});
  harness_.run();
}

void TestPeer::beat() {
  protocol::Heartbeat beat;
  if (role_ == protocol::Role::worker) {
    beat.credit = credit_;
    beat.held = held_.size();
    for (const auto& [lease, held] : held_) beat.held_hash ^= protocol::lease_hash(lease);
  }
  harness_.receive({connection_, 0, std::move(beat)});
}

void TestPeer::bye() {
  send(protocol::Bye{});
  harness_.run();
}

void TestPeer::disconnect() { connection_ = {}; }

// ---- messages ----------------------------------------------------------------------------------

std::uint64_t TestPeer::send(Message message) {
  harness_.receive({connection_, ++correlation_, std::move(message)});
  return correlation_;
}

Message TestPeer::request(Message message) {
  const std::string what = describe(message);
  const std::uint64_t correlation = send(std::move(message));
  harness_.run();
  if (auto found = answer(correlation)) return std::move(*found);
  throw std::runtime_error("no answer to " + what);
}

std::string TestPeer::refusal(Message message) {
  const Message answer = request(std::move(message));
  const auto* error = std::get_if<protocol::ErrorReply>(&answer);
  return error == nullptr ? "" : error->code;
}

std::optional<Message> TestPeer::answer(std::uint64_t correlation) {
  const auto found = std::find_if(inbox.begin(), inbox.end(), [&](const Envelope& envelope) {
    return envelope.correlation == correlation;
  });
  if (found == inbox.end()) return std::nullopt;
  Message message = std::move(found->message);
  inbox.erase(found);
  return message;
}

std::string TestPeer::describe(const Message& message) {
  if (const auto* error = std::get_if<protocol::ErrorReply>(&message))
    return fmt::format("error {}: {}", error->code, error->message);
  return std::string(type_name(message));
}

void TestPeer::receive(std::uint64_t correlation, Message message) {
  if (std::holds_alternative<protocol::Heartbeat>(message)) {
    ++heartbeats_answered;
    return;
  }
  note_leases(message);
  inbox.push_back({correlation, std::move(message)});
}

void TestPeer::note_leases(const Message& message) {
  if (const auto* jobs = std::get_if<protocol::Jobs>(&message)) {
    for (const protocol::Delivery& item : jobs->items)
      held_[item.lease] = {.lease = item.lease, .job = item.job, .started = false, .elapsed = {}};
  } else if (const auto* settled = std::get_if<protocol::Settled>(&message)) {
    for (LeaseId lease : settled->leases) held_.erase(lease);
  } else if (const auto* cancel = std::get_if<protocol::Cancel>(&message)) {
    for (LeaseId lease : cancel->leases) held_.erase(lease);
  } else if (const auto* resumed = std::get_if<protocol::Resumed>(&message)) {
    for (LeaseId lease : resumed->drop) held_.erase(lease);
  }
}

// ---- producing ---------------------------------------------------------------------------------

protocol::Enqueue TestPeer::enqueue_message(std::vector<protocol::NewJob> jobs,
                                            const EnqueueOptions& options) {
  const std::uint64_t counter = options.counter != 0 ? options.counter : next_counter();
  return {{prefix_, counter}, options.queue, options.batch, options.seal, std::move(jobs)};
}

protocol::Enqueued TestPeer::enqueue(std::vector<protocol::NewJob> jobs,
                                     const EnqueueOptions& options) {
  return ask<protocol::Enqueued>(enqueue_message(std::move(jobs), options));
}

JobId TestPeer::enqueue_one(protocol::NewJob job, const EnqueueOptions& options) {
  return enqueue({std::move(job)}, options).first;
}

std::string TestPeer::enqueue_refusal(std::vector<protocol::NewJob> jobs,
                                      const EnqueueOptions& options) {
  return refusal(enqueue_message(std::move(jobs), options));
}

protocol::Replay TestPeer::replay_message(std::vector<JobId> jobs, BatchId batch, bool seal) {
  return {{prefix_, next_counter()}, batch, seal, std::move(jobs)};
}

std::vector<ItemStatus> TestPeer::cancel(std::vector<JobId> jobs) {
  return ask<protocol::Outcomes>(protocol::Cancel{std::move(jobs), {}, {}}).statuses;
}

std::vector<ItemStatus> TestPeer::redrive(std::vector<JobId> jobs) {
  return ask<protocol::Outcomes>(protocol::Redrive{std::move(jobs)}).statuses;
}

protocol::QueueInfo TestPeer::close(const std::string& queue, bool wait) {
  return ask<protocol::QueueInfo>(protocol::Close{queue, wait, 0});
}
protocol::QueueInfo TestPeer::open(const std::string& queue) {
  return ask<protocol::QueueInfo>(protocol::Open{queue});
}
protocol::QueueInfo TestPeer::pause(const std::string& queue) {
  return ask<protocol::QueueInfo>(protocol::Pause{queue});
}
protocol::QueueInfo TestPeer::unpause(const std::string& queue) {
  return ask<protocol::QueueInfo>(protocol::Unpause{queue});
}
protocol::QueueInfo TestPeer::queue_info(const std::string& queue) {
  return ask<protocol::Report>(protocol::Stats{queue}).queues.at(0);
}

// ---- working -----------------------------------------------------------------------------------

std::vector<protocol::Delivery> TestPeer::take_jobs() {
  std::vector<protocol::Delivery> all;
  for (protocol::Jobs& message : take<protocol::Jobs>())
    for (protocol::Delivery& item : message.items) all.push_back(std::move(item));
  return all;
}

protocol::Delivery TestPeer::take_job() {
  auto all = take_jobs();
  if (all.size() != 1) throw std::runtime_error(fmt::format("{} jobs are here, not 1", all.size()));
  return std::move(all.front());
}

void TestPeer::start(const protocol::Delivery& delivery) {
  held_[delivery.lease].started = true;
  send(protocol::Started{{delivery.lease}});
  harness_.run();
}

ItemStatus TestPeer::settle_one(Message message) {
  return ask<protocol::Settled>(std::move(message)).statuses.at(0);
}

ItemStatus TestPeer::ack(const protocol::Delivery& delivery, std::string result) {
  return settle_one(protocol::Ack{
      {{delivery.lease, delivery.job, Payload::text(std::move(result)), {}, Duration{-1}, {}}}});
}

ItemStatus TestPeer::nack(const protocol::Delivery& delivery, std::string error, Duration delay) {
  return settle_one(
      protocol::Nack{{{delivery.lease, delivery.job, {}, std::move(error), delay, {}}}});
}

ItemStatus TestPeer::reject(const protocol::Delivery& delivery, std::string error) {
  return settle_one(
      protocol::Reject{{{delivery.lease, delivery.job, {}, std::move(error), Duration{-1}, {}}}});
}

ItemStatus TestPeer::release(const protocol::Delivery& delivery) {
  return settle_one(protocol::Release{{{delivery.lease, delivery.job, {}, {}, Duration{-1}, {}}}});
}

std::vector<protocol::HeldLease> TestPeer::held() const {
  std::vector<protocol::HeldLease> all;
  for (const auto& [lease, held] : held_) all.push_back(held);
  return all;
}

}  // namespace millrace::broker
