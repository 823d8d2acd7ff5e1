#include "tests/simulation/sim_producer.h"

#include <fmt/format.h>

#include <array>

namespace millrace::simulation {
namespace {

using protocol::Enqueue;
using protocol::NewJob;

constexpr std::size_t kWaitingMax = 4;
constexpr Duration kWatchEvery{1000};
constexpr std::size_t kFollowedMax = 8;

void draw_expiry(SimRandom& random, Now now, NewJob& job) {
  const Duration time = random.spread(Duration{30}, Duration{6000});
  if (random.chance(0.8)) {
    job.expires_in = time;
  } else {
    job.expires_at = now.utc + time;
  }
}

void draw_key(SimRandom& random, NewJob& job) {
  job.unique_key = fmt::format("key-{}", random.below(3));
  const double scope = random.real();
  job.unique_scope = scope < 0.5   ? UniqueScope::active
                     : scope < 0.8 ? UniqueScope::queued
                                   : UniqueScope::ttl;
  if (job.unique_scope == UniqueScope::ttl)
    job.unique_ttl = random.spread(Duration{50}, Duration{5000});
  const double conflict = random.real();
  job.on_conflict = conflict < 0.5   ? OnConflict::existing
                    : conflict < 0.7 ? OnConflict::reject
                                     : OnConflict::replace;
}

void draw_retry(SimRandom& random, NewJob& job) {
  constexpr std::array kPolicies = {"exponential:100ms cap:1s jitter:0", "linear:200ms jitter:20",
                                    "50ms,300ms,1s jitter:0", "exponential:300ms jitter:100"};
  if (random.chance(0.5)) {
    job.backoff = {};
    job.retry = random.pick(kPolicies);
  }
  if (random.chance(0.6)) job.crashes_max = static_cast<int>(random.between(1, 3));
}

/// What only runs with these features have.
void draw_options(const SimConfig& config, SimRandom& random, Now now, NewJob& job) {
  if (config.faults.has(Fault::expiry) && random.chance(0.3)) draw_expiry(random, now, job);
  if (config.faults.has(Fault::unique) && random.chance(0.35)) draw_key(random, job);
  if (config.faults.has(Fault::retries) && random.chance(0.5)) draw_retry(random, job);
}

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
  draw_options(config, random, now, job);
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
  if (ask_later(asked, reply)) return;
  if (const auto* await = std::get_if<protocol::Await>(&asked)) return on_awaited(*await, reply);
  if (const auto* follow = std::get_if<protocol::WatchOutput>(&asked))
    return on_followed(*follow, reply);
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
  look_at_jobs(asked, answer);
  if (!answer.batch) return;  // nothing new
  const auto [entry, fresh] = watchers_.try_emplace(answer.batch, answer.batch);
  if (!fresh && !entry->second.ended()) return;
  entry->second.reopen();
  if (!entry->second.ended()) watch(entry->second);
}

// ---- single jobs -------------------------------------------------------------------------------

void SimProducer::look_at_jobs(const Enqueue& asked, const protocol::Enqueued& answer) {
  const FaultSet& faults = world_.config().faults;
  for (const JobId id : answer.ids)
    if (id < answer.first || id.value >= answer.first.value + answer.count) await(id);
  if (answer.count == 0 || asked.jobs.empty()) return;
  if (faults.has(Fault::outputs) && followers_.size() < kFollowedMax && random_.chance(0.15))
    follow(answer.first);
}

void SimProducer::await(JobId job) {
  if (!awaited_.contains(job) && awaiting_.insert(job).second) request(protocol::Await{job});
}

bool SimProducer::ask_later(const protocol::Message& asked, const protocol::Message& reply) {
  const bool about_job = std::holds_alternative<protocol::Await>(asked) ||
                         std::holds_alternative<protocol::WatchOutput>(asked);
  const auto* error = std::get_if<protocol::ErrorReply>(&reply);
  if (!about_job || error == nullptr || !error->retryable) return false;
  world_.after(std::max(Duration{50}, error->after), [this, asked] { request(asked); });
  return true;
}

void SimProducer::on_awaited(const protocol::Await& asked, const protocol::Message& reply) {
  awaiting_.erase(asked.job);
  if (const auto* error = std::get_if<protocol::ErrorReply>(&reply)) {
    require(error->code == "not_found" && world_.config().faults.has(Fault::retention),
            "AWAIT of job {} was refused: {}", asked.job.value, error->code);
    return;
  }
  const auto* results = std::get_if<protocol::Results>(&reply);
  require(results != nullptr && results->rows.size() == 1, "AWAIT of job {} was answered by {}",
          asked.job.value, type_name(reply));
  const protocol::ResultRow& row = results->rows.front();
  require(row.job == asked.job && is_final(row.state), "AWAIT of job {} tells that job {} is `{}`",
          asked.job.value, row.job.value, to_string(row.state));
  world_.note("producer {} was told how job {} ended", number(), row.job.value);
  awaited_[asked.job] = row;
}

void SimProducer::follow(JobId job) {
  const Follower& follower = followers_[job];
  request(protocol::WatchOutput{job, follower.cursor, true});
}

void SimProducer::on_followed(const protocol::WatchOutput& asked, const protocol::Message& reply) {
  Follower& follower = followers_.at(asked.job);
  if (const auto* error = std::get_if<protocol::ErrorReply>(&reply)) {
    require(error->code == "not_found" && world_.config().faults.has(Fault::retention),
            "WATCH_OUTPUT of job {} was refused: {}", asked.job.value, error->code);
    follower.ended = follower.lost = true;
    return;
  }
  const auto* rows = std::get_if<protocol::OutputRows>(&reply);
  require(rows != nullptr && rows->job == asked.job, "WATCH_OUTPUT of job {} was answered by {}",
          asked.job.value, type_name(reply));
  for (const protocol::OutputRow& row : rows->rows) {
    require(row.cursor > follower.cursor, "job {}: output {} after output {}", asked.job.value,
            row.cursor.value, follower.cursor.value);
    follower.cursor = row.cursor;
    follower.rows.push_back(row);
  }
  follower.ended = rows->end;
  if (!rows->end) follow(asked.job);
}

// ---- refused -----------------------------------------------------------------------------------

void SimProducer::refuse(const Enqueue& asked, const protocol::ErrorReply& error) {
  const bool comes_again =
      error.code == "busy" || error.code == "queue_full" || error.code == "storage_full";
  if (comes_again) {
    world_.after(std::max(Duration{50}, error.after), [this, asked] { request(asked); });
    return;
  }
  --waiting_;
  const bool batch_gone = error.code == "bad_request" && asked.batch;
  require(error.code == "queue_closed" || error.code == "unique_conflict" || batch_gone,
          "ENQUEUE was refused: {}: {}", error.code, error.message);
  if (asked.batch || !asked.seal) {
    // The jobs of the batch are watched in any case; a batch that cannot be sealed stays open while
    // its producer lives.
    batch_waits_ = false;
    if (batch_gone) open_batch_ = {};
  }
}

void SimProducer::on_push(protocol::Message message, Stamp) {
  const auto* results = std::get_if<protocol::Results>(&message);
  if (results == nullptr || !results->batch) return;  // an AWAIT that was answered before
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
  if (waiting_ != 0 || batch_waits_ || open_batch_ || !awaiting_.empty()) return false;
  for (const auto& [job, follower] : followers_)
    if (!follower.ended) return false;
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
