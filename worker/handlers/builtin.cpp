#include "worker/handlers/builtin.h"

namespace millrace::worker {

Registry builtin_kinds(NetGuard guard) {
  Registry registry;
  registry.add("sleep", {kPoolIo, run_sleep});
  registry.add("echo", {kPoolIo, run_echo});
  registry.add("fail", {kPoolIo, run_fail});
  registry.add("sum", {kPoolCpu, run_sum});
  registry.add("primes", {kPoolCpu, run_primes});
  // A site that does not answer is mostly back soon, or not at all.
  protocol::KindOptions soon;
  soon.retry = "200ms jitter:0";
  registry.add("url.check", {kPoolIo, make_url_check(std::move(guard)), soon});
  return registry;
}

}  // namespace millrace::worker
