#include "worker/workbench.h"

#include <algorithm>

#include "common/assert.h"
#include "common/util/instrument.h"
#include "common/util/log.h"
#include "common/util/parse.h"
#include "worker/text.h"

namespace millrace::worker {

using State = HeldLease::State;

namespace {

/// Of its mean run time, what a slot may have before it.
constexpr std::chrono::microseconds kBatchSpan{2000};

std::string shortened(std::string text) {
  if (text.empty()) return "failed";
  text.resize(utf8_prefix(text, Limits{}.error_bytes_max).size());
  return text;
}

}  // namespace

Workbench::Workbench(Link& link, const Registry& registry, const std::vector<PoolSpec>& pools,
                     OutputBuffer& outputs, ChildJobs& children)
    : link_(link),
      registry_(registry),
      outputs_(outputs),
      output_sender_(link, outputs),
      children_(children),
      child_sender_(link, children),
      result_bytes_max_(Limits{}.result_bytes_max) {
  MR_ASSERT(!pools.empty());
  for (const PoolSpec& pool : pools) {
    const std::size_t count = pool.executor->slots();
    pools_.push_back({pool.name, pool.executor, Credit(count)});
  }
}

// ---- the session -------------------------------------------------------------------------------

void Workbench::connected(const protocol::Welcome& welcome) {
  output_sender_.connected(welcome);
  child_sender_.connected(welcome);
  if (welcome.result_bytes_max > 0) result_bytes_max_ = welcome.result_bytes_max;
  leases_max_ = welcome.leases_max > 0 ? welcome.leases_max : Limits{}.leases_per_worker_max;
  std::uint64_t slots_total = 0;
  for (Pool& pool : pools_) {
    slots_total += pool.credit.slots();
    // Even if the broker calls the session known: a HELLO that was repeated while the broker
    // started is answered so although the numbers begin at 1.
    pool.credit.forget_numbers();
  }
  share_leases();
  if (slots_total > leases_max_)
    log::warn(
        "{} slots, but the broker gives one worker at most {} leases: they are not all busy "
        "at once",
        slots_total, leases_max_);
}

void Workbench::resumed(const protocol::Resumed& resumed) {
  drop(resumed.drop);
  output_sender_.resumed();
  for (Pool& pool : pools_) {
    const auto delivered = resumed.delivered.find(pool.name);
    pool.credit.learn_numbers(delivered == resumed.delivered.end() ? 0 : delivered->second);
  }
}

/// RESUMED.drop. An outcome on its way is not touched at first: its SETTLED may have been passed by
/// this answer. When a second RESUMED drops it too, its SETTLED was lost.
void Workbench::drop(const std::vector<LeaseId>& leases) {
  std::vector<LeaseId> gone;
  for (const LeaseId lease : leases) {
    HeldLease* held = book_.find(lease);
    if (held == nullptr) continue;
    if (held->state != State::unsettled) {
      gone.push_back(lease);
    } else if (++held->drops > 1) {
      if (const auto correlation = outbox_.drop(lease)) link_.forget(*correlation);
      outputs_.discard(lease);
      child_sender_.discard(lease);
      finish(lease);
    }
  }
  if (!gone.empty())
    log::info("leases the broker has taken back: {}; their runs are stopped", gone.size());
  revoke(gone, StopReason::dropped);
}

protocol::Heartbeat Workbench::heartbeat() const {
  protocol::Heartbeat beat{.credit = {}, .held = book_.held(), .held_hash = book_.held_hash()};
  for (const Pool& pool : pools_)
    if (const auto upto = pool.credit.upto()) beat.credit.emplace(pool.name, *upto);
  return beat;
}

std::map<std::string, std::uint64_t> Workbench::slots() const {
  std::map<std::string, std::uint64_t> slots;
  for (const Pool& pool : pools_) slots.emplace(pool.name, pool.credit.slots());
  return slots;
}

// ---- what arrives ------------------------------------------------------------------------------

std::size_t Workbench::pool_index(const std::string& name, const std::string& kind) const {
  const Kind* known = registry_.find(kind);
  std::size_t fallback = 0;
  for (std::size_t i = 0; i < pools_.size(); ++i) {
    if (pools_[i].name == name) return i;
    if (known != nullptr && pools_[i].name == known->pool) fallback = i;
  }
  return fallback;
}

void Workbench::deliver(protocol::Jobs jobs) {
  instrument::crash_point("worker.after_delivery");
  for (protocol::Delivery& delivery : jobs.items) {
    const LeaseId lease = delivery.lease;
    const std::uint64_t number = delivery.number;
    const std::size_t index = pool_index(jobs.pool, delivery.kind);
    HeldLease* held = book_.add(std::move(delivery), index);
    if (held == nullptr) {
      log::warn("lease {} was delivered twice; the second delivery is left alone", lease.value);
      continue;
    }
    Pool& pool = pools_[index];
    pool.credit.deliver(number);
    if (closed_) {
      release(*held);
    } else if (registry_.find(held->delivery.kind) == nullptr) {
      protocol::Outcome unknown;
      unknown.error =
          fmt::format("unknown_kind: this worker has no handler of kind `{}`", held->delivery.kind);
      put(Verb::nack, *held, std::move(unknown));
    } else {
      pool.waiting.push_back(lease);
    }
  }
}

void Workbench::complete(std::vector<Completion> completions) {
  for (Completion& completion : completions) complete(std::move(completion));
}

void Workbench::complete(Completion completion) {
  HeldLease* held = book_.find(completion.lease);
  MR_ASSERT(held != nullptr && held->started_at, "completion of lease {}", completion.lease.value);
  Pool& pool = pools_[held->pool];
  --pool.started;
  if (held->delivery.timeout > Duration{0})
    deadlines_.erase({*held->started_at + held->delivery.timeout, completion.lease});
  if (completion.stopped == StopReason::none) pool.credit.measure(completion.elapsed);
  if (held->state == State::revoked) {
    finish(completion.lease);
    return;
  }
  const Verb verb = judge(completion, *held);
  if (verb == Verb::release) {
    held->elapsed = {};
    release(*held);
    return;
  }
  ++tally_.ran;
  if (verb != Verb::ack) {
    ++tally_.failed;
    log::debug("job {} failed at attempt {}: {}", held->delivery.job.value, held->delivery.attempt,
               completion.outcome.error);
  }
  protocol::Outcome outcome;
  outcome.elapsed = std::chrono::ceil<Duration>(completion.elapsed);
  // By this the broker tells a timeout from another failure; the thread's clock began a bit later.
  if (completion.stopped == StopReason::timeout)
    outcome.elapsed = std::max(outcome.elapsed, held->delivery.timeout);
  if (verb == Verb::ack)
    outcome.result = std::move(completion.outcome.result);
  else
    outcome.error = shortened(std::move(completion.outcome.error));
  if (verb == Verb::nack && completion.outcome.delay) outcome.delay = *completion.outcome.delay;
  // What we stopped was meant to end, however it did.
  outcome.crashed =
      verb == Verb::nack && completion.crashed && completion.stopped == StopReason::none;
  put(verb, *held, std::move(outcome));
}

/// What is told of a run that returned; `completion.outcome` is changed to match.
Verb Workbench::judge(Completion& completion, const HeldLease& held) {
  Outcome& outcome = completion.outcome;
  if (completion.stopped == StopReason::timeout)
    outcome = Outcome::nack(
        fmt::format("timeout: no result within {}", format_duration(held.delivery.timeout)));
  if (outcome.verdict == Outcome::Verdict::ack && outcome.result.size() > result_bytes_max_)
    outcome = Outcome::reject(fmt::format("result_too_large: {} bytes, the broker's limit is {}",
                                          outcome.result.size(), result_bytes_max_));
  switch (outcome.verdict) {
    case Outcome::Verdict::ack:
      return Verb::ack;
    case Outcome::Verdict::reject:
      return Verb::reject;
    case Outcome::Verdict::nack:
      break;
  }
  // It failed because we wanted it to end: the job is not to blame.
  return completion.stopped == StopReason::shutdown ? Verb::release : Verb::nack;
}

void Workbench::put(Verb verb, HeldLease& held, protocol::Outcome outcome) {
  outcome.lease = held.delivery.lease;
  outcome.job = held.delivery.job;
  held.delivery.payload = {};
  book_.end(held, outcome.elapsed);
  pools_[held.pool].credit.answer();
  outbox_.hold(verb, std::move(outcome));
  // Not before all that its run enqueued is answered: see ChildSender.
  if (!children_.has_open(held.delivery.lease)) let_go_after_output(held.delivery.lease);
}

void Workbench::let_go_after_children() {
  for (const LeaseId lease : child_sender_.take_closed())
    if (!children_.has_open(lease) && outbox_.is_held(lease)) let_go_after_output(lease);
}

/// Nor before all that its run left behind is settled: see OutputSender.
void Workbench::let_go_after_output(LeaseId lease) {
  if (const auto over = outputs_.end(lease)) let_go(*over);
}

/// Nothing of this run's output is on its way any more: so its outcome may go.
void Workbench::let_go(const OutputBuffer::Ended& run) {
  std::optional<Outbox::Held> held = outbox_.take_held(run.lease);
  if (!held) return;
  if (run.chunk_lost && held->verb == Verb::ack) {
    held->verb = Verb::nack;
    held->outcome.result = {};
    held->outcome.error = "output_refused: the broker did not take a part of the result";
    ++tally_.failed;
  }
  outbox_.add(held->verb, std::move(held->outcome));
}

void Workbench::release(HeldLease& held) {
  ++tally_.released;
  put(Verb::release, held, {});
}

/// The delivery is over: nothing of it counts any more.
void Workbench::finish(LeaseId lease) {
  const HeldLease& held = *book_.find(lease);
  Credit& credit = pools_[held.pool].credit;
  if (held.state == State::unsettled)
    credit.settle();
  else
    credit.finish();
  book_.erase(lease);
  static_cast<void>(outputs_.end(lease));
}

void Workbench::revoke(const std::vector<LeaseId>& leases, StopReason reason) {
  for (const LeaseId lease : leases) {
    HeldLease* held = book_.find(lease);
    if (held == nullptr) continue;
    if (held->state == State::waiting) {
      finish(lease);
    } else if (held->state == State::running) {
      book_.revoke(*held);
      outputs_.discard(lease);
      child_sender_.discard(lease);
      pools_[held->pool].executor->cancel(lease, reason);
    }
    // An outcome that is on its way gets its SETTLED, saying `cancelled`.
  }
}

void Workbench::recall(const std::vector<LeaseId>& leases) {
  for (const LeaseId lease : leases) {
    HeldLease* held = book_.find(lease);
    if (held != nullptr && held->state == State::waiting) release(*held);
  }
}

bool Workbench::answered(std::uint64_t correlation, const protocol::Message& reply, Instant now) {
  if (const auto over = output_sender_.answered(correlation, reply, now)) {
    for (const OutputBuffer::Ended& run : *over) let_go(run);
    return true;
  }
  if (child_sender_.answered(correlation, reply, now)) return true;
  const auto* error = std::get_if<protocol::ErrorReply>(&reply);
  if (error != nullptr && error->retryable)
    return outbox_.postpone(correlation, now + std::max(error->after, kSendAgainAfter));
  const std::optional<Outbox::Parcel> parcel = outbox_.take(correlation);
  if (!parcel) return false;
  if (error != nullptr)
    log::error("the broker refused {} outcomes: {}: {}", parcel->items.size(), error->code,
               error->message);
  const auto* settled = std::get_if<protocol::Settled>(&reply);
  instrument::crash_point("worker.before_settled");
  settle(*parcel, settled != nullptr ? *settled : protocol::Settled{});
  instrument::crash_point("worker.after_settled");
  return true;
}

void Workbench::settle(const Outbox::Parcel& parcel, const protocol::Settled& settled) {
  const std::size_t told = std::min(settled.leases.size(), settled.statuses.size());
  std::size_t lost = 0;
  std::string first;
  for (std::size_t i = 0; i < told && parcel.verb != Verb::release; ++i) {
    const protocol::ItemStatus status = settled.statuses[i];
    if (status == protocol::ItemStatus::ok || status == protocol::ItemStatus::duplicate) continue;
    const HeldLease* held = book_.find(settled.leases[i]);
    if (held == nullptr || ++lost > 1) continue;
    first = fmt::format("job {} (attempt {}): {}", held->delivery.job.value, held->delivery.attempt,
                        status == protocol::ItemStatus::cancelled
                            ? "cancelled"
                            : "stale, its lease is not ours any more");
  }
  if (lost == 1) log::info("a result was not taken: {}", first);
  if (lost > 1) log::info("{} results were not taken, the first of {}", lost, first);
  for (const protocol::Outcome& item : parcel.items)
    if (book_.find(item.lease) != nullptr) finish(item.lease);
}

// ---- leaving -----------------------------------------------------------------------------------

void Workbench::close() {
  closed_ = true;
  for (Pool& pool : pools_) pool.waiting.clear();
  for (const LeaseId lease : book_.in_state(State::waiting)) release(*book_.find(lease));
}

void Workbench::stop_runs() {
  for (const LeaseId lease : book_.in_state(State::running))
    pools_[book_.find(lease)->pool].executor->cancel(lease, StopReason::shutdown);
}

// ---- the turn ----------------------------------------------------------------------------------

void Workbench::turn(Instant now) {
  stop_overdue(now);
  start_waiting(now);
  look_after_batches(now);
  child_sender_.turn(now);
  let_go_after_children();
  output_sender_.turn(now);
  for (Outbox::Parcel& parcel : outbox_.pack(now)) {
    const bool is_release = parcel.verb == Verb::release;
    instrument::crash_point(is_release ? "worker.before_release" : "worker.before_outcome");
    const std::uint64_t correlation = link_.request(to_message(parcel));
    instrument::crash_point(is_release ? "worker.after_release" : "worker.after_outcome");
    outbox_.keep(correlation, std::move(parcel));
  }
  outputs_.set_outcome_bytes(outbox_.bytes());
  if (!closed_) send_credit();
}

void Workbench::stop_overdue(Instant now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const LeaseId lease = deadlines_.extract(deadlines_.begin()).value().second;
    pools_[book_.find(lease)->pool].executor->cancel(lease, StopReason::timeout);
  }
}

