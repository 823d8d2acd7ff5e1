#include "broker/engine/retention.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "common/util/parse.h"

namespace millrace::broker {
namespace {

tl::unexpected<Error> wrong(std::string_view word, std::string_view why) {
  return fail(ErrorCode::bad_config,
              fmt::format("retention `{:.80}`: {}; write e.g. `7d`, or "
                          "`queue=mail state=dead age=30d jobs=1000 bytes=100MB`",
                          word, why));
}

Status read_state(std::string_view value, RetentionRule& rule) {
  JobState state{};
  if (!parse(value, state) || !is_final(state))
    return wrong(value, "that is no final state (done, dead, cancelled, expired)");
  rule.state = state;
  return {};
}

Status read_age(std::string_view value, RetentionRule& rule) {
  const auto age = parse_duration(value);
  if (!age) return wrong(value, age.error().message);
  rule.age = *age;
  return {};
}

Status read_jobs(std::string_view value, RetentionRule& rule) {
  std::uint64_t jobs = 0;
  const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), jobs);
  if (error != std::errc{} || stop != value.data() + value.size())
    return wrong(value, "that is no number of jobs");
  rule.jobs = jobs;
  return {};
}

Status read_bytes(std::string_view value, RetentionRule& rule) {
  const auto bytes = parse_size(value);
  if (!bytes) return wrong(value, bytes.error().message);
  rule.bytes = *bytes;
  return {};
}

Status read_word(std::string_view word, RetentionRule& rule) {
  const auto equals = word.find('=');
  if (equals == std::string_view::npos) return read_age(word, rule);
  const std::string_view key = word.substr(0, equals);
  const std::string_view value = word.substr(equals + 1);
  if (key == "age") return read_age(value, rule);
  if (key == "jobs") return read_jobs(value, rule);
  if (key == "bytes") return read_bytes(value, rule);
  if (key == "state") return read_state(value, rule);
  if (key != "queue") return wrong(word, "there is no such word");
  if (!is_name(value)) return wrong(value, "that is no queue name");
  rule.queue = value;
  return {};
}

int specificity(const RetentionRule& rule) {
  return (rule.queue.empty() ? 0 : 2) + (rule.state ? 1 : 0);
}

}  // namespace

Retention::Retention(Duration age)
    : rules{{.queue = {}, .state = {}, .age = age, .jobs = {}, .bytes = {}}} {}

Keep Retention::keep(std::string_view queue, JobState state) const {
  Keep keep{.age = kAgeDefault, .jobs = {}, .bytes = {}};
  int age_from = -1;
  int jobs_from = -1;
  int bytes_from = -1;
  for (const RetentionRule& rule : rules) {
    if (!rule.queue.empty() && rule.queue != queue) continue;
    if (rule.state && *rule.state != state) continue;
    const int rank = specificity(rule);
    if (rule.age && rank >= age_from) keep.age = *rule.age, age_from = rank;
    if (rule.jobs && rank >= jobs_from) keep.jobs = rule.jobs, jobs_from = rank;
    if (rule.bytes && rank >= bytes_from) keep.bytes = rule.bytes, bytes_from = rank;
  }
  return keep;
}

Duration Retention::shortest_age() const {
  Duration shortest{};
  bool has_default = true;
  for (const RetentionRule& rule : rules) {
    if (!rule.age) continue;
    if (rule.queue.empty() && !rule.state) has_default = false;
    if (rule.age->count() == 0) continue;
    shortest = shortest.count() == 0 ? *rule.age : std::min(shortest, *rule.age);
  }
  if (!has_default) return shortest;
  return shortest.count() == 0 ? kAgeDefault : std::min(shortest, kAgeDefault);
}

Result<RetentionRule> parse_retention_rule(std::string_view text) {
  RetentionRule rule;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    at = end + 1;
    if (word.empty()) continue;
    if (const Status good = read_word(word, rule); !good) return tl::make_unexpected(good.error());
  }
  if (!rule.age && !rule.jobs && !rule.bytes)
    return wrong(text, "it names neither age nor jobs nor bytes");
  return rule;
}

}  // namespace millrace::broker
