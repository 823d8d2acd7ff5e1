#include "worker/process/child_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <msgpack.hpp>
#include <nlohmann/json.hpp>

#include "common/util/base64.h"

namespace millrace::worker {
namespace {

using nlohmann::json;

/// Nested as deep as anything on the wire; a message has few fields.
constexpr std::size_t kDepthMax = 16;
constexpr std::size_t kItemsMax = 4096;
constexpr std::size_t kLengthBytes = 4;

constexpr std::array<std::string_view, 3> kToChildTypes = {"job", "cancel", "enqueued"};
constexpr std::array<std::string_view, 7> kFromChildTypes = {
    "ready", "result", "error", "progress", "log", "chunk", "enqueue"};

struct Wrong {
  std::string what;
};

// ---- writing: the same calls for both forms ----------------------------------------------------

/// A map behind its length. The number of its fields is known only at the end: a byte is kept free.
class MsgpackWriter {
 public:
  MsgpackWriter() : pack_(buffer_) {
    buffer_.write("\0\0\0\0\xde\0\0", kLengthBytes + 3);  // map 16, no entry yet
  }
  void text(std::string_view name, std::string_view value) {
    key(name);
    pack_text(value);
  }
  template <class T>
  void number(std::string_view name, T value) {
    key(name);
    pack_.pack(value);
  }
  void payload(std::string_view name, const Payload& value) {
    key(name);
    pack_payload(value);
  }
  void ids(std::string_view name, const std::vector<JobId>& ids) {
    key(name);
    pack_.pack_array(static_cast<std::uint32_t>(ids.size()));
    for (const JobId id : ids) pack_.pack(id.value);
  }
  void jobs(std::string_view name, const std::vector<JobRequest>& jobs);
  [[nodiscard]] std::string take() {
    std::string frame(buffer_.data(), buffer_.size());
    const std::size_t length = frame.size() - kLengthBytes;
    for (std::size_t i = 0; i < kLengthBytes; ++i)
      frame[i] = static_cast<char>(length >> (8 * (kLengthBytes - 1 - i)));
    frame[kLengthBytes + 1] = static_cast<char>(fields_ >> 8U);
    frame[kLengthBytes + 2] = static_cast<char>(fields_);
    return frame;
  }

 private:
  void key(std::string_view name) {
    ++fields_;
    pack_text(name);
  }
  void pack_text(std::string_view value) {
    pack_.pack_str(static_cast<std::uint32_t>(value.size()));
    pack_.pack_str_body(value.data(), static_cast<std::uint32_t>(value.size()));
  }
  void pack_payload(const Payload& value) {
    if (value.form == Payload::Form::none) {
      pack_.pack_nil();
    } else if (value.form == Payload::Form::text) {
      pack_text(value.bytes);
    } else {
      pack_.pack_bin(static_cast<std::uint32_t>(value.size()));
      pack_.pack_bin_body(value.bytes.data(), static_cast<std::uint32_t>(value.size()));
    }
  }

