#pragma once

#include <pthread.h>

#include <thread>

#include "common/assert.h"

namespace millrace {

/// Names the calling thread, at most 15 characters, as `ps -L` and gdb show it.
inline void name_thread(const char* name) { pthread_setname_np(pthread_self(), name); }

/// Remembers the thread that made it; `check()` ends the program when another one calls.
class ThreadOwner {
 public:
  void check() const {
    MR_ASSERT(std::this_thread::get_id() == owner_, "called from a thread that does not own it");
  }
  /// Hands the object to the calling thread.
  void adopt() { owner_ = std::this_thread::get_id(); }

 private:
  std::thread::id owner_ = std::this_thread::get_id();
};

}  // namespace millrace
