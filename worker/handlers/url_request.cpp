#include "worker/handlers/url_request.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "common/limits.h"
#include "millrace_version.h"
#include "worker/handlers/fields.h"

namespace millrace::worker {
namespace {

constexpr std::size_t kBodyBytesMax = 10 * kMiB;
constexpr std::int64_t kTimeoutMax = 3'600'000;  // ms
constexpr std::int64_t kRedirectsMax = 50;
constexpr const char* kUserAgent = "millrace/" MR_VERSION " (url.check)";
constexpr std::array kMethods = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"};

// ---- callbacks ---------------------------------------------------------------------------------

curl_socket_t open_socket(void* data, curlsocktype, curl_sockaddr* address) {
  auto& check = *static_cast<UrlCheck*>(data);
  if (!check.guard.allows(&address->addr, address->addrlen)) {
    check.blocked = true;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

std::size_t read_body(char*, std::size_t size, std::size_t count, void* data) {
  auto& check = *static_cast<UrlCheck*>(data);
  check.body_bytes += size * count;
  check.body_capped = check.body_bytes > kBodyBytesMax;
  return check.body_capped ? 0 : size * count;
}

std::size_t read_header(char* text, std::size_t size, std::size_t count, void* data) {
  auto& check = *static_cast<UrlCheck*>(data);
  const std::string_view line(text, size * count);
  if (line.starts_with("HTTP/")) {
    const std::size_t space = line.find(' ');
    check.interim = space != line.npos && line.substr(space + 1).starts_with('1');
  } else if ((line == "\r\n" || line == "\n") && !check.interim) {
    ++check.answers;
  }
  return size * count;
}

// ---- words -------------------------------------------------------------------------------------

const char* word_for_connect(long os_errno) {
  switch (os_errno) {
    case ECONNREFUSED:
      return "refused";
    case ECONNRESET:
      return "reset";
    case ETIMEDOUT:
      return "timeout";
    default:
      return "other";
  }
}

const char* word_for(CURLcode code, long os_errno) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return "timeout";
    case CURLE_COULDNT_CONNECT:
      return word_for_connect(os_errno);
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
      return "reset";
    case CURLE_COULDNT_RESOLVE_HOST:
      return "dns";
    case CURLE_TOO_MANY_REDIRECTS:
      return "redirects";
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return "protocol";
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_USE_SSL_FAILED:
      return "tls";
    default:
      return "other";
  }
}

}  // namespace

tl::expected<UrlRequest, std::string> read_url_request(const Payload& payload) {
  Fields fields(payload, R"({"url": "https://example.org/"})");
  UrlRequest request;
  request.url = fields.text("url");
  request.method = fields.text("method", "GET");
  request.timeout = fields.integer("timeout_ms", 1, kTimeoutMax, 10'000);
  request.redirects = fields.integer("redirects", 0, kRedirectsMax, 5);
  if (std::find(kMethods.begin(), kMethods.end(), request.method) == kMethods.end())
    fields.complain(fmt::format("method is {:.40}, it must be one of {}", request.method,
                                fmt::join(kMethods, " ")));
  if (request.url.find('\0') != std::string::npos) fields.complain("url has a zero byte in it");
  if (fields.problem()) return tl::make_unexpected(*fields.problem());
  return request;
}

void prepare(Easy& easy, const UrlRequest& request, UrlCheck& check) {
  easy.set(CURLOPT_URL, request.url.c_str());
  easy.set(CURLOPT_PROTOCOLS_STR, "http,https");
  easy.set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  easy.set(CURLOPT_NOSIGNAL, 1L);
  // The environment must not send checks elsewhere or add passwords.
  easy.set(CURLOPT_PROXY, "");
  easy.set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  easy.set(CURLOPT_SSL_VERIFYPEER, 1L);
  // As the program curl has it: a site of one's own may have a certificate of one's own.
  const char* file = std::getenv("SSL_CERT_FILE");  // NOLINT(concurrency-mt-unsafe): never set
  if (file != nullptr && *file != '\0') easy.set(CURLOPT_CAINFO, file);
  easy.set(CURLOPT_SSL_VERIFYHOST, 2L);
  easy.set(CURLOPT_USERAGENT, kUserAgent);
  easy.set(CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout));
  easy.set(CURLOPT_FOLLOWLOCATION, request.redirects > 0 ? 1L : 0L);
  easy.set(CURLOPT_MAXREDIRS, static_cast<long>(request.redirects));
  easy.set(CURLOPT_OPENSOCKETFUNCTION, &open_socket);
  easy.set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(&check));
  easy.set(CURLOPT_WRITEFUNCTION, &read_body);
  easy.set(CURLOPT_WRITEDATA, static_cast<void*>(&check));
  easy.set(CURLOPT_HEADERFUNCTION, &read_header);
  easy.set(CURLOPT_HEADERDATA, static_cast<void*>(&check));
  if (request.method == "HEAD") {
    easy.set(CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    // With a body, though an empty one: servers want a Content-Length with these.
    if (request.method.starts_with('P')) {
      easy.set(CURLOPT_POSTFIELDS, "");
      easy.set(CURLOPT_POSTFIELDSIZE, 0L);
    }
    easy.set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

Outcome outcome_of(const Easy& easy, const UrlRequest& request, const UrlCheck& check,
                   CURLcode code) {
  // A body that is too long, or that the cap cut off, is as good as a whole one.
  const bool ok = code == CURLE_OK || (code == CURLE_WRITE_ERROR && check.body_capped);
  const char* word = ok ? nullptr : word_for(code, easy.number(CURLINFO_OS_ERRNO));
  // The last request in the chain of redirects has its answer: it only broke off later.
  const bool answered = check.answers > easy.number(CURLINFO_REDIRECT_COUNT) &&
                        code != CURLE_TOO_MANY_REDIRECTS && code != CURLE_UNSUPPORTED_PROTOCOL;
  const long status = easy.number(CURLINFO_RESPONSE_CODE);
  if (!answered || status == 0) {
    if (check.blocked && code == CURLE_COULDNT_CONNECT) word = "blocked";
    return Outcome::nack(word != nullptr ? word : "other");
  }
  nlohmann::json result{{"status", status},
                        {"url", request.url},
                        {"elapsed_ms", easy.total_ms()},
                        {"error", nullptr}};
  if (word != nullptr) result["error"] = word;
  return Outcome::ack(json_payload(result));
}

}  // namespace millrace::worker
