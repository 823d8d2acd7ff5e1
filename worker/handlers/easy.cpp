#include "worker/handlers/easy.h"

#include <fmt/format.h>

#include <stdexcept>

namespace millrace::worker {

void init_curl() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK) throw std::runtime_error("libcurl cannot be initialised");
}

Easy::Easy() : handle_(curl_easy_init()) {
  if (handle_ == nullptr) throw std::runtime_error("other: libcurl has no memory for a handle");
}

long Easy::number(CURLINFO info) const {
  long value = 0;
  curl_easy_getinfo(handle_, info, &value);
  return value;
}

std::int64_t Easy::total_ms() const {
  curl_off_t micros = 0;
  curl_easy_getinfo(handle_, CURLINFO_TOTAL_TIME_T, &micros);
  return micros / 1000;
}

void Easy::fail(CURLoption option, CURLcode code) {
  throw std::runtime_error(fmt::format("other: libcurl option {}: {}", static_cast<int>(option),
                                       curl_easy_strerror(code)));
}

}  // namespace millrace::worker