  msgpack::sbuffer buffer_;
  msgpack::packer<msgpack::sbuffer> pack_;
  unsigned fields_ = 0;
};

void MsgpackWriter::jobs(std::string_view name, const std::vector<JobRequest>& jobs) {
  key(name);
  pack_.pack_array(static_cast<std::uint32_t>(jobs.size()));
  for (const JobRequest& job : jobs) {
    pack_.pack_map(11);
    pack_text("kind"), pack_text(job.kind);
    pack_text("payload"), pack_payload(job.payload);
    pack_text("priority"), pack_.pack(job.priority);
    pack_text("max_attempts"), pack_.pack(job.max_attempts);
    pack_text("crashes_max"), pack_.pack(job.crashes_max);
    pack_text("delay_ms"), pack_.pack(job.delay.count());
    pack_text("run_at"), pack_.pack(job.run_at.time_since_epoch().count());
    pack_text("timeout_ms"), pack_.pack(job.timeout.count());
    pack_text("retry"), pack_text(job.retry);
    pack_text("expires_in_ms"), pack_.pack(job.expires_in.count());
    pack_text("unique_key"), pack_text(job.unique.key);
  }
}

std::string json_text(std::string_view text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

class JsonWriter {
 public:
  void text(std::string_view name, std::string_view value) { put(name, json_text(value)); }
  template <class T>
  void number(std::string_view name, T value) {
    put(name, fmt::format("{}", value));
  }
  /// JSON text as the value it is; other text and bytes under names of their own.
  void payload(std::string_view name, const Payload& value) {
    if (value.form == Payload::Form::binary)
      return put(fmt::format("{}_base64", name), json_text(base64(value.bytes)));
    if (value.form == Payload::Form::none) return put(name, "null");
    if (!json::accept(value.bytes)) return text(fmt::format("{}_text", name), value.bytes);
    std::string line = value.bytes;  // a line end is white space here, or it would not be JSON
    std::replace_if(
        line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
    put(name, line);
  }
  void ids(std::string_view name, const std::vector<JobId>& ids) {
    std::string list;
    for (const JobId id : ids) list += fmt::format("{}{}", list.empty() ? "" : ",", id.value);
    put(name, fmt::format("[{}]", list));
  }
  [[nodiscard]] std::string take() { return text_ + "}\n"; }

 private:
  void put(std::string_view name, std::string_view value) {
    text_ += fmt::format("{}\"{}\":{}", text_.empty() ? "{" : ",", name, value);
  }
  std::string text_;
};

template <class Writer>
std::string write(const ToChild& message) {
  Writer out;
  out.text("type", kToChildTypes[static_cast<std::size_t>(message.type)]);
  out.number("lease", message.lease.value);
  if (message.type == ToChild::Type::job) {
    const Job& job = *message.job;
    out.number("job", job.id.value);
    out.text("kind", job.kind);
    out.text("queue", job.queue);
    out.number("attempt", job.attempt);
    out.number("max_attempts", job.max_attempts);
    out.number("deliveries", job.deliveries);
    out.number("timeout_ms", job.timeout.count());
    out.payload("payload", job.payload);
  } else if (message.type == ToChild::Type::enqueued) {
    out.number("request", message.request);
    if (message.error.empty())
      out.ids("ids", message.ids);
    else
      out.text("error", message.error);
  }
  return out.take();
}

// ---- reading: a source for each form, one reader -----------------------------------------------

class MsgpackFields {
 public:
  explicit MsgpackFields(const msgpack::object& object) : map_(object) {
    if (object.type != msgpack::type::MAP) throw Wrong{"a message is no map"};
  }
  [[nodiscard]] std::optional<std::string> text(std::string_view name) const {
    const msgpack::object* value = find(name);
    if (value == nullptr) return std::nullopt;
    if (value->type != msgpack::type::STR) throw Wrong{fmt::format("{} is no text", name)};
    return std::string(value->via.str.ptr, value->via.str.size);
  }
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view name) const {
    const msgpack::object* value = find(name);
    if (value == nullptr) return std::nullopt;
    if (value->type == msgpack::type::POSITIVE_INTEGER && value->via.u64 <= INT64_MAX)
      return static_cast<std::int64_t>(value->via.u64);
    if (value->type == msgpack::type::NEGATIVE_INTEGER) return value->via.i64;
    throw Wrong{fmt::format("{} is no integer", name)};
  }
  [[nodiscard]] std::optional<bool> boolean(std::string_view name) const {
    const msgpack::object* value = find(name);
    if (value == nullptr) return std::nullopt;
    if (value->type != msgpack::type::BOOLEAN) throw Wrong{fmt::format("{} is no boolean", name)};
    return value->via.boolean;
  }
  [[nodiscard]] Payload payload(std::string_view name) const {
    const msgpack::object* value = find(name);
    if (value == nullptr) return {};
    if (value->type == msgpack::type::STR)
      return Payload::text({value->via.str.ptr, value->via.str.size});
    if (value->type == msgpack::type::BIN)
      return Payload::binary({value->via.bin.ptr, value->via.bin.size});
    throw Wrong{fmt::format("{} is neither text nor bytes", name)};
  }
  [[nodiscard]] std::vector<MsgpackFields> list(std::string_view name) const {
    const msgpack::object* value = find(name);
    if (value == nullptr || value->type != msgpack::type::ARRAY)
      throw Wrong{fmt::format("{} is no array", name)};
    return {value->via.array.ptr, value->via.array.ptr + value->via.array.size};
  }
  [[nodiscard]] std::vector<JobId> ids(std::string_view name) const {
    std::vector<JobId> ids;
    const msgpack::object* value = find(name);
    if (value == nullptr) return ids;
    for (const std::uint64_t id : value->as<std::vector<std::uint64_t>>()) ids.emplace_back(id);
    return ids;
  }

 private:
  [[nodiscard]] const msgpack::object* find(std::string_view name) const {
    for (std::uint32_t i = 0; i < map_.via.map.size; ++i) {
      const auto& entry = map_.via.map.ptr[i];
      if (entry.key.type == msgpack::type::STR &&
          std::string_view(entry.key.via.str.ptr, entry.key.via.str.size) == name)
        return entry.val.type == msgpack::type::NIL ? nullptr : &entry.val;
    }
    return nullptr;
  }
  msgpack::object map_;
};

class JsonFields {
 public:
  explicit JsonFields(const json& object) : object_(&object) {
    if (!object.is_object()) throw Wrong{"a message is no object"};
  }
  [[nodiscard]] std::optional<std::string> text(std::string_view name) const {
    const json* value = find(name);
    if (value == nullptr || value->is_null()) return std::nullopt;
    if (!value->is_string()) throw Wrong{fmt::format("{} is no text", name)};
    return value->get<std::string>();
  }
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view name) const {
    const json* value = find(name);
    if (value == nullptr || value->is_null()) return std::nullopt;
    if (!value->is_number_integer() ||
        (value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX))
      throw Wrong{fmt::format("{} is no integer", name)};
    return value->get<std::int64_t>();
  }
  [[nodiscard]] std::optional<bool> boolean(std::string_view name) const {
    const json* value = find(name);
    if (value == nullptr || value->is_null()) return std::nullopt;
    if (!value->is_boolean()) throw Wrong{fmt::format("{} is no boolean", name)};
    return value->get<bool>();
  }
  [[nodiscard]] Payload payload(std::string_view name) const {
    if (const auto bytes = text(fmt::format("{}_base64", name))) {
      std::optional<std::string> decoded = from_base64(*bytes);
      if (!decoded) throw Wrong{fmt::format("{}_base64 is no base64", name)};
      return Payload::binary(std::move(*decoded));
    }
    if (auto plain = text(fmt::format("{}_text", name))) return Payload::text(std::move(*plain));
    const json* value = find(name);
    if (value == nullptr) return {};
    return Payload::text(value->dump(-1, ' ', false, json::error_handler_t::replace));
  }
  [[nodiscard]] std::vector<JsonFields> list(std::string_view name) const {
    const json* value = find(name);
    if (value == nullptr || !value->is_array()) throw Wrong{fmt::format("{} is no array", name)};
    if (value->size() > kItemsMax) throw Wrong{fmt::format("{} is too long", name)};
    return {value->begin(), value->end()};
  }

 private:
  [[nodiscard]] const json* find(std::string_view name) const {
    const auto found = object_->find(name);
    return found == object_->end() ? nullptr : &*found;
  }
  const json* object_;
};

template <std::size_t Count>
std::size_t type_of(const std::optional<std::string>& name,
                    const std::array<std::string_view, Count>& names) {
  if (!name) throw Wrong{"a message has no type"};
  const auto found = std::find(names.begin(), names.end(), *name);
  if (found == names.end()) throw Wrong{fmt::format("there is no message of type `{:.40}`", *name)};
  return static_cast<std::size_t>(found - names.begin());
}

template <class Fields>
JobRequest read_job(const Fields& fields) {
  // What is out of range is for the broker to refuse, in its words.
  const auto small = [&](std::string_view name, int standard) {
    const std::int64_t value = fields.integer(name).value_or(standard);
    return static_cast<int>(std::clamp<std::int64_t>(value, -1, INT32_MAX));
  };
  const auto span = [&](std::string_view name) {
    return Duration(fields.integer(name).value_or(0));
  };
  JobRequest job;
  job.kind = fields.text("kind").value_or("");
  job.payload = fields.payload("payload");
  job.priority = small("priority", kPriorityDefault);
  job.max_attempts = small("max_attempts", 0);
  job.crashes_max = small("crashes_max", 0);
  job.delay = span("delay_ms");
  job.run_at = Time(span("run_at"));
  job.timeout = span("timeout_ms");
  job.retry = fields.text("retry").value_or("");
  job.expires_in = span("expires_in_ms");
  job.unique.key = fields.text("unique_key").value_or("");
  return job;
}

template <class Fields>
FromChild read(const Fields& fields) {
  using Type = FromChild::Type;
  FromChild message;
  message.type = static_cast<Type>(type_of(fields.text("type"), kFromChildTypes));
  if (message.type == Type::ready) {
    message.protocol = static_cast<int>(fields.integer("protocol").value_or(0));
    return message;
  }
  const auto lease = fields.integer("lease");
  if (!lease) throw Wrong{"a message names no lease"};
  message.lease = LeaseId{static_cast<std::uint64_t>(*lease)};
  const auto count = [&](std::string_view name) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(0, fields.integer(name).value_or(0)));
  };
  switch (message.type) {
    case Type::result:
      message.data = fields.payload("result");
      break;
    case Type::error:
      message.text = fields.text("error").value_or("failed");
      message.retry = fields.boolean("retry").value_or(true);
      if (const auto delay = fields.integer("delay_ms"); delay && *delay >= 0)
        message.delay = Duration(*delay);
      break;
    case Type::progress:
      message.done = count("done");
      message.total = count("total");
      message.text = fields.text("text").value_or("");
      break;
    case Type::log:
      message.text = fields.text("line").value_or("");
      break;
    case Type::chunk:
      message.data = fields.payload("data");
      break;
    case Type::enqueue:
      message.request = count("request");
      message.queue = fields.text("queue").value_or("");
      for (const Fields& job : fields.list("jobs")) message.jobs.push_back(read_job(job));
      break;
    case Type::ready:
      break;
  }
  return message;
}

