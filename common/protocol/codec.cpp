#include "common/protocol/codec.h"

#include <fmt/format.h>

#include <concepts>
#include <limits>
#include <msgpack.hpp>
#include <optional>
#include <type_traits>

namespace millrace::protocol {
namespace {

// ---- what kinds of fields there are ----------------------------------------------------------

template <class T>
concept Word = std::is_enum_v<T>;

template <class T>
concept Integer = std::is_integral_v<T> && !std::is_same_v<T, bool>;

template <class T>
concept Sequence = requires(T t) {
  t.emplace_back();
  requires !std::is_same_v<T, std::string>;
};

template <class T>
concept Dictionary = requires {
  typename T::mapped_type;
};

/// A nested message: anything that names its own fields.
template <class T>
concept Record =
    std::is_class_v<T> && !Sequence<T> && !Dictionary<T> && !std::is_same_v<T, std::string> &&
    !std::is_same_v<T, Payload> && !std::is_same_v<T, RequestId> && !std::is_same_v<T, Time> &&
    !std::is_same_v<T, Duration> && !requires(T t) {
  t.value;
};

template <class T>
std::uint32_t fields_used(T& message);

template <class T>
bool same(T& value, const T& standard) {
  if constexpr (Sequence<T> || Dictionary<T>) {
    return value.empty();
  } else if constexpr (Record<T>) {
    return fields_used(value) == 0;
  } else {
    return value == standard;
  }
}

struct FieldCollector {
  std::vector<const void*> fields;
  void operator()(const char*, auto& field) { fields.push_back(&field); }
  void bytes(const char*, std::string& field) { fields.push_back(&field); }
};

/// Addresses of the fields of a default message, in the order of `visit`.
template <class T>
const std::vector<const void*>& standard_fields() {
  static const std::vector<const void*> fields = [] {
    static T standard{};
    FieldCollector collector;
    standard.visit(collector);
    return collector.fields;
  }();
  return fields;
}

/// Counts the fields that do not hold their default.
struct Counter {
  const std::vector<const void*>* standard;
  std::size_t index = 0;
  std::uint32_t used = 0;
  template <class F>
  void operator()(const char*, F& field) {
    if (!same(field, *static_cast<const F*>((*standard)[index++]))) ++used;
  }
  void bytes(const char* key, std::string& field) { (*this)(key, field); }
};

template <class T>
std::uint32_t fields_used(T& message) {
  Counter counter{&standard_fields<T>()};
  message.visit(counter);
  return counter.used;
}

// ---- encode ----------------------------------------------------------------------------------

class Encoder {
 public:
  explicit Encoder(msgpack::sbuffer& out) : pack_(out) {}

  void head(int type, std::uint64_t correlation) {
    pack_.pack_array(4);
    pack_.pack(kVersion);
    pack_.pack(type);
    pack_.pack(correlation);
  }

  template <class T>
  void record(const T& message) {
    auto& fields = const_cast<T&>(message);  // visit is shared with the decoder, which writes
    pack_.pack_map(fields_used(fields));
    Writer writer{this, &standard_fields<T>()};
    fields.visit(writer);
  }

 private:
  struct Writer {
    Encoder* encoder;
    const std::vector<const void*>* standard;
    std::size_t index = 0;
    template <class F>
    void operator()(const char* key, F& field) {
      if (same(field, *static_cast<const F*>((*standard)[index++]))) return;
      encoder->text(key);
      encoder->value(field);
    }
    void bytes(const char* key, std::string& field) {
      if (field == *static_cast<const std::string*>((*standard)[index++])) return;
      encoder->text(key);
      encoder->binary(field);
    }
  };

  void text(std::string_view value) {
    pack_.pack_str(static_cast<std::uint32_t>(value.size()));
    pack_.pack_str_body(value.data(), static_cast<std::uint32_t>(value.size()));
  }
  void binary(std::string_view value) {
    pack_.pack_bin(static_cast<std::uint32_t>(value.size()));
    pack_.pack_bin_body(value.data(), static_cast<std::uint32_t>(value.size()));
  }

