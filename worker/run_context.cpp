#include "worker/run_context.h"

#include <condition_variable>
#include <mutex>

namespace millrace {

bool JobContext::wait(Duration duration) const {
  std::mutex mutex;
  std::condition_variable_any condition;
  std::unique_lock lock(mutex);
  condition.wait_for(lock, stop_, duration, [] { return false; });
  return !cancelled();
}

}  // namespace millrace
