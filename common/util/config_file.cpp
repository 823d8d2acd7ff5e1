#include "common/util/config_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "common/limits.h"

namespace millrace {
namespace {

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

Result<std::string> read_text(const std::string& path) {
  const std::unique_ptr<std::FILE, FileCloser> file(std::fopen(path.c_str(), "re"));
  if (!file)
    return fail(ErrorCode::bad_config, fmt::format("configuration file {} cannot be read: {}", path,
                                                   std::generic_category().message(errno)));
  std::string text(kMiB + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0)
    return fail(ErrorCode::bad_config, fmt::format("configuration file {} cannot be read", path));
  if (text.size() > kMiB)
    return fail(ErrorCode::bad_config,
                fmt::format("configuration file {} is larger than 1 MiB", path));
  return text;
}

/// Walks the tables and gathers their values; stops at the first that is of no use.
class Flattener {
 public:
  explicit Flattener(const std::string& path) : path_(path) {}

  Status table(const toml::table& table, const std::string& prefix) {
    for (const auto& [key, node] : table) {
      std::string name = prefix + std::string(key.str());
      std::replace(name.begin(), name.end(), '-', '_');
      const std::string place = fmt::format("{}:{}", path_, key.source().begin.line);
      Status done = node.is_table() ? this->table(*node.as_table(), name + ".")
                                    : value(node, {name, {}, node.is_array(), place});
      if (!done) return done;
    }
    return {};
  }

  std::vector<ConfigValue> values;

 private:
  Status value(const toml::node& node, ConfigValue value) {
    if (const toml::array* items = node.as_array()) {
      for (const toml::node& item : *items)
        if (!scalar(item, value.texts)) return wrong_type(value);
    } else if (!scalar(node, value.texts)) {
      return wrong_type(value);
    }
    values.push_back(std::move(value));
    return {};
  }

  static bool scalar(const toml::node& node, std::vector<std::string>& texts) {
    if (const auto* text = node.as_string()) {
      texts.push_back(text->get());
    } else if (const auto* integer = node.as_integer()) {
      texts.push_back(fmt::format("{}", integer->get()));
    } else if (const auto* number = node.as_floating_point()) {
      texts.push_back(fmt::format("{}", number->get()));
    } else if (const auto* truth = node.as_boolean()) {
      texts.emplace_back(truth->get() ? "true" : "false");
    } else {
      return false;
    }
    return true;
  }

  static Status wrong_type(const ConfigValue& value) {
    return fail(ErrorCode::bad_config,
                fmt::format("{}: `{}` must be a string, a number, true or false, or a list of them",
                            value.place, value.key));
  }

  const std::string& path_;
};

}  // namespace

Result<std::vector<ConfigValue>> read_config_file(const std::string& path) {
  const auto text = read_text(path);
  if (!text) return tl::make_unexpected(text.error());
  try {
    const toml::table root = toml::parse(std::string_view(*text), std::string_view(path));
    Flattener flattener(path);
    if (const Status done = flattener.table(root, ""); !done)
      return tl::make_unexpected(done.error());
    return std::move(flattener.values);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::bad_config,
                fmt::format("{}:{}: {}", path, error.source().begin.line, error.description()));
  }
}

}  // namespace millrace
