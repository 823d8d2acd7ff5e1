// A worker of one kind, `fan`, whose runs enqueue further ones:
// {"children": N, "depth": D, "queue": NAME, "key": KEY, "fails": true}. Each run of a depth above
// 0 enqueues N of depth D−1 and tells their ids. One that fails does so behind its enqueue, at its
// first try; one that aborts ends its process so. And `tick`, on the event loop: after 10 ms it
// enqueues one of depth 0.
//
//   millrace-fan ENDPOINT [POOL]    where `fan` runs: io (the default), cpu or process

#include <millrace/worker.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace {

using millrace::AsyncJob, millrace::JobContext, millrace::JobRequest, millrace::Outcome,
    millrace::Payload;
using nlohmann::json;

Outcome fan(JobContext& context) {
  const json asked = json::parse(context.job().payload.bytes);
  const int depth = asked.value("depth", 0);
  json ids = json::array();
  if (depth > 0) {
    json child = asked;
    child["depth"] = depth - 1;
    std::vector<JobRequest> jobs;
    for (int i = 0; i < asked.value("children", 1); ++i) {
      JobRequest job{.kind = "fan", .payload = Payload::text(child.dump())};
      if (asked.contains("key"))
        job.unique.key = asked["key"].get<std::string>() + std::to_string(i);
      jobs.push_back(std::move(job));
    }
    for (const millrace::JobId id : context.enqueue(std::move(jobs), asked.value("queue", "")))
      ids.push_back(id.value);
  }
  if (asked.value("aborts", false)) std::abort();
  if (asked.value("fails", false) && context.job().attempt == 1)
    return Outcome::nack("refused: the first time", millrace::Duration{0});
  return Outcome::ack(Payload::text(json{{"ids", ids}}.dump()));
}

void tick(const std::shared_ptr<AsyncJob>& job) {
  job->after(millrace::Duration{10}, [job] {
    std::vector<JobRequest> jobs;
    jobs.push_back({.kind = "fan", .payload = Payload::text("{}")});
    job->enqueue(std::move(jobs), {}, [job](const auto& ids) {
      if (!ids) return job->complete(Outcome::nack(ids.error().message));
      job->complete(Outcome::ack(Payload::text(json{{"ids", {ids->front().value}}}.dump())));
    });
  });
}

}  // namespace

int main(int argc, char** argv) {
  millrace::Worker worker(
      {.broker = argc > 1 ? argv[1] : millrace::kEndpointDefault, .queues = {"default", "other"}});
  worker.kind("fan", argc > 2 ? argv[2] : millrace::kPoolIo, fan);
  worker.async_kind("tick", tick);
  return worker.run();
}
