#pragma once

#include <curl/curl.h>

#include <cstdint>

namespace millrace::worker {

/// Sets curl up for the process, once. Before any thread uses it. Throws std::runtime_error.
void init_curl();

/// A transfer's handle. Belongs to one thread at a time.
class Easy {
 public:
  /// Throws std::runtime_error when there is no memory.
  Easy();
  ~Easy() { curl_easy_cleanup(handle_); }
  Easy(const Easy&) = delete;
  Easy& operator=(const Easy&) = delete;

  [[nodiscard]] CURL* get() const { return handle_; }

  /// Forgets all options; connections and names that it keeps stay.
  void reset() { curl_easy_reset(handle_); }
  /// Throws std::runtime_error, naming the option.
  template <class T>
  void set(CURLoption option, T value) {
    if (const CURLcode code = curl_easy_setopt(handle_, option, value); code != CURLE_OK)
      fail(option, code);
  }
  /// Blocks until the transfer has ended.
  [[nodiscard]] CURLcode perform() { return curl_easy_perform(handle_); }
  [[nodiscard]] long number(CURLINFO info) const;
  [[nodiscard]] std::int64_t total_ms() const;

 private:
  [[noreturn]] static void fail(CURLoption option, CURLcode code);

  CURL* handle_;
};

}  // namespace millrace::worker
