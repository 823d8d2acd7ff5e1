#pragma once

// JSON as the programs write it: built straight into text, so that numbers keep every digit and a
// row costs no tree.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/protocol/messages.h"

namespace millrace::producer {

/// Appends `text` as a JSON string. Bytes that are no UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);
[[nodiscard]] std::string json_string(std::string_view text);
/// True for any JSON value (RFC 8259, in UTF-8).
[[nodiscard]] bool is_json(std::string_view text);
/// What is valid JSON, without the white space between its parts: fit for one line.
[[nodiscard]] std::string compact_json(std::string_view json);

/// How a payload or result appears in a row: the value itself where it is JSON text, else a string;
/// `{"base64":"…"}` for bytes; null for nothing.
[[nodiscard]] std::string payload_json(const Payload& payload);
/// The same for people: text as it is, `base64:…` for bytes.
[[nodiscard]] std::string payload_text(const Payload& payload);

/// What a run says of how far it is, {"done","total","text"}, for people: `3 of 10 (30 %) text`.
[[nodiscard]] std::string progress_text(const Payload& progress);

/// Builds one object, field by field.
class JsonObject {
 public:
  JsonObject& text(std::string_view key, std::string_view value);
  /// Null when empty.
  JsonObject& text_or_null(std::string_view key, std::string_view value);
  JsonObject& number(std::string_view key, std::uint64_t value);
  JsonObject& number(std::string_view key, std::int64_t value);
  JsonObject& number(std::string_view key, int value) {
    return number(key, static_cast<std::int64_t>(value));
  }
  JsonObject& boolean(std::string_view key, bool value);
  JsonObject& null(std::string_view key) { return raw(key, "null"); }
  /// `json` is a JSON value already.
  JsonObject& raw(std::string_view key, std::string_view json);
  [[nodiscard]] std::string take();

 private:
  std::string out_ = "{";
};

/// `[1,2,3]` of `count` ids from `first` on.
[[nodiscard]] std::string json_id_range(JobId first, std::uint64_t count);
[[nodiscard]] std::string json_ids(std::span<const JobId> ids);

// Whole messages, with the keys of the wire; times as ISO 8601, what holds nothing as null.
[[nodiscard]] std::string to_json(const protocol::QueueInfo& queue);
[[nodiscard]] std::string to_json(const protocol::WorkerInfo& worker);
[[nodiscard]] std::string to_json(const protocol::Report& report);
[[nodiscard]] std::string to_json(const protocol::JobInfo& job);
[[nodiscard]] std::string to_json(const protocol::AttemptInfo& attempt);
[[nodiscard]] std::string to_json(const protocol::BatchInfo& batch);
/// A row of `kind ls`; null is what nobody said anything of.
[[nodiscard]] std::string to_json(const protocol::KindInfo& kind);
/// A row of `job output`: {"job","cursor","attempt","type","data","at"}.
[[nodiscard]] std::string to_json(JobId job, const protocol::OutputRow& row);
[[nodiscard]] std::string to_json(const protocol::BackedUp& backup);
/// A row of `results`: {"job","kind","state","result","error","attempts","cursor"}.
[[nodiscard]] std::string to_json(const protocol::ResultRow& row);

}  // namespace millrace::producer
