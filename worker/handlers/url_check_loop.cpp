#include <algorithm>
#include <memory>
#include <string_view>

#include "worker/handlers/builtin.h"
#include "worker/handlers/transfers.h"
#include "worker/handlers/url_request.h"

namespace millrace::worker {
namespace {

/// What a check needs until it has ended.
struct Run {
  std::shared_ptr<AsyncJob> job;
  UrlRequest request;
  UrlCheck check;
};

/// Lower case; empty when curl finds none, which then refuses the URL.
std::string host_of(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), &curl_url_cleanup);
  char* text = nullptr;
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_GUESS_SCHEME) != 0 ||
      curl_url_get(parsed.get(), CURLUPART_HOST, &text, 0) != 0)
    return {};
  std::string host = text;
  curl_free(text);
  for (char& c : host)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return host;
}

void prepare_run(Easy& easy, Run& run) {
  prepare(easy, run.request, run.check);
  easy.set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  // Checks of one site share a connection where it speaks HTTP/2, which TLS tells before the first
  // request. Without TLS only the first answer would tell, and all others wait for it.
  if (run.request.url.starts_with("https:")) easy.set(CURLOPT_PIPEWAIT, 1L);
}

void check_url(Transfers& transfers, const NetGuard& guard, const std::shared_ptr<AsyncJob>& job) {
  auto request = read_url_request(job->job().payload);
  if (!request) {
    job->complete(Outcome::reject(request.error()));
    return;
  }
  const std::string host = transfers.has_host_limit() ? host_of(request->url) : std::string();
  const auto run = std::make_shared<Run>(Run{job, std::move(*request), {.guard = guard}});
  const Transfers::Id id = transfers.add(
      host, [run](Easy& easy) { prepare_run(easy, *run); },
      [run](const Easy& easy, CURLcode code) {
        run->job->complete(outcome_of(easy, run->request, run->check, code));
      });
  job->on_stop([&transfers, id, job] {
    transfers.remove(id);
    job->complete(Outcome::nack("cancelled: the check was broken off"));
  });
}

}  // namespace

AsyncFactory make_url_check_async(NetGuard guard) {
  init_curl();
  return [guard = std::move(guard)](const LoopServices& services) -> AsyncHandler {
    // Idle connections are kept for as many sites as there are checks at once. Shared by the copies
    // of the handler.
    const auto transfers = std::make_shared<Transfers>(
        services.loop,
        TransferOptions{.connections_max = std::max<std::size_t>(64, services.slots * 2),
                        .host_limit = services.host_limit});
    return [transfers, guard](const std::shared_ptr<AsyncJob>& job) {
      check_url(*transfers, guard, job);
    };
  };
}

}  // namespace millrace::worker
