#include "producer/batch_run.h"

#include <algorithm>
#include <iterator>

#include "common/util/clock.h"
#include "common/util/instrument.h"
#include "common/util/random.h"

namespace millrace::producer {
namespace {

constexpr Duration kTurn{200};

}  // namespace

void Acknowledged::for_each(const std::function<void(JobId job, bool existing)>& visit) const {
  // New jobs have rising ids without a gap; another id in between was there before.
  JobId next = first;
  const auto jobs = static_cast<std::size_t>(ids.empty() ? count : ids.size());
  for (std::size_t i = 0; i < jobs; ++i) {
    const JobId job = ids.empty() ? next : ids[i];
    const bool is_new = job == next && next.value < first.value + count;
    if (is_new) ++next.value;
    visit(job, !is_new);
  }
}

Status BatchRun::run(JobSource& source, BatchEvents& events) {
  if (Status good = client_.connect(); !good) return good;
  const protocol::Welcome& welcome = client_.welcome();
  const std::size_t broker_max = welcome.enqueue_jobs_max;
  const std::size_t own_max = options_.request_jobs > 0 ? options_.request_jobs : broker_max;
  batcher_.emplace(std::min(own_max, broker_max), welcome.enqueue_bytes_max);
  request_prefix_ = random_u64();
  while (!finished()) {
    Instant now = read_clocks().mono;
    fill(source, now);
    const bool wants_input = idle_ && !next_job_ && !input_ended_;
    auto turn = client_.wait(patience(now), wants_input ? source.fd() : -1);
    if (!turn) return tl::make_unexpected(turn.error());
    now = read_clocks().mono;
    for (net::Event& event : *turn)
      if (Status good = handle(event, events, now); !good) return good;
    resend_due(now);
    watch_if_due(now);
    awaits_.send_due(client_, now);
    if (Status good = events.turned(); !good) return good;
    if (enqueued_ > 0) instrument::crash_point("producer.after_told");
  }
  return {};
}

Status BatchRun::watch(BatchId batch, FinishSeq from, BatchEvents& events) {
  if (Status good = client_.connect(); !good) return good;
  batch_ = batch;
  watch_.emplace(batch, from);
  input_ended_ = sealed_ = true;
  while (!finished()) {
    watch_if_due(read_clocks().mono);
    auto turn = client_.wait(kTurn);
    if (!turn) return tl::make_unexpected(turn.error());
    for (net::Event& event : *turn)
      if (Status good = handle(event, events, read_clocks().mono); !good) return good;
    if (Status good = events.turned(); !good) return good;
  }
  return {};
}

void BatchRun::leave(Duration budget, BatchEvents& events) {
  leaving_ = true;
  const Instant until = read_clocks().mono + budget;
  while (!sealed_ && (!window_.empty() || batch_)) {
    const Instant now = read_clocks().mono;
    if (now >= until) return;
    if (window_.empty() && !seal_sent_) send_seal_alone();
    auto turn = client_.wait(std::min(kTurn, until - now));
    if (!turn) return;
    for (net::Event& event : *turn)
      if (!handle(event, events, now)) return;
    resend_due(now);
  }
}

bool BatchRun::finished() const {
  if (!input_ended_ || next_job_ || !window_.empty()) return false;
  if (awaits_.open() > 0) return false;
  if (!batch_) return batcher_->empty();  // there was nothing new to enqueue
  return sealed_ && (!options_.watch || watch_->ended());
}

/// Moves jobs from the source into requests until the window is full or the source has none.
void BatchRun::fill(JobSource& source, Instant now) {
  idle_ = false;
  while (!input_ended_ || next_job_ || !batcher_->empty()) {
    if (!next_job_ && !input_ended_) {
      protocol::NewJob job;
      const JobSource::Next got = source.next(job);
      input_ended_ = got == JobSource::Next::end;
      idle_ = got == JobSource::Next::idle;
      if (got == JobSource::Next::job) {
        ++taken_;
        next_job_ = std::move(job);
      }
    }
    if (next_job_ && batcher_->fits(*next_job_)) {
      batcher_->add(std::move(*next_job_), now);
      next_job_.reset();
      continue;
    }
    const bool seal = input_ended_ && !next_job_;
    const bool complete = seal || next_job_ || batcher_->patience(now) == Duration{0};
    if (batcher_->empty() || !complete || !window_.can_send(seal)) break;
    send_ready(seal);
  }
  // The last jobs were sent before it was known that they were the last.
  if (input_ended_ && !next_job_ && batcher_->empty() && batch_ && !seal_sent_ && window_.empty())
    send_seal_alone();
}

void BatchRun::send_ready(bool seal) {
  RequestWindow::Request request;
  request.message = {.request = {request_prefix_, ++request_counter_},
                     .queue = options_.queue,
                     .batch = batch_,
                     .seal = seal,
                     .jobs = batcher_->take()};
  request.first_index = requested_;
  requested_ += request.message.jobs.size();
  instrument::crash_point("producer.before_enqueue");
  request.correlation = client_.send(request.message);
  instrument::crash_point("producer.after_enqueue_sent");
  window_.add(std::move(request));
  seal_sent_ = seal_sent_ || seal;
}

void BatchRun::send_seal_alone() {
  RequestWindow::Request request;
  request.message = {.request = {request_prefix_, ++request_counter_},
                     .queue = options_.queue,
                     .batch = batch_,
                     .seal = true,
                     .jobs = {}};
  instrument::crash_point("producer.before_seal");
  request.correlation = client_.send(request.message);
  instrument::crash_point("producer.after_seal_sent");
  window_.add(std::move(request));
  seal_sent_ = true;
}

Duration BatchRun::patience(Instant now) const {
  if (idle_ && !batcher_->empty() && window_.can_send(false))
    return std::min(kTurn, batcher_->patience(now));
  return kTurn;
}

Status BatchRun::handle(net::Event& event, BatchEvents& events, Instant now) {
  if (auto* reply = std::get_if<net::Replied>(&event)) return handle_reply(*reply, events, now);
  if (std::holds_alternative<net::Connected>(event) && watch_) watch_->renew();
  auto* pushed = std::get_if<net::Pushed>(&event);
  if (pushed == nullptr || !watch_ || leaving_) return {};
  if (auto* results = std::get_if<protocol::Results>(&pushed->message)) {
    instrument::crash_point("producer.after_results");
    for (const protocol::ResultRow& row : watch_->accept(std::move(*results))) events.result(row);
  } else if (auto* error = std::get_if<protocol::ErrorReply>(&pushed->message)) {
    if (!error->retryable) return tl::make_unexpected(to_error(*error));
  }
  return {};
}

Status BatchRun::handle_reply(net::Replied& reply, BatchEvents& events, Instant now) {
  std::uint64_t sequence = 0;
  RequestWindow::Request* request = window_.find(reply.correlation, sequence);
  if (request == nullptr) return handle_awaited(reply, events, now), Status{};
  if (auto* enqueued = std::get_if<protocol::Enqueued>(&reply.message)) {
    instrument::crash_point("producer.after_enqueued");
    acknowledge(sequence, *request, *enqueued, events);
    return {};
  }
  const auto* error = std::get_if<protocol::ErrorReply>(&reply.message);
  if (error == nullptr)
    return fail(ErrorCode::internal, "the broker answered ENQUEUE with a message of another type");
  if (!request->refused_since) request->refused_since = now;
  const auto delay = retry_delay(*error);
  if (!delay || now - *request->refused_since > client_.reconnect())
    return tl::make_unexpected(to_error(*error));
  request->correlation = 0;
  request->again_at = now + *delay;
  return {};
}

void BatchRun::acknowledge(std::uint64_t sequence, const RequestWindow::Request& request,
                           protocol::Enqueued& reply, BatchEvents& events) {
  if (!batch_ && reply.batch) {
    batch_ = reply.batch;
    if (options_.watch) watch_.emplace(batch_, FinishSeq{});
  }
  enqueued_ += reply.count;
  if (options_.watch && reply.count > 0) own_.emplace(reply.first, reply.count);
  sealed_ = sealed_ || request.message.seal;
  const Acknowledged acknowledged{sequence,    request.first_index, batch_,
                                  reply.first, reply.count,         std::move(reply.ids)};
  window_.acknowledge(sequence, static_cast<bool>(batch_));
  acknowledged.for_each([&](JobId job, bool existing) {
    if (!existing) return;
    ++existing_;
    if (options_.watch && !is_own(job)) awaits_.add(job);
  });
  // An end that was told before the seal meant only that this producer seemed to be gone.
  if (watch_ && watch_->ended()) watch_->reopen();
  if (acknowledged.count > 0 || !acknowledged.ids.empty()) events.acknowledged(acknowledged);
}

/// The batch's own results come by WATCH, so a job of this run that was awaited, because its own
/// acknowledgement came late, is not told twice.
void BatchRun::handle_awaited(net::Replied& reply, BatchEvents& events, Instant now) {
  const auto answer = awaits_.take(reply, now);
  if (!answer || leaving_ || is_own(answer->job)) return;
  if (answer->row)
    events.result(*answer->row);
  else
    events.missing(answer->job, answer->row.error());
}

bool BatchRun::is_own(JobId job) const {
  const auto after = own_.upper_bound(job);
  if (after == own_.begin()) return false;
  const auto& [first, count] = *std::prev(after);
  return job.value - first.value < count;
}

void BatchRun::resend_due(Instant now) {
  for (RequestWindow::Request* request : window_.due(now))
    request->correlation = client_.send(request->message);
}

void BatchRun::watch_if_due(Instant now) {
  if (watch_ && watch_->due(now)) client_.tell(watch_->next(now));
}

}  // namespace millrace::producer