/// Runs `work` on the parsed body; what is wrong with it becomes the error.
template <class Work>
auto parsed(std::string_view body, const Work& work) -> Result<decltype(work(msgpack::object{}))> {
  try {
    const msgpack::unpack_limit limits(kItemsMax, 64, kChildMessageMax, kChildMessageMax,
                                       kChildMessageMax, kDepthMax);
    const auto handle = msgpack::unpack(
        body.data(), body.size(), [](auto, auto, auto) { return true; }, nullptr, limits);
    return work(handle.get());
  } catch (const Wrong& wrong) {
    return fail(ErrorCode::bad_format, wrong.what);
  } catch (const std::exception& error) {
    return fail(ErrorCode::bad_format, error.what());
  }
}

}  // namespace

std::string encode(const ToChild& message, ChildForm form) {
  return form == ChildForm::json ? write<JsonWriter>(message) : write<MsgpackWriter>(message);
}

std::string encode(const FromChild& message) {
  using Type = FromChild::Type;
  MsgpackWriter out;
  out.text("type", kFromChildTypes[static_cast<std::size_t>(message.type)]);
  out.number("lease", message.lease.value);
  switch (message.type) {
    case Type::ready:
      out.number("protocol", message.protocol);
      break;
    case Type::result:
      out.payload("result", message.data);
      break;
    case Type::error:
      out.text("error", message.text);
      out.number("retry", message.retry);
      if (message.delay) out.number("delay_ms", message.delay->count());
      break;
    case Type::progress:
      out.number("done", message.done);
      out.number("total", message.total);
      out.text("text", message.text);
      break;
    case Type::log:
      out.text("line", message.text);
      break;
    case Type::chunk:
      out.payload("data", message.data);
      break;
    case Type::enqueue:
      out.number("request", message.request);
      out.text("queue", message.queue);
      out.jobs("jobs", message.jobs);
      break;
  }
  return out.take();
}