/// Of short jobs a slot gets several, so that none of them costs a round through the agent. Not
/// those with a timeout, which counts from here, and not those that were tried before: one that
/// takes its worker down is then alone in its slot, and the broker knows that it ran.
bool Workbench::may_start(const Pool& pool, const protocol::Delivery& delivery) {
  if (pool.started < pool.credit.slots()) return true;
  if (delivery.deliveries > 1 || delivery.timeout > Duration{0}) return false;
  const std::size_t depth =
      std::min<std::size_t>(pool.executor->depth_max(), pool.credit.run_mean().within(kBatchSpan));
  return pool.started < pool.credit.slots() * depth;
}

void Workbench::start_waiting(Instant now) {
  protocol::Started started;
  std::vector<std::vector<Job>> jobs(pools_.size());
  for (std::size_t i = 0; i < pools_.size(); ++i) {
    Pool& pool = pools_[i];
    while (!pool.waiting.empty()) {
      const LeaseId lease = pool.waiting.front();
      HeldLease* held = book_.find(lease);
      if (held == nullptr || held->state != State::waiting) {
        pool.waiting.pop_front();
        continue;
      }
      protocol::Delivery& delivery = held->delivery;
      if (!may_start(pool, delivery)) break;
      pool.waiting.pop_front();
      book_.start(*held, now);
      if (delivery.timeout > Duration{0}) deadlines_.emplace(now + delivery.timeout, lease);
      // One that waits in a slot behind others is not charged if this worker is lost.
      if (++pool.started <= pool.credit.slots()) started.leases.push_back(lease);
      jobs[i].push_back({.id = delivery.job,
                         .kind = std::move(delivery.kind),
                         .queue = std::move(delivery.queue),
                         .payload = std::move(delivery.payload),
                         .attempt = delivery.attempt,
                         .max_attempts = delivery.max_attempts,
                         .deliveries = delivery.deliveries,
                         .lease = lease,
                         .timeout = delivery.timeout});
    }
  }
  if (!started.leases.empty()) {
    // Told before any handler begins: if this process dies in one, the broker knows which jobs ran.
    instrument::crash_point("worker.before_started");
    link_.tell(std::move(started));
    instrument::crash_point("worker.after_started");
  }
  for (std::size_t i = 0; i < pools_.size(); ++i)
    if (!jobs[i].empty()) pools_[i].executor->start(std::move(jobs[i]));
}

