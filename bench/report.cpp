#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/measure.h"

namespace millrace::bench {
namespace {

constexpr const char* kOurs = "millrace";
constexpr const char* kLimit = "limit";

/// Enough digits to compare, no more than were measured.
std::string number(double value) {
  if (value >= 100) return fmt::format("{:.0f}", value);
  if (value >= 10) return fmt::format("{:.1f}", value);
  return fmt::format("{:.3f}", value);
}

void add_once(std::vector<std::string>& texts, const std::string& text) {
  if (std::find(texts.begin(), texts.end(), text) == texts.end()) texts.push_back(text);
}

}  // namespace

void Report::title(const std::string& workload, const std::string& text) {
  titles_.push_back({workload, text});
}

void Report::add(const Figure& figure, const std::string& limit) {
  for (Entry& entry : entries_) {
    if (entry.figure.workload != figure.workload || entry.figure.subject != figure.subject ||
        entry.figure.metric != figure.metric)
      continue;
    entry.samples.push_back(figure.value);
    return;
  }
  entries_.push_back({figure, limit, {figure.value}});
}

void Report::note(const std::string& text) { add_once(notes_, text); }

void Report::merge(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(fmt::format("{} cannot be read", path));
  try {
    for (const nlohmann::json& row : nlohmann::json::parse(file)) {
      const Figure figure{row.at("workload"), row.at("subject"), row.at("metric"), row.at("value"),
                          row.at("unit")};
      // What this run measures itself is not taken from an older one.
      if (figure.subject != kOurs && figure.subject != kLimit) add(figure);
    }
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(fmt::format("{} is no list of figures: {}", path, error.what()));
  }
}

std::vector<Figure> Report::figures() const {
  std::vector<Figure> all;
  for (const Entry& entry : entries_) {
    all.push_back(entry.figure);
    all.back().value = quantile(entry.samples, 0.5);
  }
  return all;
}

std::string Report::json() const {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Figure& figure : figures())
    rows.push_back({{"workload", figure.workload},
                    {"subject", figure.subject},
                    {"metric", figure.metric},
                    {"value", figure.value},
                    {"unit", figure.unit}});
  return rows.dump(1) + "\n";
}

std::string Report::table() const {
  std::string out;
  for (const std::string& workload : workloads()) out += block(workload);
  for (const std::string& note : notes_) out += fmt::format("\nnote: {}\n", note);
  return out;
}

const Report::Entry* Report::find(const std::string& workload, const std::string& subject,
                                  const std::string& metric) const {
  for (const Entry& entry : entries_)
    if (entry.figure.workload == workload && entry.figure.subject == subject &&
        entry.figure.metric == metric)
      return &entry;
  return nullptr;
}

std::vector<std::string> Report::workloads() const {
  std::vector<std::string> names;
  for (const Entry& entry : entries_) add_once(names, entry.figure.workload);
  return names;
}

std::vector<std::string> Report::others() const {
  std::vector<std::string> names;
  for (const Entry& entry : entries_)
    if (entry.figure.subject != kOurs && entry.figure.subject != kLimit)
      add_once(names, entry.figure.subject);
  return names;
}

/// Those of millrace first; a limit has a line of its own only where nothing stands beside it.
std::vector<std::string> Report::metrics(const std::string& workload) const {
  std::vector<std::string> names;
  std::vector<std::string> beside;
  for (const Entry& entry : entries_) {
    if (entry.figure.workload != workload || entry.figure.subject != kOurs) continue;
    add_once(names, entry.figure.metric);
    if (!entry.limit.empty()) add_once(beside, entry.limit);
  }
  for (const Entry& entry : entries_) {
    if (entry.figure.workload != workload) continue;
    const bool shown = std::find(beside.begin(), beside.end(), entry.figure.metric) != beside.end();
    if (!shown) add_once(names, entry.figure.metric);
  }
  return names;
}

std::string Report::block(const std::string& workload) const {
  std::string text;
  for (const Title& title : titles_)
    if (title.workload == workload) text = title.text;
  std::string out = fmt::format("\n{}  {}\n{:<28} {:>12} {:<8} {:>12} {:>7}  {:<24}", workload,
                                text, "", kOurs, "", kLimit, "ratio", "which limit");
  for (const std::string& other : others()) out += fmt::format(" {:>12}", other);
  out.erase(out.find_last_not_of(' ') + 1);
  out += '\n';
  for (const std::string& metric : metrics(workload)) out += line(workload, metric);
  return out;
}

std::string Report::line(const std::string& workload, const std::string& metric) const {
  const auto median = [](const Entry* entry) { return quantile(entry->samples, 0.5); };
  const Entry* ours = find(workload, kOurs, metric);
  const Entry* limit = find(workload, kLimit, ours != nullptr ? ours->limit : metric);
  const Entry* any = ours != nullptr ? ours : limit;
  std::vector<std::string> values;
  for (const std::string& other : others()) {
    const Entry* theirs = find(workload, other, metric);
    values.push_back(theirs != nullptr ? number(median(theirs)) : "");
    if (any == nullptr) any = theirs;
  }
  const std::string ratio = ours != nullptr && limit != nullptr
                                ? fmt::format("{:.2f}", median(ours) / median(limit))
                                : "";
  std::string out = fmt::format("{:<28} {:>12} {:<8} {:>12} {:>7}  {:<24}", metric,
                                ours != nullptr ? number(median(ours)) : "",
                                any != nullptr ? any->figure.unit : "",
                                limit != nullptr ? number(median(limit)) : "", ratio,
                                ours != nullptr && limit != nullptr ? limit->figure.metric : "");
  for (const std::string& value : values) out += fmt::format(" {:>12}", value);
  out.erase(out.find_last_not_of(' ') + 1);
  return out + '\n';
}

}  // namespace millrace::bench
