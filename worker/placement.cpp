#include "worker/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

namespace millrace::worker {
namespace {

constexpr std::array<std::string_view, 3> kTypeNames = {"thread", "process", "loop"};

/// See is_name().
constexpr std::size_t kNameBytes = 64;

tl::unexpected<Error> wrong(std::string text) { return fail(ErrorCode::usage, std::move(text)); }

Result<std::size_t> parse_size(std::string_view text) {
  std::size_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (error != std::errc{} || end != text.data() + text.size() || size < 1 || size > kPoolSizeMax)
    return wrong(fmt::format("`{}` is no size of a pool: 1 to {}", text, kPoolSizeMax));
  return size;
}

/// A word ends at a space outside quotes.
Result<std::vector<std::string>> split_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      word += text[++i];
      in_word = true;
    } else if (quote != 0) {
      if (c == quote)
        quote = 0;
      else
        word += c;
    } else if (c == '"' || c == '\'') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t') {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != 0) return wrong(fmt::format("the quote {} is not closed", quote));
  if (in_word) words.push_back(std::move(word));
  return words;
}

ExecutorType type_of_pool(const std::string& pool) {
  if (pool == kPoolLoop) return ExecutorType::loop;
  if (pool == kPoolProcess) return ExecutorType::process;
  return ExecutorType::thread;
}

/// `process.KIND` …, which has to be a name itself; the end of a long one becomes `number`.
std::string own_pool_name(ExecutorType type, const std::string& kind, std::size_t number) {
  std::string name = fmt::format("{}.{}", to_string(type), kind);
  if (name.size() <= kNameBytes) return name;
  const std::string end = fmt::format(".{}", number);
  return name.substr(0, kNameBytes - end.size()) + end;
}

Status check(const std::string& name, const Kind& kind, ExecutorType type) {
  const bool program = !kind.command.empty();
  if (type == ExecutorType::process && (program || kind.handler)) return {};
  if (type == ExecutorType::loop && kind.can_loop()) return {};
  if (type == ExecutorType::thread && kind.handler) return {};
  if (program) return wrong(fmt::format("kind `{}` is a program: it runs in processes", name));
  if (type == ExecutorType::loop)
    return wrong(
        fmt::format("kind `{}` cannot run on the loop: it would block it; use thread or "
                    "process",
                    name));
  return wrong(fmt::format("kind `{}` runs on the loop only", name));
}

class Placement {
 public:
  Placement(Registry& registry, const PoolSizes& sizes) : registry_(registry), sizes_(sizes) {}

  Status put(const std::string& name, const Kind& kind, const ExecutorChoice* choice) {
    const ExecutorType type = choice != nullptr ? choice->type : type_of_pool(kind.pool);
    if (Status good = check(name, kind, type); !good) return good;
    PoolPlan plan = shared(kind, type);
    if (type == ExecutorType::process || (choice != nullptr && choice->size))
      plan = {own_pool_name(type, name, plans_.size()), type, plan.size, name};
    if (choice != nullptr && choice->size) plan.size = *choice->size;
    if (plan.size == 0) {
      removed_.push_back(name);
      return {};
    }
    registry_.move(name, plan.name);
    if (std::none_of(plans_.begin(), plans_.end(),
                     [&](const PoolPlan& other) { return other.name == plan.name; }))
      plans_.push_back(std::move(plan));
    return {};
  }

  std::vector<PoolPlan> take() {
    for (const std::string& name : removed_) registry_.remove(name);
    return std::move(plans_);
  }

 private:
  [[nodiscard]] PoolPlan shared(const Kind& kind, ExecutorType type) const {
    switch (type) {
      case ExecutorType::process:
        return {kPoolProcess, type, sizes_.processes};
      case ExecutorType::loop:
        return {kPoolLoop, type, sizes_.loop};
      case ExecutorType::thread:
        break;
    }
    if (kind.pool == kPoolCpu) return {kPoolCpu, type, sizes_.cpu};
    return {kPoolIo, type, sizes_.io};
  }

  Registry& registry_;
  const PoolSizes& sizes_;
  std::vector<PoolPlan> plans_;
  std::vector<std::string> removed_;
};

}  // namespace

std::string_view to_string(ExecutorType type) { return kTypeNames[static_cast<std::size_t>(type)]; }

bool parse(std::string_view name, ExecutorType& type) {
  const auto found = std::find(kTypeNames.begin(), kTypeNames.end(), name);
  if (found == kTypeNames.end()) return false;
  type = static_cast<ExecutorType>(found - kTypeNames.begin());
  return true;
}

Result<ExecutorChoice> parse_executor_choice(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos)
    return wrong(fmt::format("`{}`: use KIND=thread|process|loop[:SIZE]", text));
  ExecutorChoice choice{.kind = std::string(text.substr(0, equals)), .size = std::nullopt};
  std::string_view type = text.substr(equals + 1);
  if (const std::size_t colon = type.find(':'); colon != std::string_view::npos) {
    const Result<std::size_t> size = parse_size(type.substr(colon + 1));
    if (!size) return tl::make_unexpected(size.error());
    choice.size = *size;
    type = type.substr(0, colon);
  }
  if (!parse(type, choice.type))
    return wrong(fmt::format("`{}`: use KIND=thread|process|loop[:SIZE]", text));
  return choice;
}

Result<ProgramKind> parse_program_kind(std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals == std::string_view::npos ? 0 : equals);
  if (!is_name(name))
    return wrong(
        fmt::format("`{:.200}`: use NAME=COMMAND, the name 1 to 64 of a-z 0-9 . _ -", text));
  auto words = split_words(text.substr(equals + 1));
  if (!words) return tl::make_unexpected(words.error());
  if (words->empty() || words->front().empty())
    return wrong(fmt::format("`{:.200}` names no program: use NAME=COMMAND", text));
  return ProgramKind{std::string(name), std::move(*words)};
}

Result<std::vector<PoolPlan>> place(Registry& registry, const PoolSizes& sizes,
                                    const std::vector<ExecutorChoice>& choices) {
  for (const ExecutorChoice& choice : choices)
    if (registry.find(choice.kind) == nullptr)
      return wrong(fmt::format("this worker has no kind `{}`", choice.kind));
  Placement placement(registry, sizes);
  for (const auto& [name, kind] : std::map(registry.kinds())) {
    const auto choice =
        std::find_if(choices.rbegin(), choices.rend(),
                     [&, &name = name](const ExecutorChoice& c) { return c.kind == name; });
    if (const Status good =
            placement.put(name, kind, choice == choices.rend() ? nullptr : &*choice);
        !good)
      return tl::make_unexpected(good.error());
  }
  std::vector<PoolPlan> plans = placement.take();
  if (plans.empty()) return wrong("every pool has size 0: nothing could run");
  return plans;
}

std::string describe(const std::vector<PoolPlan>& pools) {
  std::string text;
  for (const PoolPlan& pool : pools)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", pool.name, pool.size);
  return text;
}

}  // namespace millrace::worker