void Workbench::look_after_batches(Instant now) {
  const bool due = look_again_at_ && now >= *look_again_at_;
  bool batching = false;
  for (const Pool& pool : pools_) {
    if (!pool.is_batching()) continue;
    batching = true;
    if (due) pool.executor->look_after();
  }
  if (!batching)
    look_again_at_.reset();
  else if (due || !look_again_at_)
    look_again_at_ = now + kBatchLook;
}

/// A pool may have what the others do not hold just now, but for a part that each can always get,
/// so that none waits for the long runs of another. The broker itself keeps the sum within its
/// limit.
void Workbench::share_leases() {
  const std::uint64_t part = std::max<std::uint64_t>(1, leases_max_ / (2 * pools_.size()));
  const auto kept = [&](const Pool& pool) {
    return std::max(pool.credit.held(), std::min(pool.credit.slots(), part));
  };
  std::uint64_t all = 0;
  for (const Pool& pool : pools_) all += kept(pool);
  for (Pool& pool : pools_) {
    const std::uint64_t others = all - kept(pool);
    pool.credit.limit(std::max<std::uint64_t>(1, leases_max_ - std::min(leases_max_, others)));
  }
}

void Workbench::send_credit() {
  if (outputs_.is_full()) return;
  share_leases();
  protocol::Credit credit;
  for (Pool& pool : pools_) {
    pool.credit.raise();
    if (!pool.credit.is_due()) continue;
    credit.upto.emplace(pool.name, *pool.credit.upto());
    pool.credit.told();
  }
  if (!credit.upto.empty()) link_.tell(std::move(credit));
}

std::optional<Instant> Workbench::next_deadline() const {
  std::optional<Instant> next = outbox_.next_due();
  const auto sooner = [&](std::optional<Instant> at) {
    if (at && (!next || *at < *next)) next = at;
  };
  sooner(output_sender_.next_due());
  sooner(child_sender_.next_due());
  sooner(look_again_at_);
  if (!deadlines_.empty()) sooner(deadlines_.begin()->first);
  return next;
}

}  // namespace millrace::worker
