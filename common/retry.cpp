#include "common/retry.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "common/util/parse.h"

namespace millrace {
namespace {

tl::unexpected<Error> wrong(std::string_view word, std::string_view why) {
  return fail(ErrorCode::bad_request,
              fmt::format("retry `{:.80}`: {}; write e.g. `exponential:1s cap:5m jitter:50`, "
                          "`linear:5s` or `1s,5s,30s`",
                          word, why));
}

Result<Duration> read_delay(std::string_view word, std::string_view text) {
  const auto delay = parse_duration(text);
  if (!delay) return wrong(word, delay.error().message);
  return *delay;
}

Status read_list(std::string_view word, RetryPolicy& policy) {
  policy.shape = RetryPolicy::Shape::listed;
  for (std::size_t at = 0; at <= word.size();) {
    const std::size_t comma = std::min(word.find(',', at), word.size());
    const auto delay = read_delay(word, word.substr(at, comma - at));
    if (!delay) return tl::make_unexpected(delay.error());
    policy.delays.push_back(*delay);
    at = comma + 1;
  }
  if (policy.delays.size() <= kRetryDelaysMax) return {};
  return wrong(word, fmt::format("{} delays are over the limit of {}", policy.delays.size(),
                                 kRetryDelaysMax));
}

Status read_jitter(std::string_view word, std::string_view text, RetryPolicy& policy) {
  const auto [stop, error] =
      std::from_chars(text.data(), text.data() + text.size(), policy.jitter_percent);
  const bool whole = error == std::errc{} && stop == text.data() + text.size();
  if (whole && policy.jitter_percent >= 0 && policy.jitter_percent <= 100) return {};
  return wrong(word, "jitter is a number of percent from 0 to 100");
}

/// Which parts of a policy were named, so that none is named twice.
struct Named {
  bool shape = false;
  bool cap = false;
  bool jitter = false;
};

Status read_word(std::string_view word, RetryPolicy& policy, Named& named) {
  const auto colon = word.find(':');
  const std::string_view name = word.substr(0, colon);
  const std::string_view value =
      colon == std::string_view::npos ? std::string_view{} : word.substr(colon + 1);
  const bool is_list = colon == std::string_view::npos;
  const bool is_shape = is_list || name == "exponential" || name == "linear";
  bool* const seen = is_shape           ? &named.shape
                     : name == "cap"    ? &named.cap
                     : name == "jitter" ? &named.jitter
                                        : nullptr;
  if (seen == nullptr) return wrong(word, "there is no such word");
  if (std::exchange(*seen, true)) return wrong(word, "it is said twice");
  if (name == "jitter") return read_jitter(word, value, policy);
  if (is_list) return read_list(word, policy);
  const auto delay = read_delay(word, value);
  if (!delay) return tl::make_unexpected(delay.error());
  if (name == "cap") {
    policy.cap = *delay;
  } else {
    policy.shape = name == "linear" ? RetryPolicy::Shape::linear : RetryPolicy::Shape::exponential;
    policy.first = *delay;
  }
  return {};
}

Duration full_delay(const RetryPolicy& policy, int failures) {
  using Shape = RetryPolicy::Shape;
  if (policy.shape == Shape::listed) {
    const auto last = policy.delays.size() - 1;
    return policy.delays[std::min(static_cast<std::size_t>(failures - 1), last)];
  }
  const auto first = static_cast<double>(policy.first.count());
  const auto factor = policy.shape == Shape::linear
                          ? static_cast<double>(failures)
                          : static_cast<double>(1L << std::min(failures - 1, 60));
  const auto cap = static_cast<double>(policy.cap.count());
  return Duration{static_cast<std::int64_t>(std::min(first * factor, cap))};
}

}  // namespace

Duration RetryPolicy::delay(int failures, double random) const {
  const auto full = static_cast<double>(full_delay(*this, std::max(failures, 1)).count());
  const double share = jitter_percent / 100.0;
  return Duration{static_cast<std::int64_t>(full * (1.0 - share + share * random))};
}

Result<RetryPolicy> parse_retry(std::string_view text) {
  RetryPolicy policy;
  Named named;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t space = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, space - at);
    at = space + 1;
    if (word.empty()) continue;
    if (const Status good = read_word(word, policy, named); !good)
      return tl::make_unexpected(good.error());
  }
  if (!named.shape && !named.cap && !named.jitter) return wrong(text, "it says nothing");
  if (policy.shape == RetryPolicy::Shape::listed && named.cap)
    return wrong(text, "a list of delays has no cap");
  if (!named.cap) policy.cap = std::max(policy.cap, policy.first);
  if (policy.first > policy.cap) return wrong(text, "the first delay is above its cap");
  return policy;
}

std::string format_retry(const RetryPolicy& policy) {
  using Shape = RetryPolicy::Shape;
  std::string text;
  if (policy.shape == Shape::listed) {
    for (const Duration delay : policy.delays)
      text += (text.empty() ? "" : ",") + format_duration(delay);
  } else {
    text = fmt::format("{}:{}", policy.shape == Shape::linear ? "linear" : "exponential",
                       format_duration(policy.first));
    if (policy.cap != std::max(kBackoffMax, policy.first))
      text += fmt::format(" cap:{}", format_duration(policy.cap));
  }
  if (policy.jitter_percent != kJitterPercentDefault)
    text += fmt::format(" jitter:{}", policy.jitter_percent);
  return text;
}

}  // namespace millrace
