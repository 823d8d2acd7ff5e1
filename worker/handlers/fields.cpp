#include "worker/handlers/fields.h"

#include <fmt/format.h>

namespace millrace::worker {
namespace {

using nlohmann::json;

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

}  // namespace

Fields::Fields(const Payload& payload, const char* example)
    : example_(example), object_(json::object()) {
  if (payload.form == Payload::Form::none) return;
  if (payload.form == Payload::Form::binary) {
    complain(
        fmt::format("it is {} opaque bytes, expected JSON such as {}", payload.size(), example));
    return;
  }
  json value = json::parse(payload.bytes, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded())
    complain(fmt::format("it is no JSON, expected an object such as {}", example));
  else if (value.is_object())
    object_ = std::move(value);
  else if (!value.is_null())
    complain(fmt::format("it is {}, expected an object such as {}", shown(value), example));
}

void Fields::complain(std::string problem) {
  if (!problem_) problem_ = "bad_payload: " + std::move(problem);
}

const json* Fields::find(const char* name, bool needed) {
  const auto found = object_.find(name);
  if (found != object_.end() && !found->is_null()) return &*found;
  if (needed)
    complain(fmt::format("`{}` is missing, expected an object such as {}", name, example_));
  return nullptr;
}

std::int64_t Fields::integer(const char* name, std::int64_t min, std::int64_t max,
                             std::optional<std::int64_t> standard) {
  const json* value = find(name, !standard);
  if (value == nullptr) return standard.value_or(min);
  // Above 2^63 the library holds it as unsigned, and get<int64_t> would wrap.
  const bool fits = value->is_number_integer() &&
                    (!value->is_number_unsigned() ||
                     value->get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX));
  if (fits && value->get<std::int64_t>() >= min && value->get<std::int64_t>() <= max)
    return value->get<std::int64_t>();
  complain(
      fmt::format("{} is {}, it must be an integer of {} … {}", name, shown(*value), min, max));
  return min;
}

std::string Fields::text(const char* name, const std::optional<std::string>& standard) {
  const json* value = find(name, !standard);
  if (value == nullptr) return standard.value_or("");
  if (value->is_string()) return value->get<std::string>();
  complain(fmt::format("{} is {}, it must be a string", name, shown(*value)));
  return {};
}

bool Fields::boolean(const char* name, bool standard) {
  const json* value = find(name, false);
  if (value == nullptr) return standard;
  if (value->is_boolean()) return value->get<bool>();
  complain(fmt::format("{} is {}, it must be true or false", name, shown(*value)));
  return standard;
}

Payload json_payload(const json& value) {
  return Payload::text(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace millrace::worker
