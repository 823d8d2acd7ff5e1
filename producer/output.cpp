#include "producer/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "producer/utf8.h"

namespace millrace::producer {
namespace {

/// Columns that a text takes, near enough: one for each character.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

}  // namespace

bool parse(std::string_view name, OutputFormat& format) {
  if (name == "table")
    format = OutputFormat::table;
  else if (name == "json")
    format = OutputFormat::json;
  else if (name == "jsonl")
    format = OutputFormat::jsonl;
  else
    return false;
  return true;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const auto lead = static_cast<unsigned char>(text.front());
    const bool c1 = length == 2 && lead == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
    if (length == 1 && (lead < 0x20 || lead == 0x7F)) {
      // Line ends and tabs inside a cell would break the table, but they do separate words.
      if (lead == '\n' || lead == '\t') out += ' ';
    } else if (length != 0 && !c1) {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

std::string format_count(std::uint64_t number) {
  std::string digits = fmt::format("{}", number);
  for (std::size_t end = digits.size(); end > 3; end -= 3) digits.insert(end - 3, ",");
  return digits;
}

std::string format_count(std::uint64_t number, std::string_view noun) {
  return fmt::format("{} {}{}", format_count(number), noun, number == 1 ? "" : "s");
}

std::string format_elapsed(Duration elapsed) {
  const std::int64_t ms = elapsed.count();
  if (ms < 1000) return fmt::format("{} ms", ms);
  if (ms < 60'000) return fmt::format("{:.1f} s", static_cast<double>(ms) / 1000.0);
  if (ms < 3'600'000) return fmt::format("{} min {:02} s", ms / 60'000, ms / 1000 % 60);
  return fmt::format("{} h {:02} min", ms / 3'600'000, ms / 60'000 % 60);
}

std::string format_rate(std::uint64_t count, Duration elapsed) {
  const double seconds = static_cast<double>(std::max<std::int64_t>(elapsed.count(), 1)) / 1000.0;
  const double rate = static_cast<double>(count) / seconds;
  if (rate >= 1000) return format_count(static_cast<std::uint64_t>(rate)) + "/s";
  return fmt::format("{:.1f}/s", rate);
}

Output::~Output() { finish(); }

void Output::write(std::string_view text) {
  if (!failure_) return;
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size()) return;
  failure_ = fail(ErrorCode::storage_failed, fmt::format("stdout cannot be written: {}",
                                                         std::generic_category().message(errno)));
}

void Output::row(std::string_view json) {
  if (format_ == OutputFormat::json) write(opened_ ? ",\n" : "[");
  opened_ = true;
  write(json);
  if (format_ != OutputFormat::json) write("\n");
}

void Output::line(std::string_view text) {
  write(text);
  write("\n");
}

void Output::flush() {
  if (!failure_ || std::fflush(stdout) == 0) return;
  failure_ = fail(ErrorCode::storage_failed, fmt::format("stdout cannot be written: {}",
                                                         std::generic_category().message(errno)));
}

void Output::finish() {
  if (std::exchange(finished_, true)) return;
  if (format_ == OutputFormat::json) write(opened_ ? "]\n" : "[]\n");
  flush();
}

Table::Table(std::vector<std::string> titles) {
  for (std::string& title : titles) {
    right_.push_back(title.starts_with('>'));
    if (right_.back()) title.erase(0, 1);
  }
  rows_.push_back(std::move(titles));
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(right_.size());
  for (std::string& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

void Table::print(Output& output) const {
  std::vector<std::size_t> widths(right_.size());
  for (const auto& cells : rows_)
    for (std::size_t i = 0; i < cells.size(); ++i)
      widths[i] = std::max(widths[i], width_of(cells[i]));
  for (const auto& cells : rows_) {
    std::string text;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string padding(widths[i] - width_of(cells[i]), ' ');
      if (i > 0) text += "  ";
      text += right_[i] ? padding + cells[i] : cells[i] + padding;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    output.line(text);
  }
}

}  // namespace millrace::producer
