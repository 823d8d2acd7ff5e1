#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <deque>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "url_server.h"
#include "worker/handlers/builtin.h"
#include "worker/loop/loop_executor.h"

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

/// What runs a check.
enum class On { thread, loop };

Outcome check_on_thread(const Job& job, const NetGuard& guard, std::stop_token stop) {
  const Handler handler = make_url_check(guard);
  JobContext context(job, std::move(stop));
  return handler(context);
}

/// An event loop with nothing but url.check on it.
class CheckLoop {
 public:
  explicit CheckLoop(const NetGuard& guard, LoopOptions options = {})
      : registry_(registry(guard)),
        executor_(options, registry_, completions_, outputs_, children_) {}

  void start(std::uint64_t lease, const json& payload) {
    Job job;
    job.lease = LeaseId{lease};
    job.kind = "url.check";
    job.payload = Payload::text(payload.dump());
    executor_.start({std::move(job)});
  }
  void cancel(std::uint64_t lease) { executor_.cancel(LeaseId{lease}, StopReason::cancelled); }
  /// The next one to end.
  Completion wait() {
    while (ended_.empty()) {
      pollfd fd{completions_.wakeup().fd(), POLLIN, 0};
      if (poll(&fd, 1, 20'000) <= 0) throw std::runtime_error("no check has ended");
      completions_.wakeup().clear();
      for (Completion& completion : completions_.take()) ended_.push_back(std::move(completion));
    }
    Completion first = std::move(ended_.front());
    ended_.pop_front();
    return first;
  }

 private:
  static Registry registry(const NetGuard& guard) {
    Registry made;
    made.add("url.check", {kPoolLoop, {}, {}, {}, make_url_check_async(guard)});
    return made;
  }

  Registry registry_;
  CompletionQueue completions_;
  OutputBuffer outputs_{completions_.wakeup()};
  ChildJobs children_{completions_.wakeup()};
  std::deque<Completion> ended_;
  LoopExecutor executor_;
};

/// Every case holds on threads and on the event loop.
class UrlCheck : public testing::TestWithParam<On> {
 protected:
  static Outcome check_payload(const json& payload, const NetGuard& guard = {}) {
    if (GetParam() == On::thread) {
      Job job;
      job.payload = Payload::text(payload.dump());
      return check_on_thread(job, guard, {});
    }
    CheckLoop loop(guard);
    loop.start(1, payload);
    return loop.wait().outcome;
  }
  static Outcome check(const std::string& url, const NetGuard& guard = {}) {
    return check_payload({{"url", url}}, guard);
  }
};

json result(const Outcome& outcome) {
  EXPECT_EQ(outcome.verdict, Outcome::Verdict::ack) << outcome.error;
  return json::parse(outcome.result.bytes, nullptr, false);
}

void expect_word(const Outcome& outcome, const std::string& word) {
  EXPECT_EQ(outcome.verdict, Outcome::Verdict::nack) << outcome.result.bytes;
  EXPECT_EQ(outcome.error, word);
  EXPECT_FALSE(outcome.delay);  // so that the job's own policy counts
}

TEST_P(UrlCheck, ReportsEveryStatus) {
  for (const int code : {200, 204, 404, 500, 503}) {
    UrlServer server([&](const std::string&) { return status(code); });
    const json row = result(check(server.url("/a?b=c")));

    EXPECT_EQ(row["status"], code);
    EXPECT_EQ(row["url"], server.url("/a?b=c"));
    EXPECT_GE(row["elapsed_ms"], 0);
    EXPECT_TRUE(row["error"].is_null());
  }
}

TEST_P(UrlCheck, FollowsRedirectsToTheLastAnswer) {
  UrlServer server([](const std::string& request) {
    return request.starts_with("GET /old ") ? redirect("/new") : status(204);
  });
  const json row = result(check(server.url("/old")));

  EXPECT_EQ(row["status"], 204);
  EXPECT_EQ(row["url"], server.url("/old"));
}

TEST_P(UrlCheck, ShowsTheRedirectWhenNoneMayBeFollowed) {
  UrlServer server([](const std::string&) { return redirect("/new"); });

  EXPECT_EQ(result(check_payload({{"url", server.url()}, {"redirects", 0}}))["status"], 301);
}

TEST_P(UrlCheck, EndsARedirectLoop) {
  UrlServer server([](const std::string&) { return redirect("/"); });

  expect_word(check_payload({{"url", server.url()}, {"redirects", 3}}), "redirects");
  EXPECT_EQ(server.requests().size(), 4U);
}

TEST_P(UrlCheck, FollowsNoRedirectToAnotherProtocol) {
  UrlServer server([](const std::string&) { return redirect("file:///etc/passwd"); });

  expect_word(check(server.url()), "protocol");
  expect_word(check("ftp://127.0.0.1/"), "protocol");
}

TEST_P(UrlCheck, NoticesARefusedConnection) {
  expect_word(check(fmt::format("http://127.0.0.1:{}/", closed_port())), "refused");
}

TEST_P(UrlCheck, ARedirectThatLeadsNowhereHasNoStatus) {
  const std::string target = fmt::format("http://127.0.0.1:{}/", closed_port());
  UrlServer server([&](const std::string&) { return redirect(target); });

  expect_word(check(server.url()), "refused");
}

TEST_P(UrlCheck, NoticesAResetAndAnEmptyAnswer) {
  UrlServer reset([](const std::string&) { return UrlServer::Answer{.text = "", .reset = true}; });
  expect_word(check(reset.url()), "reset");
  UrlServer empty([](const std::string&) { return UrlServer::Answer{}; });
  expect_word(check(empty.url()), "reset");
}

TEST_P(UrlCheck, NoticesSilence) {
  UrlServer server([](const std::string&) { return UrlServer::Answer{.text = "", .hold = true}; });

  expect_word(check_payload({{"url", server.url()}, {"timeout_ms", 50}}), "timeout");
}

TEST_P(UrlCheck, KeepsTheStatusOfAnAnswerThatBreaksOff) {
  UrlServer server([](const std::string&) {
    return UrlServer::Answer{.text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"};
  });
  const json row = result(check(server.url()));

  EXPECT_EQ(row["status"], 200);
  EXPECT_EQ(row["error"], "reset");
}

TEST_P(UrlCheck, NoticesWhatIsNoHttp) {
  UrlServer server([](const std::string&) { return UrlServer::Answer{.text = "SSH-2.0-x\r\n"}; });

  expect_word(check(server.url()), "protocol");
}

TEST_P(UrlCheck, NoticesWhatIsNoTls) {
  UrlServer server([](const std::string&) { return status(200); });

  expect_word(check(fmt::format("https://127.0.0.1:{}/", server.port())), "tls");
}

TEST_P(UrlCheck, NoticesANameThatDoesNotExist) {
  // A label of 64 characters is no name at all: the resolver says so without asking anybody.
  expect_word(check(fmt::format("http://{}.test/", std::string(64, 'a'))), "dns");
}

TEST_P(UrlCheck, StopsReadingALongBodyAndIsContent) {
  UrlServer server([](const std::string&) {
    return UrlServer::Answer{.text = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
                             .zeros = std::size_t{64} * 1024 * 1024};
  });
  const json row = result(check(server.url()));

  EXPECT_EQ(row["status"], 200);
  EXPECT_TRUE(row["error"].is_null());
}

TEST_P(UrlCheck, RefusesAUrlThatIsNone) {
  for (const char* url : {"", "http://", "http://a b/", "nonsense://x"})
    EXPECT_EQ(check(url).verdict, Outcome::Verdict::nack) << url;
}

TEST_P(UrlCheck, SendsTheMethodItWasGiven) {
  UrlServer server([](const std::string&) { return status(200); });
  for (const char* method : {"HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}) {
    EXPECT_EQ(result(check_payload({{"url", server.url("/x")}, {"method", method}}))["status"],
              200);
    EXPECT_THAT(server.requests().back(), StartsWith(fmt::format("{} /x HTTP/1.1\r\n", method)));
  }
}

TEST_P(UrlCheck, SaysWhoItIs) {
  UrlServer server([](const std::string&) { return status(200); });
  result(check(server.url()));

  EXPECT_THAT(server.requests().at(0), HasSubstr("User-Agent: millrace/"));
}

TEST_P(UrlCheck, ConnectsToNoPrivateAddressForARemoteBroker) {
  UrlServer server([](const std::string&) { return status(200); });
  expect_word(check(server.url(), NetGuard(std::vector<NetRule>{})), "blocked");
  expect_word(
      check(fmt::format("http://2130706433:{}/", server.port()), NetGuard(std::vector<NetRule>{})),
      "blocked");
  EXPECT_TRUE(server.requests().empty());

  const auto rule = parse_net_rule(fmt::format("127.0.0.0/8:{}", server.port()));
  EXPECT_EQ(result(check(server.url(), NetGuard({*rule})))["status"], 200);
}

TEST_P(UrlCheck, FollowsNoRedirectToAPrivateAddress) {
  UrlServer inner([](const std::string&) { return status(200); });
  UrlServer outer([&](const std::string&) { return redirect(inner.url()); });
  const auto rule = parse_net_rule(fmt::format("127.0.0.1:{}", outer.port()));

  expect_word(check(outer.url(), NetGuard({*rule})), "blocked");
  EXPECT_TRUE(inner.requests().empty());
}

TEST_P(UrlCheck, RefusesBadPayloads) {
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

INSTANTIATE_TEST_SUITE_P(OnBoth, UrlCheck, testing::Values(On::thread, On::loop),
                         [](const auto& test) {
                           return test.param == On::thread ? "Thread" : "Loop";
                         });

TEST(UrlCheckThread, EndsWhenAskedToStop) {
  UrlServer server([](const std::string&) { return UrlServer::Answer{.text = "", .hold = true}; });
  std::stop_source source;
  source.request_stop();
  Job job;
  job.payload = Payload::text(json{{"url", server.url()}}.dump());

  EXPECT_EQ(check_on_thread(job, {}, source.get_token()).verdict, Outcome::Verdict::nack);
}

// ---- what only the event loop has --------------------------------------------------------------

UrlServer::Answer kept_answer() {
  return {.text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", .keep = true};
}

TEST(UrlCheckLoop, EndsWhenAskedToStop) {
  UrlServer server([](const std::string&) { return UrlServer::Answer{.text = "", .hold = true}; });
  CheckLoop loop({});
  loop.start(1, {{"url", server.url()}, {"timeout_ms", 3'600'000}});
  ASSERT_TRUE(server.wait_for_requests(1));

  loop.cancel(1);

  const Completion completion = loop.wait();
  EXPECT_EQ(completion.outcome.verdict, Outcome::Verdict::nack);
  EXPECT_EQ(completion.stopped, StopReason::cancelled);
}

TEST(UrlCheckLoop, UsesAConnectionAgain) {
  UrlServer server([](const std::string&) { return kept_answer(); });
  CheckLoop loop({}, {.slots = 1});
  for (int i = 0; i < 20; ++i) {
    loop.start(1, {{"url", server.url()}, {"method", i % 3 == 1 ? "HEAD" : "GET"}});
    EXPECT_EQ(result(loop.wait().outcome)["status"], 200);
  }

  EXPECT_EQ(server.connections(), 1);
  EXPECT_EQ(server.requests().size(), 20U);
}

TEST(UrlCheckLoop, NoticesThatAKeptConnectionWasClosed) {
  UrlServer server([](const std::string&) {
    return UrlServer::Answer{.text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
  });
  CheckLoop loop({}, {.slots = 1});
  for (int i = 0; i < 20; ++i) {
    loop.start(1, {{"url", server.url()}});
    EXPECT_EQ(result(loop.wait().outcome)["status"], 200);
  }

  EXPECT_EQ(server.connections(), 20);
}

TEST(UrlCheckLoop, KeepsAHandleCleanBetweenMethods) {
  UrlServer server([](const std::string&) { return kept_answer(); });
  CheckLoop loop({}, {.slots = 1});
  for (const char* method : {"POST", "GET", "HEAD", "PUT", "GET"}) {
    loop.start(1, {{"url", server.url()}, {"method", method}});
    EXPECT_EQ(result(loop.wait().outcome)["status"], 200);
    EXPECT_THAT(server.requests().back(), StartsWith(fmt::format("{} / HTTP/1.1\r\n", method)));
  }
}

TEST(UrlCheckLoop, AHostGetsNoMoreThanItsLimitAndTimeDoesNotRunBefore) {
  UrlServer server([](const std::string& request) {
    return request.starts_with("GET /hold ") ? UrlServer::Answer{.text = "", .hold = true}
                                             : status(200);
  });
  CheckLoop loop({}, {.slots = 8, .host_limit = 1});
  loop.start(1, {{"url", server.url("/hold")}, {"timeout_ms", 600}});
  loop.start(2, {{"url", server.url("/next")}, {"timeout_ms", 500}});
  loop.start(3, {{"url", server.url("/stopped")}});
  loop.start(4, {{"url", fmt::format("http://localhost:{}/", closed_port())}});
  loop.cancel(3);

  // Another host, and one that waits and is stopped, come first.
  EXPECT_EQ(std::set({loop.wait().lease, loop.wait().lease}), std::set({LeaseId{3}, LeaseId{4}}));
  EXPECT_EQ(loop.wait().outcome.error, "timeout");
  EXPECT_EQ(result(loop.wait().outcome)["status"], 200);
  EXPECT_EQ(server.requests().size(), 2U);
}

TEST(UrlCheckLoop, ManyAtOnceAllEnd) {
  UrlServer server([](const std::string&) { return status(204); });
  CheckLoop loop({}, {.slots = 200});
  for (std::uint64_t i = 1; i <= 200; ++i) loop.start(i, {{"url", server.url()}});

  for (int i = 0; i < 200; ++i) EXPECT_EQ(result(loop.wait().outcome)["status"], 204);
}

}  // namespace
}  // namespace millrace::worker
