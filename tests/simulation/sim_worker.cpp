#include "tests/simulation/sim_worker.h"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::simulation {
namespace {

constexpr std::size_t kOldOutcomesMax = 64;
constexpr Duration kResumeAgainAfter{4000};
/// Of request ids; producers have their own numbers.
constexpr std::uint64_t kChildPrefixes = 1'000'000;

}  // namespace

std::optional<std::pair<Verb, const std::vector<protocol::Outcome>*>> outcomes_of(
    const protocol::Message& message) {
  if (const auto* ack = std::get_if<protocol::Ack>(&message)) return {{Verb::ack, &ack->items}};
  if (const auto* nack = std::get_if<protocol::Nack>(&message)) return {{Verb::nack, &nack->items}};
  if (const auto* reject = std::get_if<protocol::Reject>(&message))
    return {{Verb::reject, &reject->items}};
  if (const auto* release = std::get_if<protocol::Release>(&message))
    return {{Verb::release, &release->items}};
  return std::nullopt;
}

SimWorker::SimWorker(World& world, std::uint64_t number)
    : SimPeer(world, protocol::Role::worker, number) {
  for (const char* kind : {"quick", "flaky", "slow", "poison"})
    registry_.add(kind, {"io", [](JobContext&) { return Outcome::ack(); }});
  be_born();
}

SimWorker::~SimWorker() = default;

// ---- life and death ----------------------------------------------------------------------------

void SimWorker::be_born() {
  outputs_ = std::make_unique<worker::OutputBuffer>(wakeup_);
  children_ = std::make_unique<worker::ChildJobs>(
      wakeup_, kChildPrefixes + number() * kLivesMax + ++births_);
  executor_ = std::make_unique<SimExecutor>(world_, random_, static_cast<SimExecutor::Host&>(*this),
                                            *outputs_, *children_,
                                            static_cast<std::size_t>(random_.between(1, 4)));
  bench_ = std::make_unique<worker::Workbench>(
      static_cast<worker::Link&>(*this), registry_,
      std::vector<worker::PoolSpec>{{.name = "io", .executor = executor_.get()}}, *outputs_,
      *children_);
  until_ = protocol::Until::forever;
  if (!world_.healing() && random_.chance(0.3))
    until_ = random_.chance(0.5) ? protocol::Until::drained : protocol::Until::empty;
  leaving_ = false;
  resume_ = 0;
  begin();
}

/// Not in the middle of whatever is going on in this process.
void SimWorker::die_soon(bool silent) {
  world_.after(Duration{0}, [this, silent, life = life()] {
    if (running() && life == this->life()) die(silent);
  });
}

void SimWorker::die(bool silent) {
  if (!running()) return;
  world_.history().died_running(executor_->running(), number());
  end(silent);
  bench_.reset();
  executor_.reset();
  world_.after(random_.spread(Duration{10}, Duration{3000}), [this] { be_born(); });
}

void SimWorker::leave() {
  SimPeer::tell(protocol::Bye{});
  // What was said before the end still arrives, most of the time.
  world_.after(Duration{200}, [this, life = life()] {
    if (!running() || life != this->life()) return;
    end(false);
    bench_.reset();
    executor_.reset();
    world_.after(random_.between(Duration{100}, Duration{3000}), [this] { be_born(); });
  });
}

// ---- the session -------------------------------------------------------------------------------

void SimWorker::on_connected(const protocol::Welcome& welcome) {
  bench_->connected(welcome);
  protocol::Offer offer{
      .queues = {"a", "b"}, .kinds = {}, .pools = bench_->slots(), .until = until_};
  for (const auto& [name, kind] : registry_.kinds()) offer.kinds.emplace(name, kind.pool);
  if (world_.config().faults.has(Fault::kinds))
    offer.kind_options.emplace("quick", protocol::KindOptions{.not_replayable = true});
  SimPeer::tell(std::move(offer));
  send_resume();
}

void SimWorker::send_resume() {
  if (resume_ != 0) SimPeer::forget(resume_);
  resumed_at_ = world_.now().mono;
  resume_ = SimPeer::request(bench_->resume(world_.now().mono));
}

void SimWorker::tell(const protocol::Message& message) {
  if (const auto* started = std::get_if<protocol::Started>(&message))
    for (const LeaseId lease : started->leases) world_.history().started(lease);
  SimPeer::tell(message);
}

std::uint64_t SimWorker::request(protocol::Message message) {
  if (const auto told = outcomes_of(message)) {
    for (const protocol::Outcome& item : *told->second)
      world_.history().outcome_sent(life(), told->first, item);
    if (old_outcomes_.size() < kOldOutcomesMax) old_outcomes_.push_back(message);
  } else if (const auto* output = std::get_if<protocol::Output>(&message)) {
    for (const protocol::OutputItem& item : output->items)
      world_.history().output_sent(life(), item);
    if (old_outcomes_.size() < kOldOutcomesMax) old_outcomes_.push_back(message);
  } else if (const auto* enqueue = std::get_if<protocol::Enqueue>(&message)) {
    world_.history().request_sent(*enqueue);
  }
  return SimPeer::request(std::move(message));
}

