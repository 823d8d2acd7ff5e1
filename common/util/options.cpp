#include "common/util/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>

#include "common/util/config_file.h"
#include "common/util/parse.h"
#include "millrace_version.h"

namespace millrace {
namespace {

/// "limits.rows-max" → "MILLRACE_LIMITS_ROWS_MAX".
std::string variable_name(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (c == '-' || c == '.') c = '_';
  }
  return "MILLRACE_" + text;
}

/// The tables a command's options stand in: "", "urls." or "queue.ls.".
std::string key_prefix(const CLI::App* command) {
  if (command->get_parent() == nullptr) return "";
  return key_prefix(command->get_parent()) + command->get_name() + ".";
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) items.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return items;
}

template <class T>
Status assign_integer(T& target, std::string_view text) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, target);
  if (error == std::errc{} && stop == end && !text.empty()) return {};
  return fail(ErrorCode::bad_request,
              fmt::format("`{}` is no integer{}", text,
                          std::is_unsigned_v<T> ? " of 0 or more that fits" : " that fits"));
}

Status assign_checked(const OptionParser::CheckedList& target, std::vector<std::string> texts) {
  for (const std::string& text : texts)
    if (Status good = target.check(text); !good) return good;
  *target.values = std::move(texts);
  return {};
}

/// Assigns one text to a target of any type; lists take it apart at its commas.
struct Assign {
  const std::string& text;

  Status operator()(std::string* target) const { return *target = text, Status{}; }
  Status operator()(std::int64_t* target) const { return assign_integer(*target, text); }
  Status operator()(std::optional<std::int64_t>* target) const {
    return assign_integer(target->emplace(), text);
  }
  Status operator()(std::uint64_t* target) const { return assign_integer(*target, text); }
  Status operator()(std::vector<std::string>* target) const {
    return *target = split_list(text), Status{};
  }
  Status operator()(OptionParser::CheckedList target) const {
    return assign_checked(target, split_list(text));
  }
  Status operator()(bool* target) const {
    const bool yes = text == "true" || text == "1" || text == "yes" || text == "on";
    if (!yes && text != "false" && text != "0" && text != "no" && text != "off")
      return fail(ErrorCode::bad_request, fmt::format("`{}` is neither true nor false", text));
    return *target = yes, Status{};
  }
  Status operator()(Duration* target) const {
    return parse_duration(text).map([&](Duration value) { *target = value; });
  }
  Status operator()(Time* target) const {
    return parse_time(text).map([&](Time value) { *target = value; });
  }
  Status operator()(ByteSize* target) const {
    return parse_size(text).map([&](std::uint64_t value) { target->bytes = value; });
  }
  Status operator()(OptionParser::Limit target) const {
    return parse_size(text).map([&](std::uint64_t value) { *target.value = value; });
  }
};

Status assign(const OptionParser::Target& target, const std::vector<std::string>& texts) {
  if (auto* const* list = std::get_if<std::vector<std::string>*>(&target)) {
    **list = texts;
    return {};
  }
  if (const auto* list = std::get_if<OptionParser::CheckedList>(&target))
    return assign_checked(*list, texts);
  if (texts.size() != 1) return fail(ErrorCode::bad_request, "takes exactly one value");
  return std::visit(Assign{texts.front()}, target);
}

/// What `--help` shows of a target: the kind of value and the default.
struct Describe {
  std::string type;
  std::string standard;

  void operator()(const std::string* v) { type = "TEXT", standard = *v; }
  void operator()(const std::int64_t* v) { type = "N", standard = fmt::format("{}", *v); }
  void operator()(const std::optional<std::int64_t>*) { type = "N"; }
  void operator()(const std::uint64_t* v) { type = "N", standard = fmt::format("{}", *v); }
  void operator()(const bool*) {}
  void operator()(const Duration* v) {
    type = "DURATION", standard = v->count() == 0 ? "" : format_duration(*v);
  }
  void operator()(const Time*) { type = "TIME"; }
  void operator()(OptionParser::Limit) {}
  void operator()(const ByteSize* v) { type = "SIZE", standard = format_size(v->bytes); }
  void operator()(const std::vector<std::string>* v) {
    type = "TEXT", standard = fmt::format("{}", fmt::join(*v, ","));
  }
  void operator()(OptionParser::CheckedList v) { (*this)(v.values); }
};

