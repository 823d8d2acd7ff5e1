#include "worker/handlers/builtin.h"

namespace millrace::worker {

Outcome run_echo(JobContext& context) { return Outcome::ack(context.job().payload); }

}  // namespace millrace::worker
