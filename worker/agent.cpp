#include "worker/agent.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <stdexcept>

#include "common/util/clock.h"
#include "common/util/instrument.h"
#include "common/util/log.h"
#include "common/util/parse.h"

namespace millrace::worker {
namespace {

/// A broker that is there answers sooner; until then there is nothing to tell.
constexpr Duration kFirstContactQuiet{300};
constexpr Duration kWaitingLineEvery{30'000};
constexpr Duration kResumeAgainAfter{1000};
constexpr std::string_view kDismissed = "dismissed";
/// For runs that were asked to stop, beyond the grace.
constexpr Duration kStopPatience{2000};

template <class... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};
template <class... Handlers>  // clang 14 does not deduce aggregates
Overloaded(Handlers...)->Overloaded<Handlers...>;

std::string tally_text(const Tally& tally) {
  return fmt::format("ran {} job{} ({} failed)", tally.ran, tally.ran == 1 ? "" : "s",
                     tally.failed);
}

}  // namespace

/// The peer is made by the thread that uses it, so it comes later than the workbench.
class Agent::PeerLink final : public Link {
 public:
  explicit PeerLink(std::unique_ptr<net::Peer>& peer) : peer_(peer) {}
  void tell(const protocol::Message& message) override { peer_->tell(message); }
  std::uint64_t request(protocol::Message message) override {
    return peer_->request(std::move(message));
  }
  void forget(std::uint64_t correlation) override { peer_->forget(correlation); }

