#include "tests/simulation/sim_producer.h"

#include <fmt/format.h>

namespace millrace::simulation {
namespace {

using protocol::Enqueue;
using protocol::NewJob;

constexpr std::size_t kWaitingMax = 4;
constexpr Duration kWatchEvery{1000};

}  // namespace

NewJob draw_job(const SimConfig& config, SimRandom& random, Now now, std::string tag) {
  NewJob job;
  job.payload = random.chance(0.05) ? Payload::binary(tag + std::string(1200, 'x'))
                                    : Payload::text(std::move(tag));
  const double what = random.real();
  job.kind = what < 0.5 ? "quick" : what < 0.75 ? "flaky" : what < 0.97 ? "slow" : "alien";
  if (config.faults.has(Fault::poison) && random.chance(0.04)) job.kind = "poison";
  job.priority = static_cast<int>(random.between(0, 2)) * 100;
  job.max_attempts = static_cast<int>(random.between(1, config.max_attempts_max));
  job.backoff = random.spread(Duration{50}, Duration{2000});
  if (random.chance(0.15)) {
    job.delay = random.spread(Duration{20}, Duration{5000});
  } else if (random.chance(0.05)) {
    job.run_at = now.utc + random.spread(Duration{20}, Duration{5000});
  }
  if (job.kind != "poison" && random.chance(0.2))
    job.timeout = random.spread(Duration{50}, Duration{3000});
  return job;
}

SimProducer::SimProducer(World& world, std::uint64_t number)
    : SimPeer(world, protocol::Role::producer, number),
      queue_(number % 2 == 0 ? "a" : "b"),
      next_at_(world.now().mono) {
  begin();
}

void SimProducer::on_connected(const protocol::Welcome&) { watch_all(); }

void SimProducer::watch_all() {
  watch_at_ = world_.now().mono + kWatchEvery;
  for (const auto& [batch, watcher] : watchers_)
    if (!watcher.ended()) watch(watcher);
}

void SimProducer::watch(const Watcher& watcher) {
  std::uint64_t& newest = watch_requests_[watcher.batch()];
  forget(newest);
  newest = request(watcher.request());
}

void SimProducer::on_tick() {
  if (connected() && world_.now().mono >= watch_at_) watch_all();
  if (world_.healing() ? batch_waits_ || !open_batch_ : world_.now().mono < next_at_) return;
  next_at_ = world_.now().mono + random_.between(Duration{1}, world_.config().think_max);
  if (waiting_ < kWaitingMax || world_.healing()) enqueue();
}

void SimProducer::enqueue() {
  Enqueue enqueue;
  enqueue.request = {number(), ++counter_};
  enqueue.queue = queue_;
  enqueue.seal = true;
  if (!world_.healing()) {
    const auto count =
        random_.between(1, static_cast<std::int64_t>(world_.config().request_jobs_max));
    for (std::int64_t i = 0; i < count; ++i)
      enqueue.jobs.push_back(draw_job(world_.config(), random_, world_.now(),
                                      fmt::format("{}/{}/{}", number(), counter_, i)));
  }
  if (!batch_waits_ && (open_batch_ || random_.chance(0.2))) {
    enqueue.batch = open_batch_;
    enqueue.seal = world_.healing() || (open_batch_ && random_.chance(0.4));
    batch_waits_ = true;
  }
  if (enqueue.jobs.empty() && !enqueue.batch) return;
  world_.note("producer {} asks {} for {} jobs", number(), counter_, enqueue.jobs.size());
  ++waiting_;
  world_.history().request_sent(enqueue);
  request(std::move(enqueue));
}

void SimProducer::on_reply(std::uint64_t, const protocol::Message& asked, protocol::Message reply,
                           Stamp stamp) {
  const auto* error = std::get_if<protocol::ErrorReply>(&reply);
  if (const auto* enqueue = std::get_if<Enqueue>(&asked)) {
    if (const auto* answer = std::get_if<protocol::Enqueued>(&reply))
      return accept(*enqueue, *answer);
    require(error != nullptr, "ENQUEUE was answered by {}", type_name(reply));
    return refuse(*enqueue, *error);
  }
  if (const auto* watch = std::get_if<protocol::Watch>(&asked);
      watch != nullptr && error != nullptr) {
    require(error->code == "not_found" && world_.config().faults.has(Fault::retention),
            "WATCH of batch {} was refused: {}", watch->batch.value, error->code);
    return watchers_.at(watch->batch).give_up();
  }
  on_push(std::move(reply), stamp);
}

void SimProducer::accept(const Enqueue& asked, const protocol::Enqueued& answer) {
  world_.note("producer {} has request {} as job {}", number(), asked.request.counter,
              answer.first.value);
  --waiting_;
  world_.history().answered(asked.request, answer);
  const bool continued = asked.batch || !asked.seal;
  if (continued) {
    batch_waits_ = false;
    open_batch_ = asked.seal ? BatchId{} : answer.batch;
  }
  const auto [entry, fresh] = watchers_.try_emplace(answer.batch, answer.batch);
  if (!fresh && !entry->second.ended()) return;
  entry->second.reopen();
  if (!entry->second.ended()) watch(entry->second);
}

void SimProducer::refuse(const Enqueue& asked, const protocol::ErrorReply& error) {
  const bool comes_again =
      error.code == "busy" || error.code == "queue_full" || error.code == "storage_full";
  if (comes_again) {
    world_.after(std::max(Duration{50}, error.after), [this, asked] { request(asked); });
    return;
  }
  --waiting_;
  const bool batch_gone = error.code == "bad_request" && asked.batch;
  require(error.code == "queue_closed" || batch_gone, "ENQUEUE was refused: {}: {}", error.code,
          error.message);
  if (asked.batch || !asked.seal) {
    // The jobs of the batch are watched in any case; a batch that cannot be sealed stays open while
    // its producer lives.
    batch_waits_ = false;
    if (batch_gone) open_batch_ = {};
  }
}

void SimProducer::on_push(protocol::Message message, Stamp) {
  const auto* results = std::get_if<protocol::Results>(&message);
  if (results == nullptr) return;
  const auto found = watchers_.find(results->batch);
  require(found != watchers_.end(), "results of batch {}, which nobody watches",
          results->batch.value);
  Watcher& watcher = found->second;
  world_.note("results of batch {} from {} to {}", results->batch.value, results->from.value,
              results->cursor.value);
  if (watcher.lost()) return;
  const bool good = watcher.take(*results);
  require(!results->end || results->batch != open_batch_ || batch_waits_ || may_be_lost(),
          "batch {} ended before it was sealed", results->batch.value);
  // Told again, the newest cursor allows more.
  if (!watcher.ended() && (!good || !results->rows.empty())) watch(watcher);
}

/// The broker may have taken this producer for lost, which seals its batch.
bool SimProducer::may_be_lost() const {
  const FaultSet& faults = world_.config().faults;
  for (const Fault fault : {Fault::loss, Fault::delay, Fault::stall})
    if (faults.has(fault)) return true;
  return world_.history().disturbed(number()) || !world_.history().broker_deaths.empty();
}

bool SimProducer::at_rest() const {
  if (waiting_ != 0 || batch_waits_ || open_batch_) return false;
  for (const auto& [batch, watcher] : watchers_)
    if (!watcher.ended()) return false;
  return true;
}

std::string SimProducer::describe() const {
  std::string text = fmt::format("producer {}: waiting: {}", number(), pending_names());
  for (const auto& [batch, watcher] : watchers_)
    if (!watcher.ended()) text += fmt::format(", batch {} is open", batch.value);
  return text;
}

}  // namespace millrace::simulation
