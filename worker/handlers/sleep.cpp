#include <fmt/format.h>

#include "common/limits.h"
#include "common/util/clock.h"
#include "worker/handlers/builtin.h"
#include "worker/handlers/fields.h"

namespace millrace::worker {

Outcome run_sleep(JobContext& context) {
  Fields fields(context.job().payload, R"({"ms": 2000})");
  const Duration asked{fields.integer("ms", 0, kDurationMax.count())};
  if (fields.problem()) return Outcome::reject(*fields.problem());

  const Instant begin = read_clocks().mono;
  const bool whole = context.wait(asked);
  const Duration slept = read_clocks().mono - begin;
  if (!whole) return Outcome::nack(fmt::format("cancelled: after {} ms", slept.count()));
  return Outcome::ack(json_payload({{"slept_ms", slept.count()}}));
}

}  // namespace millrace::worker
