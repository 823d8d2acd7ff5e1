#pragma once

// What is the same for a url.check on a thread and on the event loop: how it is asked for, how curl
// is told, and what is said of how it went.

#include <millrace/handler.h>

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

#include "worker/handlers/easy.h"
#include "worker/net_guard.h"

namespace millrace::worker {

struct UrlRequest {
  std::string url;
  std::string method;
  std::int64_t timeout = 0;  // ms
  std::int64_t redirects = 0;
};

/// Error: `bad_payload: …`.
[[nodiscard]] tl::expected<UrlRequest, std::string> read_url_request(const Payload& payload);

/// One check under way; curl's callbacks get a pointer to it.
struct UrlCheck {
  const NetGuard& guard;
  bool blocked = false;        // an address was refused by the guard
  std::size_t body_bytes = 0;  // of all answers
  bool body_capped = false;
  long answers = 0;      // whose headers are complete, redirects included
  bool interim = false;  // the headers being read are of a 1xx answer
};

/// Sets every option that a check needs on a handle that has none. Both must outlive the transfer.
void prepare(Easy& easy, const UrlRequest& request, UrlCheck& check);

/// `code` is how the transfer ended.
[[nodiscard]] Outcome outcome_of(const Easy& easy, const UrlRequest& request, const UrlCheck& check,
                                 CURLcode code);

}  // namespace millrace::worker
