#include "bench/limits.h"

namespace millrace::bench {

void run_limits(Run& run) {
  add_sync_limits(run, run.scaled(2'000, 100));
  add_commit_limits(run, run.scaled(2'000, 100));
  add_row_limits(run, {.rows = run.scaled(100'000), .update = true});
  add_echo_limit(run, run.scaled(1'000'000, 10'000));
}

}  // namespace millrace::bench
