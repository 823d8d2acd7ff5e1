#include "worker/handlers/builtin.h"
#include "worker/handlers/url_request.h"

namespace millrace::worker {
namespace {

int look_for_stop(void* data, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const JobContext*>(data)->cancelled() ? 1 : 0;
}

Outcome check_url(const NetGuard& guard, JobContext& context) {
  const auto request = read_url_request(context.job().payload);
  if (!request) return Outcome::reject(request.error());

  // It keeps connections and names it looked up between checks. Threads of the pool end after the
  // last job, and with them their handles and connections.
  thread_local Easy easy;
  easy.reset();
  UrlCheck check{.guard = guard};
  prepare(easy, *request, check);
  easy.set(CURLOPT_NOPROGRESS, 0L);
  easy.set(CURLOPT_XFERINFOFUNCTION, &look_for_stop);
  easy.set(CURLOPT_XFERINFODATA, static_cast<void*>(&context));
  return outcome_of(easy, *request, check, easy.perform());
}

}  // namespace

Handler make_url_check(NetGuard guard) {
  init_curl();
  return [guard = std::move(guard)](JobContext& context) { return check_url(guard, context); };
}

}  // namespace millrace::worker