Error in_place(std::string_view place, const Error& error, ErrorCode code) {
  return {code, fmt::format("{}: {}", place, error.message), {}};
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

std::vector<std::string> option_names(const CLI::App* app) {
  std::vector<std::string> names;
  for (; app != nullptr; app = app->get_parent())
    for (const CLI::Option* option : app->get_options())
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::string unknown(std::string_view what, std::string_view word,
                    const std::vector<std::string>& known) {
  const auto near = nearest_word(word, known);
  return fmt::format("unknown {} `{}`{}", what, word,
                     near ? fmt::format("; did you mean `{}`?", *near) : "");
}

}  // namespace

std::optional<std::string> nearest_word(std::string_view word,
                                        const std::vector<std::string>& candidates) {
  std::optional<std::string> best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance >= best_distance || distance >= candidate.size()) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

OptionParser::OptionParser(std::string program, std::string description)
    : program_(std::move(program)), app_(std::make_unique<CLI::App>(std::move(description))) {
  app_->name(program_);
  // Inherited by every command made later: global options then work behind it too.
  app_->fallthrough();
  app_->set_help_flag("-h,--help", "Show this help");
  app_->set_help_all_flag("--help-all", "Show the help of every command");
  app_->set_version_flag("--version", program_ + " " MR_VERSION, "Show the version");
  add("config", config_file_, "Read options from this TOML file");
}

OptionParser::~OptionParser() = default;

void OptionParser::add_target(CLI::App& command, const std::string& name, Target target,
                              const std::string& help) {
  CLI::Option* flag = nullptr;
  if (std::holds_alternative<bool*>(target)) {
    flag = command.add_flag("--" + name, help);
  } else {
    Describe text;
    std::visit(text, target);
    // The values are read from the option after the parse, so that all three sources take one way.
    flag = command.add_option(
        "--" + name, [](const CLI::results_t&) { return true; }, help);
    flag->type_name(text.type)->default_str(text.standard);
    if (std::holds_alternative<std::vector<std::string>*>(target) ||
        std::holds_alternative<CheckedList>(target))
      flag->take_all()->allow_extra_args(false)->delimiter(',');
  }
  std::string key = key_prefix(&command) + name;
  std::replace(key.begin(), key.end(), '-', '_');
  std::string variable = variable_name(name);
  entries_.push_back({name, std::move(key), std::move(variable), target, &command, flag});
}

void OptionParser::add_config_only(const std::string& key, std::uint64_t& target) {
  std::string variable = variable_name(key);
  entries_.push_back({key, key, std::move(variable), Limit{&target}, app_.get(), nullptr});
}

bool OptionParser::in_use(const Entry& entry) const {
  return entry.command == app_.get() || entry.command->parsed();
}

bool OptionParser::was_given(std::string_view name) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.command == app_.get() && entry.name == name && entry.given;
  });
}

Status OptionParser::apply_flags() {
  for (Entry& entry : entries_) {
    if (entry.flag == nullptr || entry.flag->count() == 0 || !in_use(entry)) continue;
    const Status done = assign(entry.target, entry.flag->results());
    if (!done)
      return tl::make_unexpected(in_place("--" + entry.name, done.error(), ErrorCode::usage));
    entry.given = true;
  }
  return {};
}

Status OptionParser::apply_environment() {
  for (Entry& entry : entries_) {
    if (!in_use(entry) || (entry.flag != nullptr && entry.flag->count() != 0)) continue;
    // Options are read before any other thread starts. NOLINTNEXTLINE(concurrency-mt-unsafe)
    const char* text = std::getenv(entry.variable.c_str());
    if (text == nullptr || *text == '\0') continue;
    const std::string value = text;
    const Status done = std::visit(Assign{value}, entry.target);
    if (!done)
      return tl::make_unexpected(in_place(entry.variable, done.error(), ErrorCode::bad_config));
    entry.given = true;
  }
  return {};
}

Status OptionParser::apply_file() {
  if (config_file_.empty()) return {};
  const auto values = read_config_file(config_file_);
  if (!values) return tl::make_unexpected(values.error());
  std::map<std::string, Entry*> known;
  std::vector<std::string> keys;
  for (Entry& entry : entries_) {
    if (entry.key == "config") continue;
    known.emplace(entry.key, &entry);
    keys.push_back(entry.key);
  }
  for (const ConfigValue& value : *values) {
    const auto found = known.find(value.key);
    if (found == known.end())
      return fail(ErrorCode::bad_config,
                  fmt::format("{}: {}", value.place, unknown("key", value.key, keys)));
    if (!in_use(*found->second)) continue;
    const Status done = assign(found->second->target, value.texts);
    if (!done)
      return tl::make_unexpected(in_place(fmt::format("{}: `{}`", value.place, value.key),
                                          done.error(), ErrorCode::bad_config));
    found->second->given = true;
  }
  return {};
}

std::string OptionParser::explain(const std::string& cli_message) const {
  const CLI::App* at = app_.get();
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  const std::vector<std::string> commands = command_names(*at);
  const std::vector<std::string> left = app_->remaining(true);
  if (!left.empty() && left.front() != "--") {
    const std::string& word = left.front();
    if (word.size() > 1 && word.front() == '-')
      return unknown("option", word.substr(0, word.find('=')), option_names(at));
    return commands.empty() ? fmt::format("unexpected argument `{}`", word)
                            : unknown("command", word, commands);
  }
  if (commands.empty()) return cli_message;
  return fmt::format("a command is missing; there are: {}", fmt::join(commands, ", "));
}

std::optional<int> OptionParser::parse(int argc, const char* const* argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help and version are "errors" with code 0; the other numbers are CLI11's own.
    if (error.get_exit_code() == 0) return app_->exit(error);
    const CLI::App* at = app_.get();
    std::string command = program_;
    for (; !at->get_subcommands().empty(); command += " " + at->get_name())
      at = at->get_subcommands().front();
    fmt::print(stderr, "{}: {}\nTry `{} --help`.\n", program_, explain(error.what()), command);
    return exit_code(ErrorCode::usage);
  }
  // MILLRACE_CONFIG names the file, so flags and environment are applied on both sides of it.
  Status done = apply_environment();
  if (done) done = apply_flags();
  if (done) done = apply_file();
  if (done) done = apply_environment();
  if (done) done = apply_flags();
  if (done) return std::nullopt;
  fmt::print(stderr, "{}: {}\n", program_, done.error().message);
  return exit_code(done.error().code);
}

}  // namespace millrace
