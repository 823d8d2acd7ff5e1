#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "url_server.h"
#include "worker/handlers/builtin.h"

namespace millrace::worker {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

UrlServer::Answer status(int code, const std::string& headers = "") {
  return {.text = fmt::format("HTTP/1.1 {} X\r\n{}Content-Length: 0\r\nConnection: close\r\n\r\n",
                              code, headers)};
}

UrlServer::Answer redirect(const std::string& to) {
  return status(301, "Location: " + to + "\r\n");
}

Outcome check_payload(const json& payload, NetGuard guard = {}, std::stop_token stop = {}) {
  const Handler handler = make_url_check(std::move(guard));
  Job job;
  job.payload = Payload::text(payload.dump());
  JobContext context(job, std::move(stop));
  return handler(context);
}

Outcome check(const std::string& url, NetGuard guard = {}) {
  return check_payload({{"url", url}}, std::move(guard));
}

json result(const Outcome& outcome) {
  EXPECT_EQ(outcome.verdict, Outcome::Verdict::ack) << outcome.error;
  return json::parse(outcome.result.bytes, nullptr, false);
}

void expect_word(const Outcome& outcome, const std::string& word) {
  EXPECT_EQ(outcome.verdict, Outcome::Verdict::nack) << outcome.result.bytes;
  EXPECT_EQ(outcome.error, word);
  EXPECT_FALSE(outcome.delay);  // so that the job's own policy counts
}

TEST(UrlCheck, ReportsEveryStatus) {
  for (const int code : {200, 204, 404, 500, 503}) {
    UrlServer server([&](const std::string&) { return status(code); });
    const json row = result(check(server.url("/a?b=c")));

    EXPECT_EQ(row["status"], code);
    EXPECT_EQ(row["url"], server.url("/a?b=c"));
    EXPECT_GE(row["elapsed_ms"], 0);
    EXPECT_TRUE(row["error"].is_null());
  }
}

TEST(UrlCheck, FollowsRedirectsToTheLastAnswer) {
  UrlServer server([](const std::string& request) {
    return request.starts_with("GET /old ") ? redirect("/new") : status(204);
  });
  const json row = result(check(server.url("/old")));

  EXPECT_EQ(row["status"], 204);
  EXPECT_EQ(row["url"], server.url("/old"));
}

TEST(UrlCheck, ShowsTheRedirectWhenNoneMayBeFollowed) {
  UrlServer server([](const std::string&) { return redirect("/new"); });

  EXPECT_EQ(result(check_payload({{"url", server.url()}, {"redirects", 0}}))["status"], 301);
}

TEST(UrlCheck, EndsARedirectLoop) {
  UrlServer server([](const std::string&) { return redirect("/"); });

  expect_word(check_payload({{"url", server.url()}, {"redirects", 3}}), "redirects");
  EXPECT_EQ(server.requests().size(), 4U);
}

TEST(UrlCheck, FollowsNoRedirectToAnotherProtocol) {
  UrlServer server([](const std::string&) { return redirect("file:///etc/passwd"); });

  expect_word(check(server.url()), "protocol");
  expect_word(check("ftp://127.0.0.1/"), "protocol");
}

TEST(UrlCheck, NoticesARefusedConnection) {
  expect_word(check(fmt::format("http://127.0.0.1:{}/", closed_port())), "refused");
}

TEST(UrlCheck, ARedirectThatLeadsNowhereHasNoStatus) {
  const std::string target = fmt::format("http://127.0.0.1:{}/", closed_port());
  UrlServer server([&](const std::string&) { return redirect(target); });

  expect_word(check(server.url()), "refused");
}

TEST(UrlCheck, NoticesAResetAndAnEmptyAnswer) {
  UrlServer reset([](const std::string&) { return UrlServer::Answer{.text = "", .reset = true}; });
  expect_word(check(reset.url()), "reset");
  UrlServer empty([](const std::string&) { return UrlServer::Answer{}; });
  expect_word(check(empty.url()), "reset");
}

TEST(UrlCheck, NoticesSilence) {
  UrlServer server([](const std::string&) { return UrlServer::Answer{.text = "", .hold = true}; });

  expect_word(check_payload({{"url", server.url()}, {"timeout_ms", 50}}), "timeout");
}

TEST(UrlCheck, KeepsTheStatusOfAnAnswerThatBreaksOff) {
  UrlServer server([](const std::string&) {
    return UrlServer::Answer{.text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"};
  });
  const json row = result(check(server.url()));

  EXPECT_EQ(row["status"], 200);
  EXPECT_EQ(row["error"], "reset");
}

TEST(UrlCheck, NoticesWhatIsNoHttp) {
  UrlServer server([](const std::string&) { return UrlServer::Answer{.text = "SSH-2.0-x\r\n"}; });

  expect_word(check(server.url()), "protocol");
}

TEST(UrlCheck, NoticesWhatIsNoTls) {
  UrlServer server([](const std::string&) { return status(200); });

  expect_word(check(fmt::format("https://127.0.0.1:{}/", server.port())), "tls");
}

TEST(UrlCheck, NoticesANameThatDoesNotExist) {
  // A label of 64 characters is no name at all: the resolver says so without asking anybody.
  expect_word(check(fmt::format("http://{}.test/", std::string(64, 'a'))), "dns");
}

TEST(UrlCheck, StopsReadingALongBodyAndIsContent) {
  UrlServer server([](const std::string&) {
    return UrlServer::Answer{.text = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
                             .zeros = std::size_t{64} * 1024 * 1024};
  });
  const json row = result(check(server.url()));

  EXPECT_EQ(row["status"], 200);
  EXPECT_TRUE(row["error"].is_null());
}

TEST(UrlCheck, SendsTheMethodItWasGiven) {
  UrlServer server([](const std::string&) { return status(200); });
  for (const char* method : {"HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}) {
    EXPECT_EQ(result(check_payload({{"url", server.url("/x")}, {"method", method}}))["status"],
              200);
    EXPECT_THAT(server.requests().back(), StartsWith(fmt::format("{} /x HTTP/1.1\r\n", method)));
  }
}

TEST(UrlCheck, SaysWhoItIs) {
  UrlServer server([](const std::string&) { return status(200); });
  result(check(server.url()));

  EXPECT_THAT(server.requests().at(0), HasSubstr("User-Agent: millrace/"));
}

TEST(UrlCheck, ConnectsToNoPrivateAddressForARemoteBroker) {
  UrlServer server([](const std::string&) { return status(200); });
  expect_word(check(server.url(), NetGuard(std::vector<NetRule>{})), "blocked");
  expect_word(
      check(fmt::format("http://2130706433:{}/", server.port()), NetGuard(std::vector<NetRule>{})),
      "blocked");
  EXPECT_TRUE(server.requests().empty());

  const auto rule = parse_net_rule(fmt::format("127.0.0.0/8:{}", server.port()));
  EXPECT_EQ(result(check(server.url(), NetGuard({*rule})))["status"], 200);
}

TEST(UrlCheck, FollowsNoRedirectToAPrivateAddress) {
  UrlServer inner([](const std::string&) { return status(200); });
  UrlServer outer([&](const std::string&) { return redirect(inner.url()); });
  const auto rule = parse_net_rule(fmt::format("127.0.0.1:{}", outer.port()));

  expect_word(check(outer.url(), NetGuard({*rule})), "blocked");
  EXPECT_TRUE(inner.requests().empty());
}

TEST(UrlCheck, EndsWhenAskedToStop) {
  UrlServer server([](const std::string&) { return UrlServer::Answer{.text = "", .hold = true}; });
  std::stop_source source;
  source.request_stop();

  const Outcome outcome = check_payload({{"url", server.url()}}, {}, source.get_token());

  EXPECT_EQ(outcome.verdict, Outcome::Verdict::nack);
}

TEST(UrlCheck, RefusesBadPayloads) {
  for (const json& payload :
       {json::object(), json{{"url", 1}}, json{{"url", "http://x/"}, {"method", "FETCH"}},
        json{{"url", "http://x/"}, {"timeout_ms", 0}},
        json{{"url", "http://x/"}, {"redirects", 51}},
        json{{"url", "http://x/"}, {"method", "get"}}}) {
    const Outcome outcome = check_payload(payload);
    EXPECT_EQ(outcome.verdict, Outcome::Verdict::reject);
    EXPECT_THAT(outcome.error, StartsWith("bad_payload: ")) << payload;
  }
}

}  // namespace
}  // namespace millrace::worker
