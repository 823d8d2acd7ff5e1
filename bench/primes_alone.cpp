// libprimesieve by itself, for bench/primes.sh: counts the primes of a range with some threads.

#include <fmt/format.h>

#include <cstdlib>
#include <primesieve.hpp>

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: millrace-primes-alone FROM TO THREADS\n");
    return 64;
  }
  const auto number = [&](int at) { return std::strtoull(argv[at], nullptr, 10); };
  primesieve::set_num_threads(static_cast<int>(number(3)));
  fmt::print("{}\n", primesieve::count_primes(number(1), number(2)));
}
