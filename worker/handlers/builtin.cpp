#include "worker/handlers/builtin.h"

namespace millrace::worker {

Registry builtin_kinds(NetGuard guard) {
  Registry registry;
  registry.add("sleep", {kPoolIo, run_sleep});
  registry.add("echo", {kPoolIo, run_echo});
  registry.add("fail", {kPoolIo, run_fail});
  registry.add("sum", {kPoolCpu, run_sum});
  registry.add("primes", {kPoolCpu, run_primes});
  registry.add("url.check", {kPoolIo, make_url_check(std::move(guard))});
  return registry;
}

}  // namespace millrace::worker