Result<FromChild> decode_from_child(std::string_view body, ChildForm form) {
  if (form != ChildForm::json)
    return parsed(body, [](const msgpack::object& object) { return read(MsgpackFields(object)); });
  try {
    return read(JsonFields(json::parse(body)));
  } catch (const Wrong& wrong) {
    return fail(ErrorCode::bad_format, wrong.what);
  } catch (const json::exception& error) {
    return fail(ErrorCode::bad_format, fmt::format("a line is no JSON: {:.100}", body));
  }
}

Result<JobMessage> decode_to_child(std::string_view body) {
  return parsed(body, [](const msgpack::object& object) {
    const MsgpackFields fields(object);
    JobMessage message;
    message.type = static_cast<ToChild::Type>(type_of(fields.text("type"), kToChildTypes));
    const auto integer = [&](std::string_view name) { return fields.integer(name).value_or(0); };
    message.lease = LeaseId{static_cast<std::uint64_t>(integer("lease"))};
    message.request = static_cast<std::uint64_t>(integer("request"));
    message.ids = fields.ids("ids");
    message.error = fields.text("error").value_or("");
    Job& job = message.job;
    job.id = JobId{static_cast<std::uint64_t>(integer("job"))};
    job.lease = message.lease;
    job.kind = fields.text("kind").value_or("");
    job.queue = fields.text("queue").value_or("");
    job.payload = fields.payload("payload");
    job.attempt = static_cast<int>(integer("attempt"));
    job.max_attempts = static_cast<int>(integer("max_attempts"));
    job.deliveries = static_cast<int>(integer("deliveries"));
    job.timeout = Duration(integer("timeout_ms"));
    return message;
  });
}

}  // namespace millrace::worker
