#include <fmt/format.h>

#include "common/limits.h"
#include "common/util/clock.h"
#include "worker/handlers/builtin.h"
#include "worker/handlers/fields.h"

namespace millrace::worker {
namespace {

struct Asked {
  Duration time{};
  std::optional<std::string> problem;
};

Asked read_payload(const Payload& payload) {
  Fields fields(payload, R"({"ms": 2000})");
  const Duration time{fields.integer("ms", 0, kDurationMax.count())};
  return {time, fields.problem()};
}

Outcome outcome(bool whole, Instant begin) {
  const Duration slept = read_clocks().mono - begin;
  if (!whole) return Outcome::nack(fmt::format("cancelled: after {} ms", slept.count()));
  return Outcome::ack(json_payload({{"slept_ms", slept.count()}}));
}

}  // namespace

Outcome run_sleep(JobContext& context) {
  const Asked asked = read_payload(context.job().payload);
  if (asked.problem) return Outcome::reject(*asked.problem);

  const Instant begin = read_clocks().mono;
  const bool whole = context.wait(asked.time);
  return outcome(whole, begin);
}

void run_sleep_async(const std::shared_ptr<AsyncJob>& job) {
  const Asked asked = read_payload(job->job().payload);
  if (asked.problem) {
    job->complete(Outcome::reject(*asked.problem));
    return;
  }
  const Instant begin = read_clocks().mono;
  job->after(asked.time, [job, begin] { job->complete(outcome(true, begin)); });
  job->on_stop([job, begin] { job->complete(outcome(false, begin)); });
}

}  // namespace millrace::worker
