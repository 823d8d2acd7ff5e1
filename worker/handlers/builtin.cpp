#include "worker/handlers/builtin.h"

namespace millrace::worker {

AsyncHandler inline_on_loop(Handler handler) {
  return [handler = std::move(handler)](const std::shared_ptr<AsyncJob>& job) {
    job->complete(handler(*job));
  };
}

Registry builtin_kinds(const NetGuard& guard) {
  Registry registry;
  registry.add("sleep", {kPoolIo, run_sleep, {}, run_sleep_async});
  registry.add("echo", {kPoolIo, run_echo, {}, inline_on_loop(run_echo)});
  registry.add("fail", {kPoolIo, run_fail, {}, inline_on_loop(run_fail)});
  registry.add("sum", {kPoolCpu, run_sum});
  registry.add("primes", {kPoolCpu, run_primes});
  // A site that does not answer is mostly back soon, or not at all.
  protocol::KindOptions soon;
  soon.retry = "200ms jitter:0";
  registry.add("url.check",
               {kPoolIo, make_url_check(guard), soon, {}, make_url_check_async(guard)});
  return registry;
}

}  // namespace millrace::worker
