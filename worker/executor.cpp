#include "worker/executor.h"

namespace millrace::worker {

void CompletionQueue::push(Completion completion) {
  bool first = false;
  {
    Lock lock(mutex_);
    first = !notified_;
    notified_ = true;
    completions_.push_back(std::move(completion));
  }
  // One wake-up for all that come before the agent looks.
  if (first) wakeup_.notify();
}

void CompletionQueue::push_quietly(Completion completion) {
  Lock lock(mutex_);
  completions_.push_back(std::move(completion));
}

std::vector<Completion> CompletionQueue::take() {
  std::vector<Completion> taken;
  Lock lock(mutex_);
  taken.swap(completions_);
  notified_ = false;
  return taken;
}

}  // namespace millrace::worker