 private:
  std::unique_ptr<net::Peer>& peer_;
};

Agent::Agent(AgentOptions options, const Registry& registry, const std::vector<PoolSpec>& pools,
             CompletionQueue& completions, OutputBuffer& outputs, ChildJobs& children)
    : options_(std::move(options)),
      registry_(registry),
      completions_(completions),
      link_(std::make_unique<PeerLink>(peer_)),
      bench_(*link_, registry, pools, outputs, children) {}

Agent::~Agent() = default;

void Agent::stop(int signal) noexcept {
  int none = 0;
  stop_signal_.compare_exchange_strong(none, signal);
  completions_.wakeup().notify();
}

Farewell Agent::run() {
  try {
    peer_ = std::make_unique<net::Peer>(net::PeerOptions{
        .endpoint = options_.endpoint, .role = protocol::Role::worker, .name = options_.name});
  } catch (const std::runtime_error& error) {
    return {exit_code(ErrorCode::usage), error.what()};
  }
  const std::array<int, 1> wake{completions_.wakeup().fd()};
  Instant now = read_clocks().mono;
  say_again_at_ = now + kFirstContactQuiet;
  while (!finished(now)) {
    std::vector<net::Event> events = peer_->poll(until_next(now), wake);
    completions_.wakeup().clear();
    now = read_clocks().mono;
    for (net::Event& event : events) handle(std::move(event), now);
    bench_.complete(completions_.take());
    if (const int signal = stop_signal_.load(); signal != 0)
      begin_stop(signal == SIGINT ? "Ctrl-C" : "SIGTERM", "; once more ends at once", now);
    if (resume_again_at_ && now >= *resume_again_at_) send_resume(now);
    bench_.turn(now);
    peer_->set_heartbeat(bench_.heartbeat());
    say_where_we_are(now);
  }
  instrument::crash_point("worker.before_bye");
  peer_->tell(protocol::Bye{});
  peer_.reset();  // hands over what was sent, BYE included, for a second at most
  return farewell();
}

// ---- what happens ------------------------------------------------------------------------------

void Agent::handle(net::Event event, Instant now) {
  std::visit(Overloaded{
                 [&](net::Connected& connected) { on_connected(connected.welcome, now); },
                 [&](net::Lost&) {
                   log::warn("lost the broker at {}; what runs goes on ({}), results are kept",
                             peer_->endpoint(), bench_.running());
                   say_again_at_ = now + kWaitingLineEvery;
                 },
                 [&](net::Replied& replied) { on_reply(std::move(replied), now); },
                 [&](net::Pushed& pushed) { on_push(std::move(pushed.message), now); },
             },
             event);
}

void Agent::on_connected(const protocol::Welcome& welcome, Instant now) {
  log::info("{} to the broker at {} (version {})", was_connected_ ? "connected again" : "connected",
            peer_->endpoint(), welcome.broker);
  was_connected_ = true;
  bench_.connected(welcome);
  instrument::crash_point("worker.before_offer");
  protocol::Offer offer;
  offer.queues = options_.queues;
  offer.pools = bench_.slots();
  offer.until = options_.until;
  for (const auto& [name, kind] : registry_.kinds()) {
    offer.kinds.emplace(name, kind.pool);
    if (kind.options != protocol::KindOptions{}) offer.kind_options.emplace(name, kind.options);
  }
  peer_->tell(std::move(offer));
  // The broker answers with the numbers that credit is counted in; until then none is told.
  send_resume(now);
}

void Agent::send_resume(Instant now) {
  resume_again_at_.reset();
  if (resume_ != 0) peer_->forget(resume_);  // only the newest one is true
  instrument::crash_point("worker.before_resume");
  resume_ = peer_->request(bench_.resume(now));
  instrument::crash_point("worker.after_resume");
}

void Agent::on_reply(net::Replied replied, Instant now) {
  const auto* error = std::get_if<protocol::ErrorReply>(&replied.message);
  if (replied.correlation == resume_) {
    resume_ = 0;
    if (const auto* resumed = std::get_if<protocol::Resumed>(&replied.message)) {
      bench_.resumed(*resumed);
    } else {
      if (error != nullptr) log::warn("the broker refused RESUME: {}", error->message);
      resume_again_at_ = now + kResumeAgainAfter;
    }
    return;
  }
  if (bench_.answered(replied.correlation, replied.message, now) || error == nullptr) return;
  // What is left is the answer to HELLO.
  log::error("the broker refused this worker: {}: {}", error->code, error->message);
  if (!error->retryable) refused_ = Farewell{exit_code(error_code(error->code)), "leaving"};
}

void Agent::on_push(protocol::Message message, Instant now) {
  std::visit(
      Overloaded{
          [&](protocol::Jobs& jobs) { bench_.deliver(std::move(jobs)); },
          [&](protocol::Cancel& cancel) {
            log::debug("{} leases revoked: {}", cancel.leases.size(), cancel.reason);
            instrument::crash_point("worker.before_revoke");
            bench_.revoke(cancel.leases,
                          cancel.reason == "timeout" ? StopReason::timeout : StopReason::cancelled);
          },
          [&](protocol::Recall& recall) { bench_.recall(recall.leases); },
          [&](protocol::ResumeWanted&) { send_resume(now); },
          [&](protocol::Drained& drained) { on_drained(std::move(drained), now); },
          [&](protocol::ErrorReply& error) {
            log::warn("the broker says {}: {}", error.code, error.message);
            const ErrorCode code = error_code(error.code);
            // Nothing this worker sends without asking can be refused for ever but its OFFER.
            if (code == ErrorCode::bad_request || code == ErrorCode::not_allowed)
              refused_ = Farewell{exit_code(code), "the broker does not take this worker's offer"};
          },
          [](auto&) {},
      },
      message);
}

// ---- leaving -----------------------------------------------------------------------------------

void Agent::on_drained(protocol::Drained drained, Instant now) {
  bench_.close();
  // Drained queues have no job that could still run; who is dismissed may be in the midst of it.
  if (drained.reason == kDismissed) begin_stop("the operator's word", {}, now);
  drained_ = std::move(drained);
}

void Agent::begin_stop(std::string_view whose, std::string_view hint, Instant now) {
  if (grace_ends_at_) return;
  grace_ends_at_ = now + options_.grace;
  bench_.close();
  if (bench_.running() == 0)
    log::info("stopping on {}", whose);
  else
    log::info("stopping on {}: running jobs ({}) have {} to finish{}", whose, bench_.running(),
              format_duration(options_.grace), hint);
}

bool Agent::finished(Instant now) {
  if (refused_) return true;
  if (!drained_ && !grace_ends_at_) return false;
  // Leases given back need no answer when there is nobody to answer: silence gives them back too.
  const bool nothing_to_tell = bench_.running() == 0 && bench_.unsettled_results() == 0;
  if (bench_.held() == 0 && nothing_to_tell) return true;
  if (!grace_ends_at_) return bench_.held() == 0;  // drained; only a revoked run is left
  if (!peer_->connected() && nothing_to_tell) return true;
  if (now < *grace_ends_at_) return false;
  if (!runs_stopped_ && bench_.running() > 0) {
    log::info("the grace time is over: {} jobs are asked to stop and given back", bench_.running());
    bench_.stop_runs();
  }
  runs_stopped_ = true;
  return now >= *grace_ends_at_ + kStopPatience;
}

Farewell Agent::farewell() const {
  if (refused_) return *refused_;
  std::string text = drained_ ? drained_text(*drained_, bench_.tally())
                              : fmt::format("stopped; {}", tally_text(bench_.tally()));
  if (!grace_ends_at_) return {kExitOk, std::move(text)};
  if (bench_.tally().released > 0) text += fmt::format(", gave {} back", bench_.tally().released);
  if (bench_.running() > 0) text += fmt::format(", left {} that did not stop", bench_.running());
  return {kExitOk, std::move(text)};
}

std::string drained_text(const protocol::Drained& drained, const Tally& tally) {
  if (drained.reason == kDismissed)
    return fmt::format("dismissed by the operator; {}", tally_text(tally));
  const bool empty = drained.reason == "empty";
  std::string text;
  for (const protocol::QueueGeneration& entry : drained.queues) {
    if (!text.empty()) text += ", ";
    text +=
        empty ? fmt::format("queue `{}` is empty", entry.queue)
              : fmt::format("queue `{}` is drained (generation {})", entry.queue, entry.generation);
  }
  if (text.empty()) text = empty ? "nothing is ready" : "every queue is drained";
  if (tally.ran > 0) return fmt::format("{}; {}", text, tally_text(tally));
  if (empty) return text + ": nothing to do";
  const std::string first = drained.queues.empty() ? kQueueDefault : drained.queues.front().queue;
  return fmt::format(
      "{}: enqueue first, or `millrace-producer open {}`, or start with `--until forever`", text,
      first);
}

// ---- time --------------------------------------------------------------------------------------

void Agent::say_where_we_are(Instant now) {
  if (peer_->connected()) say_again_at_ = now + kFirstContactQuiet;
  if (now < say_again_at_) return;
  log::info("waiting for the broker at {}", peer_->endpoint());
  say_again_at_ = now + kWaitingLineEvery;
}

Duration Agent::until_next(Instant now) const {
  Instant next = now + kHeartbeat;
  const auto sooner = [&](std::optional<Instant> at) {
    if (at) next = std::min(next, *at);
  };
  sooner(bench_.next_deadline());
  sooner(resume_again_at_);
  if (!peer_->connected()) sooner(say_again_at_);
  if (grace_ends_at_) sooner(runs_stopped_ ? *grace_ends_at_ + kStopPatience : *grace_ends_at_);
  return std::max(Duration{0}, next - now);
}

}  // namespace millrace::worker