// ---- what arrives ------------------------------------------------------------------------------

void SimWorker::on_reply(std::uint64_t correlation, const protocol::Message& asked,
                         protocol::Message reply, Stamp stamp) {
  const auto told = outcomes_of(asked);
  const auto* settled = std::get_if<protocol::Settled>(&reply);
  if (told && settled != nullptr)
    world_.history().settled(life(), told->first, *told->second, *settled, stamp);
  const auto* output = std::get_if<protocol::Output>(&asked);
  if (output != nullptr && settled != nullptr)
    world_.history().output_settled(life(), output->items, *settled);
  const auto* enqueue = std::get_if<protocol::Enqueue>(&asked);
  if (const auto* answer = std::get_if<protocol::Enqueued>(&reply); enqueue && answer)
    world_.history().answered(enqueue->request, *answer);
  if (correlation == resume_) {
    resume_ = 0;
    const auto* resumed = std::get_if<protocol::Resumed>(&reply);
    require(resumed != nullptr, "RESUME was answered by {}", type_name(reply));
    bench_->resumed(*resumed);
  } else {
    bench_->answered(correlation, reply, world_.now().mono);
  }
  turn();
}

void SimWorker::on_push(protocol::Message message, Stamp stamp) {
  if (auto* jobs = std::get_if<protocol::Jobs>(&message)) {
    for (const protocol::Delivery& delivery : jobs->items)
      world_.history().delivered(life(), delivery, stamp);
    bench_->deliver(std::move(*jobs));
  } else if (const auto* cancel = std::get_if<protocol::Cancel>(&message)) {
    if (cancel->reason == "timeout")
      for (const LeaseId lease : cancel->leases) world_.history().timed_out(lease);
    bench_->revoke(cancel->leases, worker::StopReason::cancelled);
  } else if (const auto* recall = std::get_if<protocol::Recall>(&message)) {
    bench_->recall(recall->leases);
  } else if (std::holds_alternative<protocol::ResumeWanted>(message)) {
    send_resume();
  } else if (const auto* drained = std::get_if<protocol::Drained>(&message)) {
    const bool dismissed = drained->reason == "dismissed";
    require(
        dismissed ? world_.config().faults.has(Fault::dismiss) : until_ != protocol::Until::forever,
        "a worker that stays was sent home");
    world_.history().sent_home(*drained, stamp);
    leaving_ = true;
    bench_->close();
  } else if (const auto* error = std::get_if<protocol::ErrorReply>(&message)) {
    throw Violation(fmt::format("the broker says {}: {}", error->code, error->message));
  }
  turn();
}

void SimWorker::completed(worker::Completion completion) {
  std::vector<worker::Completion> completions;
  completions.push_back(std::move(completion));
  bench_->complete(std::move(completions));
  if (!frozen()) turn();
}

/// A closed queue takes the children of its own jobs.
void SimWorker::enqueued(const Job& parent, const std::string& queue,
                         const worker::ChildJobs::Answer& answer) {
  if (answer) return;
  const ErrorCode code = answer.error().code;
  world_.note("job {} may not enqueue: error {}", parent.id.value, millrace::number(code));
  const bool closed = code == ErrorCode::queue_closed && queue != parent.queue;
  require(closed || code == ErrorCode::lease_lost || code == ErrorCode::unique_conflict ||
              code == ErrorCode::queue_full,
          "what job {} enqueues into queue {} was refused: {}", parent.id.value, queue,
          answer.error().message);
}

void SimWorker::turn() {
  bench_->turn(world_.now().mono);
  if (leaving_ && bench_->held() == 0 && bench_->running() == 0) {
    leaving_ = false;
    leave();
  }
}

void SimWorker::on_tick() {
  // Where single messages can vanish, a RESUME or its answer can, too.
  if (resume_ != 0 && connected() && world_.config().faults.has(Fault::loss) &&
      world_.now().mono - resumed_at_ >= kResumeAgainAfter)
    send_resume();
  if (world_.faulty(Fault::zombie) && random_.chance(0.1)) haunt();
  turn();
}

void SimWorker::haunt() {
  std::vector<protocol::Message>& known = random_.pick(world_.workers())->old_outcomes_;
  if (known.empty() || !connected()) return;
  protocol::Message message = random_.pick(known);
  world_.note("worker {} says an old outcome again", number());
  // Even another verb than before must change nothing.
  if (auto* ack = std::get_if<protocol::Ack>(&message); ack != nullptr && random_.chance(0.2))
    message = protocol::Nack{ack->items};
  request(std::move(message));
}

bool SimWorker::at_rest() const { return !running() || bench_->held() == 0; }

std::string SimWorker::describe() const {
  if (!running()) return fmt::format("worker {} is not there", number());
  return fmt::format("worker {}: {} leases, {} run, connected {}", number(), bench_->held(),
                     bench_->running(), connected());
}

}  // namespace millrace::simulation
