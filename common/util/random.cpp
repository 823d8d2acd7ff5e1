#include "common/util/random.h"

#include <sys/random.h>

#include <cstring>
#include <stdexcept>

namespace millrace {

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(count))
    throw std::runtime_error("the kernel gives no random bytes");
  return bytes;
}

std::uint64_t random_u64() {
  std::uint64_t value = 0;
  const std::string bytes = random_bytes(sizeof value);
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace millrace
