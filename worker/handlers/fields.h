#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "common/types.h"

namespace millrace::worker {

/// Reads the fields of a payload that is a JSON object. The first thing that is wrong is remembered
/// and told once, so that a handler reads all its fields and then asks for `problem()`. Fields it
/// does not ask for are ignored.
class Fields {
 public:
  /// `example` is shown to whoever sent something else. No payload and `null` count as `{}`.
  Fields(const Payload& payload, const char* example);

  /// An integer of min … max. Without it in the payload `standard`, or a problem when there is
  /// none.
  std::int64_t integer(const char* name, std::int64_t min, std::int64_t max,
                       std::optional<std::int64_t> standard = {});
  std::string text(const char* name, const std::optional<std::string>& standard = {});
  bool boolean(const char* name, bool standard);
  /// For rules over several fields.
  void complain(std::string problem);

  /// e.g. `bad_payload: ms is -1, it must be 0 … 1000`; nothing while all is well.
  [[nodiscard]] const std::optional<std::string>& problem() const { return problem_; }

 private:
  /// Null when it is not there; says so when it must be.
  const nlohmann::json* find(const char* name, bool needed);

  const char* example_;
  nlohmann::json object_;
  std::optional<std::string> problem_;
};

/// JSON in one line; bytes that are no UTF-8 are replaced.
[[nodiscard]] Payload json_payload(const nlohmann::json& value);

}  // namespace millrace::worker
