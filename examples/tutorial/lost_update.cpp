// Four threads add to one counter 250,000 times each, without a lock or with one.
//
//   lost_update wrong|right

#include <cstdio>
#include <cstring>
#include <latch>
#include <mutex>
#include <thread>
#include <vector>

namespace {

constexpr long kThreads = 4;
constexpr long kTimes = 250'000;

// volatile: read and written each time, as the source says, or the compiler would add once a
// thread.
volatile long counter = 0;
std::mutex mutex;

/// Reads, adds and writes back. What another thread writes in between is lost.
void add_without_a_lock() {
  const long seen = counter;
  // Now and then somebody else gets the CPU here; it may happen anywhere, but seldom when one
  // looks.
  if (seen % 64 == 0) std::this_thread::yield();
  counter = seen + 1;
}

void add_with_a_lock() {
  const std::lock_guard lock(mutex);
  add_without_a_lock();
}

}  // namespace

int main(int argc, char** argv) {
  const bool right = argc > 1 && std::strcmp(argv[1], "right") == 0;
  std::latch start(kThreads);
  std::vector<std::thread> threads;
  for (long i = 0; i < kThreads; ++i)
    threads.emplace_back([right, &start] {
      start.arrive_and_wait();
      for (long k = 0; k < kTimes; ++k) right ? add_with_a_lock() : add_without_a_lock();
    });
  for (std::thread& thread : threads) thread.join();
  std::printf("%ld of %ld, %ld lost\n", counter, kThreads * kTimes, kThreads * kTimes - counter);
  return counter == kThreads * kTimes ? 0 : 1;
}