  void value(const std::string& v) { text(v); }
  void value(bool v) { pack_.pack(v); }
  template <Integer T>
  void value(const T& v) {
    pack_.pack(v);
  }
  template <Word T>
  void value(const T& v) {
    text(to_string(v));
  }
  template <class Tag>
  void value(const Id<Tag>& id) {
    pack_.pack(id.value);
  }
  void value(const Time& t) { pack_.pack(t.time_since_epoch().count()); }
  void value(const Duration& d) { pack_.pack(d.count()); }
  void value(const RequestId& id) {
    std::string raw(16, '\0');
    for (std::size_t i = 0; i < 8; ++i) {
      raw[i] = static_cast<char>(id.prefix >> (56 - 8 * i));
      raw[8 + i] = static_cast<char>(id.counter >> (56 - 8 * i));
    }
    binary(raw);
  }
  void value(const Payload& p) {
    if (p.form == Payload::Form::none) {
      pack_.pack_nil();
    } else if (p.form == Payload::Form::text) {
      text(p.bytes);
    } else {
      binary(p.bytes);
    }
  }
  template <Sequence T>
  void value(const T& items) {
    pack_.pack_array(static_cast<std::uint32_t>(items.size()));
    for (const auto& item : items) value(item);
  }
  template <Dictionary T>
  void value(const T& entries) {
    pack_.pack_map(static_cast<std::uint32_t>(entries.size()));
    for (const auto& [key, mapped] : entries) {
      text(key);
      value(mapped);
    }
  }
  template <Record T>
  void value(const T& nested) {
    record(nested);
  }

  msgpack::packer<msgpack::sbuffer> pack_;
};

// ---- decode ----------------------------------------------------------------------------------

/// The first thing that is wrong, e.g. "jobs[3].priority is no integer".
struct Mismatch {
  std::string where;
};

/// Where in a message a map stands; written out only when something is wrong with it.
struct Place {
  const Place* outer = nullptr;
  const char* key = "";  ///< empty: the body itself
  std::optional<std::uint32_t> index;

  [[nodiscard]] std::string text() const {
    std::string path = outer == nullptr ? "" : outer->text();
    if (*key == '\0') return path;
    if (!path.empty()) path += ".";
    path += key;
    return index ? path + fmt::format("[{}]", *index) : path;
  }
};

class Decoder {
 public:
  Decoder(const msgpack::object& map, const Place& place) : place_(place) {
    if (map.type != msgpack::type::MAP) throw Mismatch{label() + " is no map"};
    map_ = map.via.map;
    left_ = map_.size;
  }

  template <class F>
  void operator()(const char* key, F& field) {
    if (left_ == 0) return;
    if (const msgpack::object* found = find(key)) read(*found, field, key);
  }
  void bytes(const char* key, std::string& field) {
    const msgpack::object* found = left_ == 0 ? nullptr : find(key);
    if (found == nullptr) return;
    if (found->type != msgpack::type::BIN) wrong(key, "is no bin");
    field.assign(found->via.bin.ptr, found->via.bin.size);
  }

 private:
  /// Peers write keys in our order, so the next entry is nearly always the one looked for.
  const msgpack::object* find(std::string_view key) {
    for (std::uint32_t step = 0; step < map_.size; ++step) {
      const std::uint32_t index = (next_ + step) % map_.size;
      const msgpack::object_kv& entry = map_.ptr[index];
      if (entry.key.type != msgpack::type::STR) continue;
      if (std::string_view(entry.key.via.str.ptr, entry.key.via.str.size) != key) continue;
      next_ = index + 1;
      --left_;
      return &entry.val;
    }
    return nullptr;
  }

  [[nodiscard]] std::string label() const {
    const std::string path = place_.text();
    return path.empty() ? "body" : path;
  }
  [[noreturn]] void wrong(std::string_view key, std::string_view what) const {
    const std::string path = place_.text();
    throw Mismatch{fmt::format("{}{}{} {}", path, path.empty() ? "" : ".", key, what)};
  }

