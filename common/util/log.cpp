#include "common/util/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>

namespace millrace::log {
namespace {

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warn:
      return spdlog::level::warn;
    case Level::error:
      break;
  }
  return spdlog::level::err;
}

bool colours_wanted() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): read while one thread runs; nobody sets variables.
  const char* no_color = std::getenv("NO_COLOR");
  return no_color == nullptr || *no_color == '\0';
}

void configure(spdlog::logger& logger, Level level, Format format) {
  const bool terminal = isatty(STDERR_FILENO) == 1;
  const bool pretty = format == Format::pretty || (format == Format::automatic && terminal);
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(
      pretty && colours_wanted() ? spdlog::color_mode::automatic : spdlog::color_mode::never);
  const auto zone = pretty ? spdlog::pattern_time_type::local : spdlog::pattern_time_type::utc;
  sink->set_formatter(std::make_unique<spdlog::pattern_formatter>(
      pretty ? "%H:%M:%S.%e %^%l%$ %v" : "%Y-%m-%dT%H:%M:%S.%eZ %l %v", zone));
  logger.sinks() = {std::move(sink)};
  logger.set_level(to_spdlog(level));
}

/// Never destroyed: threads may still log while the process ends.
spdlog::logger& logger() {
  static spdlog::logger* const instance = [] {
    auto* made = new spdlog::logger("millrace");
    configure(*made, Level::info, Format::automatic);
    return made;
  }();
  return *instance;
}

}  // namespace

Result<Level> parse_level(std::string_view word) {
  if (word == "debug") return Level::debug;
  if (word == "info") return Level::info;
  if (word == "warn") return Level::warn;
  if (word == "error") return Level::error;
  return fail(ErrorCode::bad_request,
              fmt::format("`{}` is no log level: use debug, info, warn or error", word));
}

void init(Level level, Format format) { configure(logger(), level, format); }

bool enabled(Level level) { return logger().should_log(to_spdlog(level)); }

void write(Level level, std::string_view text) { logger().log(to_spdlog(level), one_line(text)); }

void flush() { logger().flush(); }

std::string one_line(std::string_view text) {
  std::string line;
  line.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      line += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
  return line;
}

}  // namespace millrace::log
