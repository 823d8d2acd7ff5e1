// Whole messages as JSON rows.

#include <type_traits>

#include "common/util/parse.h"
#include "producer/json_text.h"

namespace millrace::producer {
namespace {

/// Writes each field that `visit` names.
struct Visitor {
  JsonObject object;

  void operator()(const char* key, const std::string& value) { object.text_or_null(key, value); }
  void operator()(const char* key, bool value) { object.boolean(key, value); }
  void operator()(const char* key, const Payload& value) { object.raw(key, payload_json(value)); }
  void operator()(const char* key, const Duration& value) { object.number(key, value.count()); }
  void operator()(const char* key, const Time& value) {
    object.text_or_null(key, value == Time{} ? "" : format_time(value));
  }
  template <class Tag>
  void operator()(const char* key, const Id<Tag>& id) {
    if (id)
      object.number(key, id.value);
    else
      object.null(key);
  }
  template <class T>
  requires std::is_enum_v<T>
  void operator()(const char* key, const T& value) { object.text(key, to_string(value)); }
  template <class T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) void operator()(const char* key,
                                                                              const T& value) {
    object.number(key, value);
  }
  template <class T>
  void operator()(const char* key, const std::vector<T>& items) {
    std::string list = "[";
    for (const T& item : items) {
      if (list.size() > 1) list += ',';
      if constexpr (std::is_same_v<T, std::string>)
        append_json_string(list, item);
      else
        list += to_json(item);
    }
    object.raw(key, list + "]");
  }
  void operator()(const char* key, const std::map<std::string, std::uint64_t>& entries) {
    JsonObject nested;
    for (const auto& [name, value] : entries) nested.number(name, value);
    object.raw(key, nested.take());
  }
};

template <class T>
std::string visit_to_json(const T& message) {
  T copy = message;  // visit is shared with the decoder, which writes
  Visitor visitor;
  copy.visit(visitor);
  return visitor.object.take();
}

}  // namespace

std::string to_json(const protocol::QueueInfo& queue) { return visit_to_json(queue); }
std::string to_json(const protocol::WorkerInfo& worker) { return visit_to_json(worker); }
std::string to_json(const protocol::Report& report) { return visit_to_json(report); }
std::string to_json(const protocol::JobInfo& job) { return visit_to_json(job); }
std::string to_json(const protocol::AttemptInfo& attempt) { return visit_to_json(attempt); }
std::string to_json(const protocol::BatchInfo& batch) { return visit_to_json(batch); }

std::string to_json(const protocol::KindInfo& kind) {
  const auto count = [](JsonObject& object, std::string_view key, std::int64_t value) {
    if (value == 0) {
      object.null(key);
    } else {
      object.number(key, value);
    }
  };
  const protocol::KindOptions& options = kind.options;
  JsonObject object;
  object.text("kind", kind.kind);
  count(object, "max_attempts", options.max_attempts);
  count(object, "crashes_max", options.crashes_max);
  count(object, "timeout_ms", options.timeout.count());
  return object.text_or_null("retry", options.retry)
      .boolean("not_replayable", options.not_replayable)
      .boolean("by_operator", kind.by_operator)
      .take();
}

std::string to_json(JobId job, const protocol::OutputRow& row) {
  // A log line is text, also when it happens to look like a number.
  const bool is_line = row.type == OutputType::log && row.data.form == Payload::Form::text;
  return JsonObject()
      .number("job", job.value)
      .number("cursor", row.cursor.value)
      .number("attempt", row.attempt)
      .text("type", to_string(row.type))
      .raw("data", is_line ? json_string(row.data.bytes) : payload_json(row.data))
      .text("at", format_time(row.at))
      .take();
}

std::string to_json(const protocol::BackedUp& backup) {
  return JsonObject()
      .text("path", backup.path)
      .number("bytes", backup.bytes)
      .number("jobs", backup.jobs)
      .take();
}

std::string to_json(const protocol::ResultRow& row) {
  return JsonObject()
      .number("job", row.job.value)
      .text("kind", row.kind)
      .text("state", to_string(row.state))
      .raw("result", payload_json(row.result))
      .text_or_null("error", row.error)
      .number("attempts", row.attempts)
      .number("cursor", row.cursor.value)
      .take();
}

}  // namespace millrace::producer
