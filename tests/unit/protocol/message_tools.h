#pragma once

// Every message with every field set, and its fields as text, for the tests of the codec. Both go
// through `visit`, so a new field is covered without a word here.

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "common/protocol/messages.h"

namespace millrace::protocol {

template <class T>
concept EnumField = std::is_enum_v<T>;
template <class T>
concept NumberField = std::is_integral_v<T> && !std::is_same_v<T, bool>;
template <class T>
concept ListField = requires(T t) {
  t.emplace_back();
  requires !std::is_same_v<T, std::string>;
};
template <class T>
concept TableField = requires {
  typename T::mapped_type;
};

/// Gives each field a value that is not its default and differs from its neighbours'.
class Filler {
 public:
  void operator()(const char*, auto& field) { fill(field); }
  void bytes(const char*, std::string& field) { field = "\x01\xff 16 bytes long"; }

 private:
  void fill(std::string& field) { field = fmt::format("s{}", ++count_); }
  void fill(bool& field) { field = !field; }
  void fill(NumberField auto& field) {
    field += static_cast<std::decay_t<decltype(field)>>(++count_ * 100 + 1);
  }
  void fill(EnumField auto& field) {
    using T = std::decay_t<decltype(field)>;
    field = field == T{} ? static_cast<T>(1) : T{};
  }
  template <class Tag>
  void fill(Id<Tag>& field) {
    field.value = static_cast<std::uint64_t>(++count_) * 1000;
  }
  void fill(Time& field) { field = Time{Duration{1'700'000'000'000 + ++count_}}; }
  void fill(Duration& field) { field = Duration{++count_ * 1000 + 7}; }
  void fill(RequestId& field) {
    field.prefix = 0x0102030405060708;
    field.counter = 0xf1f2f3f4f5f60000 + static_cast<std::uint64_t>(++count_);
  }
  void fill(Payload& field) {
    ++count_;
    field =
        count_ % 2 == 0 ? Payload::text("{\"n\":1}") : Payload::binary(std::string("\0\xff", 2));
  }
  void fill(ListField auto& field) {
    for (int i = 0; i < 2; ++i) fill(field.emplace_back());
  }
  void fill(TableField auto& field) {
    for (int i = 0; i < 2; ++i) {
      std::string key;
      fill(key);
      fill(field[key]);
    }
  }
  template <class T>
  requires requires(T t, Filler& f) { t.visit(f); }
  void fill(T& field) { field.visit(*this); }

  std::int64_t count_ = 0;
};

/// All fields as text, also those that hold their default.
class Describer {
 public:
  void operator()(const char* key, auto& field) {
    text += fmt::format("{}=", key);
    describe(field);
    text += ' ';
  }
  void bytes(const char* key, std::string& field) { (*this)(key, field); }

  std::string text;

 private:
  void describe(std::string& field) { text += fmt::format("'{}'", field); }
  void describe(bool& field) { text += field ? "true" : "false"; }
  void describe(NumberField auto& field) { text += fmt::format("{}", field); }
  void describe(EnumField auto& field) { text += to_string(field); }
  template <class Tag>
  void describe(Id<Tag>& field) {
    text += fmt::format("#{}", field.value);
  }
  void describe(Time& field) { text += fmt::format("@{}", field.time_since_epoch().count()); }
  void describe(Duration& field) { text += fmt::format("{}ms", field.count()); }
  void describe(RequestId& field) { text += fmt::format("{:x}:{:x}", field.prefix, field.counter); }
  void describe(Payload& field) {
    text += fmt::format("{}'{}'", static_cast<int>(field.form), field.bytes);
  }
  void describe(ListField auto& field) {
    text += '[';
    for (auto item : field) {
      describe(item);
      text += ',';
    }
    text += ']';
  }
  void describe(TableField auto& field) {
    text += '{';
    for (auto& [key, value] : field) {
      text += key + ":";
      describe(value);
      text += ',';
    }
    text += '}';
  }
  template <class T>
  requires requires(T t, Describer& d) { t.visit(d); }
  void describe(T& field) {
    text += '(';
    field.visit(*this);
    text += ')';
  }
};

[[nodiscard]] inline std::string describe(Message message) {
  Describer describer;
  std::visit([&](auto& m) { m.visit(describer); }, message);
  return fmt::format("{} {}", type_name(message), describer.text);
}

/// One of each type, all fields at their default.
template <std::size_t I = 0>
void add_default_messages(std::vector<Message>& all) {
  if constexpr (I < std::variant_size_v<Message>) {
    all.emplace_back(std::in_place_index<I>);
    add_default_messages<I + 1>(all);
  }
}
[[nodiscard]] inline std::vector<Message> default_messages() {
  std::vector<Message> all;
  add_default_messages(all);
  return all;
}

/// One of each type, all fields set.
[[nodiscard]] inline std::vector<Message> full_messages() {
  std::vector<Message> all = default_messages();
  for (Message& message : all) {
    Filler filler;
    std::visit([&](auto& m) { m.visit(filler); }, message);
  }
  return all;
}

[[nodiscard]] inline std::string to_hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

[[nodiscard]] inline std::string from_hex(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16));
  return bytes;
}

}  // namespace millrace::protocol