  void read(const msgpack::object& from, std::string& to, const char* key) const {
    if (from.type != msgpack::type::STR) wrong(key, "is no str");
    to.assign(from.via.str.ptr, from.via.str.size);
  }
  void read(const msgpack::object& from, bool& to, const char* key) const {
    if (from.type != msgpack::type::BOOLEAN) wrong(key, "is no bool");
    to = from.via.boolean;
  }
  template <Integer T>
  void read(const msgpack::object& from, T& to, const char* key) const {
    if (from.type == msgpack::type::POSITIVE_INTEGER) {
      if (from.via.u64 > static_cast<std::uint64_t>(std::numeric_limits<T>::max()))
        wrong(key, "is too large");
      to = static_cast<T>(from.via.u64);
    } else if (from.type == msgpack::type::NEGATIVE_INTEGER && std::is_signed_v<T>) {
      if (from.via.i64 < static_cast<std::int64_t>(std::numeric_limits<T>::min()))
        wrong(key, "is too small");
      to = static_cast<T>(from.via.i64);
    } else {
      wrong(key, "is no integer in range");
    }
  }
  template <Word T>
  void read(const msgpack::object& from, T& to, const char* key) const {
    if (from.type != msgpack::type::STR) wrong(key, "is no str");
    if (!parse(std::string_view(from.via.str.ptr, from.via.str.size), to))
      wrong(key, "is no known word");
  }
  template <class Tag>
  void read(const msgpack::object& from, Id<Tag>& to, const char* key) const {
    read(from, to.value, key);
    if (to.value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      wrong(key, "is too large");
  }
  void read(const msgpack::object& from, Time& to, const char* key) const {
    std::int64_t ms = 0;
    read(from, ms, key);
    to = Time{Duration{ms}};
  }
  void read(const msgpack::object& from, Duration& to, const char* key) const {
    std::int64_t ms = 0;
    read(from, ms, key);
    to = Duration{ms};
  }
  void read(const msgpack::object& from, RequestId& to, const char* key) const {
    if (from.type != msgpack::type::BIN || from.via.bin.size != 16) wrong(key, "is no bin of 16");
    to = {};
    for (std::size_t i = 0; i < 8; ++i) {
      to.prefix = to.prefix << 8 | static_cast<unsigned char>(from.via.bin.ptr[i]);
      to.counter = to.counter << 8 | static_cast<unsigned char>(from.via.bin.ptr[8 + i]);
    }
  }
  void read(const msgpack::object& from, Payload& to, const char* key) const {
    if (from.type == msgpack::type::NIL) {
      to = {};
    } else if (from.type == msgpack::type::STR) {
      to = Payload::text(std::string(from.via.str.ptr, from.via.str.size));
    } else if (from.type == msgpack::type::BIN) {
      to = Payload::binary(std::string(from.via.bin.ptr, from.via.bin.size));
    } else {
      wrong(key, "is neither str nor bin nor nil");
    }
  }
  template <Sequence T>
  void read(const msgpack::object& from, T& to, const char* key) const {
    if (from.type != msgpack::type::ARRAY) wrong(key, "is no array");
    to.clear();
    to.reserve(from.via.array.size);
    for (std::uint32_t i = 0; i < from.via.array.size; ++i) {
      auto& item = to.emplace_back();
      if constexpr (Record<typename T::value_type>) {
        nested(from.via.array.ptr[i], item, {&place_, key, i});
      } else {
        read(from.via.array.ptr[i], item, key);
      }
    }
  }
  template <Dictionary T>
  void read(const msgpack::object& from, T& to, const char* key) const {
    if (from.type != msgpack::type::MAP) wrong(key, "is no map");
    to.clear();
    for (std::uint32_t i = 0; i < from.via.map.size; ++i) {
      std::string name;
      read(from.via.map.ptr[i].key, name, key);
      read(from.via.map.ptr[i].val, to[name], key);
    }
  }
  template <Record T>
  void read(const msgpack::object& from, T& to, const char* key) const {
    nested(from, to, {&place_, key, {}});
  }
  template <Record T>
  void nested(const msgpack::object& from, T& to, const Place& place) const {
    Decoder decoder(from, place);
    to.visit(decoder);
  }

  const Place& place_;
  msgpack::object_map map_{};
  std::uint32_t next_ = 0;
  std::uint32_t left_ = 0;  ///< entries that were not looked for yet: most messages are short
};

tl::unexpected<Refused> refuse(ErrorCode code, std::string message, std::uint64_t correlation) {
  return tl::make_unexpected(Refused{Error{code, std::move(message), {}}, correlation});
}

/// Tries the alternatives of Message one after the other until the type number fits.
template <std::size_t I = 0>
bool decode_body(std::uint64_t type, const msgpack::object& body, Message& message) {
  if constexpr (I == std::variant_size_v<Message>) {
    return false;
  } else {
    using T = std::variant_alternative_t<I, Message>;
    if (type != static_cast<std::uint64_t>(T::kType))
      return decode_body<I + 1>(type, body, message);
    const Place top;
    Decoder decoder(body, top);
    message.emplace<T>().visit(decoder);
    return true;
  }
}

tl::expected<Envelope, Refused> decode_envelope(const msgpack::object& root) {
  if (root.type != msgpack::type::ARRAY || root.via.array.size < 4)
    return refuse(ErrorCode::bad_format, "a message is [version, type, correlation, body]", 0);
  const msgpack::object* parts = root.via.array.ptr;
  for (int i = 0; i < 3; ++i)
    if (parts[i].type != msgpack::type::POSITIVE_INTEGER)
      return refuse(ErrorCode::bad_format, "version, type and correlation are integers", 0);

  Envelope envelope{parts[2].via.u64, {}};
  if (parts[0].via.u64 != kVersion)
    return refuse(ErrorCode::unsupported_version,
                  fmt::format("version {} is not spoken here, {} is", parts[0].via.u64, kVersion),
                  envelope.correlation);
  try {
    if (!decode_body(parts[1].via.u64, parts[3], envelope.message))
      return refuse(ErrorCode::unknown_type,
                    fmt::format("message type {} is not known", parts[1].via.u64),
                    envelope.correlation);
  } catch (const Mismatch& mismatch) {
    return refuse(ErrorCode::bad_format, mismatch.where, envelope.correlation);
  }
  return envelope;
}

/// Looks over a frame before anything of it is built: nesting, sizes, number of elements. Headers
/// are believed, so a frame that only claims to be large is refused as quickly.
class FrameGuard : public msgpack::null_visitor {
 public:
  bool start_array(std::uint32_t items) { return enter("an array", items, items); }
  bool start_map(std::uint32_t entries) {
    return enter("a map", entries, 2 * std::uint64_t{entries});
  }
  bool end_array() { return leave(); }
  bool end_map() { return leave(); }
  bool visit_ext(const char*, std::uint32_t) {
    reason_ = "there is an ext, which this protocol does not use";
    return false;
  }
  [[nodiscard]] const std::string& reason() const { return reason_; }

