#include <fmt/format.h>

#include <cstdint>

#include "worker/handlers/builtin.h"
#include "worker/handlers/fields.h"

namespace millrace::worker {

Outcome run_fail(JobContext& context) {
  Fields fields(context.job().payload, R"({"times": 2, "message": "no luck"})");
  const std::int64_t times = fields.integer("times", 0, INT64_MAX, INT64_MAX);
  const int attempt = context.job().attempt;
  std::string message =
      fields.text("message", fmt::format("failed: on purpose, at attempt {}", attempt));
  if (fields.problem()) return Outcome::reject(*fields.problem());

  if (attempt <= times) return Outcome::nack(std::move(message));
  return Outcome::ack(json_payload({{"attempts", attempt}}));
}

}  // namespace millrace::worker
