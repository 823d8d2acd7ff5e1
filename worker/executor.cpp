#include "worker/executor.h"

namespace millrace::worker {

void CompletionQueue::push(Completion completion) {
  bool first = false;
  {
    Lock lock(mutex_);
    first = completions_.empty();
    completions_.push_back(std::move(completion));
  }
  // One wake-up for all that come before the agent looks.
  if (first) wakeup_.notify();
}

std::vector<Completion> CompletionQueue::take() {
  std::vector<Completion> taken;
  Lock lock(mutex_);
  taken.swap(completions_);
  return taken;
}

}  // namespace millrace::worker
