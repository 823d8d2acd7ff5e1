#include "producer/json_text.h"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "common/util/base64.h"
#include "producer/utf8.h"

namespace millrace::producer {
namespace {

void append_escaped(std::string& out, char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      break;
    case '\\':
      out += "\\\\";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    default:
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
        fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(c));
      else
        out += c;
  }
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 1)
      append_escaped(out, text.front());
    else
      out += length == 0 ? "\xEF\xBF\xBD" : text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out += '"';
}

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

bool is_json(std::string_view text) { return nlohmann::json::accept(text); }

std::string compact_json(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  bool in_string = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (!in_string && (c == ' ' || c == '\n' || c == '\r' || c == '\t')) continue;
    out += c;
    if (c == '"') in_string = !in_string;
    if (c == '\\' && in_string) out += json[++i];
  }
  return out;
}

std::string payload_json(const Payload& payload) {
  switch (payload.form) {
    case Payload::Form::none:
      return "null";
    case Payload::Form::text:
      return is_json(payload.bytes) ? compact_json(payload.bytes) : json_string(payload.bytes);
    case Payload::Form::binary:
      return JsonObject().text("base64", base64(payload.bytes)).take();
  }
  return "null";
}

std::string payload_text(const Payload& payload) {
  if (payload.form == Payload::Form::binary) return "base64:" + base64(payload.bytes);
  return payload.bytes;
}

std::string progress_text(const Payload& progress) {
  const auto json = nlohmann::json::parse(progress.bytes, nullptr, false);
  if (!json.is_object()) return payload_text(progress);
  const auto number = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_number() ? found->get<double>() : -1.0;
  };
  const double done = number("done");
  const double total = number("total");
  std::string text = done < 0 ? "" : fmt::format("{}", done);
  if (done >= 0 && total > 0) text += fmt::format(" of {} ({:.0f} %)", total, done / total * 100.0);
  const auto words = json.find("text");
  if (words == json.end() || !words->is_string()) return text;
  return text + (text.empty() ? "" : " ") + words->get<std::string>();
}

JsonObject& JsonObject::raw(std::string_view key, std::string_view json) {
  if (out_.size() > 1) out_ += ',';
  append_json_string(out_, key);
  out_ += ':';
  out_ += json;
  return *this;
}

JsonObject& JsonObject::text(std::string_view key, std::string_view value) {
  return raw(key, json_string(value));
}

JsonObject& JsonObject::text_or_null(std::string_view key, std::string_view value) {
  return value.empty() ? null(key) : text(key, value);
}

JsonObject& JsonObject::number(std::string_view key, std::uint64_t value) {
  return raw(key, fmt::format_int(value).str());
}

JsonObject& JsonObject::number(std::string_view key, std::int64_t value) {
  return raw(key, fmt::format_int(value).str());
}

JsonObject& JsonObject::boolean(std::string_view key, bool value) {
  return raw(key, value ? "true" : "false");
}

std::string JsonObject::take() {
  out_ += '}';
  return std::exchange(out_, "{");
}

std::string json_id_range(JobId first, std::uint64_t count) {
  std::string out = "[";
  for (std::uint64_t i = 0; i < count; ++i) {
    if (i > 0) out += ',';
    out += fmt::format_int(first.value + i).c_str();
  }
  return out + "]";
}

std::string json_ids(std::span<const JobId> ids) {
  std::string out = "[";
  for (const JobId id : ids) {
    if (out.size() > 1) out += ',';
    out += fmt::format_int(id.value).c_str();
  }
  return out + "]";
}

}  // namespace millrace::producer