 private:
  bool enter(std::string_view what, std::uint32_t items, std::uint64_t elements) {
    elements_ += elements;
    if (++depth_ > kDecodeDepthMax) {
      reason_ = fmt::format("nested deeper than the limit of {} (depth)", kDecodeDepthMax);
    } else if (items > kArrayItemsMax) {
      reason_ = fmt::format("{} of {} is over the limit of {}", what, items, kArrayItemsMax);
    } else if (elements_ > kFrameElementsMax) {
      reason_ =
          fmt::format("{} elements are over the limit of {} a frame", elements_, kFrameElementsMax);
    }
    return reason_.empty();
  }
  bool leave() {
    --depth_;
    return true;
  }

  std::string reason_;
  std::size_t depth_ = 0;
  std::uint64_t elements_ = 0;
};

/// Str and bin stay where they are: the frame outlives the objects.
bool reference_all(msgpack::type::object_type, std::size_t, void*) { return true; }

}  // namespace

std::string encode(const Envelope& envelope) {
  msgpack::sbuffer out;
  Encoder encoder(out);
  std::visit(
      [&](const auto& message) {
        encoder.head(std::decay_t<decltype(message)>::kType, envelope.correlation);
        encoder.record(message);
      },
      envelope.message);
  return {out.data(), out.size()};
}

tl::expected<Envelope, Refused> decode(std::string_view frame) {
  if (frame.size() > kFrameBytesMax)
    return refuse(
        ErrorCode::bad_format,
        fmt::format("a frame of {} bytes is over the limit of {}", frame.size(), kFrameBytesMax),
        0);
  try {
    FrameGuard guard;
    std::size_t offset = 0;
    if (!msgpack::parse(frame.data(), frame.size(), offset, guard) && !guard.reason().empty())
      return refuse(ErrorCode::bad_format, guard.reason(), 0);
    msgpack::object_handle handle;
    offset = 0;
    bool referenced = false;
    const msgpack::unpack_limit limit(kArrayItemsMax, kArrayItemsMax, kFrameBytesMax,
                                      kFrameBytesMax, 0, kDecodeDepthMax);
    msgpack::unpack(handle, frame.data(), frame.size(), offset, referenced, reference_all, nullptr,
                    limit);
    if (offset != frame.size()) return refuse(ErrorCode::bad_format, "bytes follow the message", 0);
    return decode_envelope(handle.get());
  } catch (const std::exception& error) {  // msgpack::unpack_error, *_size_overflow, bad_alloc
    return refuse(ErrorCode::bad_format, fmt::format("no msgpack message: {}", error.what()), 0);
  }
}

}  // namespace millrace::protocol
