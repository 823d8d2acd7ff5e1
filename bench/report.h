#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace millrace::bench {

/// One figure, as it stands in the JSON.
struct Figure {
  std::string workload;
  std::string subject;  ///< `millrace`, `limit`, or the name of another queue
  std::string metric;
  double value = 0;
  std::string unit;
};

/// Everything that was measured. A figure that is added several times, once a round, counts with
/// its median. Each figure of millrace may name the limit of its workload beside which it stands.
class Report {
 public:
  void title(const std::string& workload, const std::string& text);
  void add(const Figure& figure, const std::string& limit = {});
  /// What a reader must know: what could not be measured, or means something else. Said once.
  void note(const std::string& text);
  /// Takes in the figures of other queues from a file that json() or a script of the same shape
  /// wrote. Throws std::runtime_error when the file is not of that shape.
  void merge(const std::string& path);

  /// Medians, in the order in which they were first added.
  [[nodiscard]] std::vector<Figure> figures() const;
  /// A block for each workload; a column for each other subject that was merged.
  [[nodiscard]] std::string table() const;
  /// An array of `{"workload","subject","metric","value","unit"}`.
  [[nodiscard]] std::string json() const;

 private:
  struct Entry {
    Figure figure;
    std::string limit;
    std::vector<double> samples;
  };
  struct Title {
    std::string workload;
    std::string text;
  };
  [[nodiscard]] const Entry* find(const std::string& workload, const std::string& subject,
                                  const std::string& metric) const;
  [[nodiscard]] std::vector<std::string> workloads() const;
  [[nodiscard]] std::vector<std::string> others() const;
  [[nodiscard]] std::vector<std::string> metrics(const std::string& workload) const;
  [[nodiscard]] std::string block(const std::string& workload) const;
  [[nodiscard]] std::string line(const std::string& workload, const std::string& metric) const;

  std::vector<Title> titles_;
  std::vector<Entry> entries_;
  std::vector<std::string> notes_;
};

}  // namespace millrace::bench
