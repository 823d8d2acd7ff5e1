#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/sim_random.h"

struct sqlite3_vfs;

namespace millrace::simulation {

/// The disk of one simulated machine, as a file system for SQLite that lives in memory. Writes are
/// seen at once and are durable when the file was synced; a loss of power keeps any 512-byte
/// sectors of the others and drops the rest. One thread; one process at a time uses it, so that
/// file locks have nothing to do.
class PowerDisk {
 public:
  /// `seed` also feeds what SQLite draws, so that a run depends on nothing else.
  explicit PowerDisk(std::uint64_t seed);
  ~PowerDisk();
  PowerDisk(const PowerDisk&) = delete;
  PowerDisk& operator=(const PowerDisk&) = delete;

  /// For SqliteOptions::vfs.
  [[nodiscard]] const std::string& vfs() const { return name_; }

  /// After `operations` more writes, syncs and the like everything fails until revive().
  void lose_power_after(std::uint64_t operations);
  /// The `n`th sync from now on (1: the next) fails; its writes may or may not be on the disk.
  void fail_sync(std::uint64_t n) { syncs_until_failure_ = n; }
  /// Everything fails until revive(), so that whoever has files open cannot touch them any more.
  void stop() { running_ = false; }
  /// Everybody who had files open is gone. `power_lost`: and so is what was not synced.
  void revive(bool power_lost, SimRandom& random);

  struct Change {
    std::int64_t offset = 0;
    std::string bytes;
    bool truncate = false;  ///< to `offset`
  };
  struct File {
    std::string content;                          ///< what everybody sees
    std::string durable;                          ///< what the last sync left
    std::vector<Change> pending;                  ///< since then
    std::vector<std::unique_ptr<char[]>> shared;  ///< shared memory, gone with the process
  };

  // ---- for the file system functions
  File* find(const std::string& path);
  File& open(const std::string& path) { return files_[path]; }
  void erase(const std::string& path) { files_.erase(path); }
  /// Counts an operation; false: the machine is off.
  bool operate();
  int sync(File& file);
  SimRandom& random() { return random_; }

 private:
  static void apply(std::string& bytes, const Change& change);
  static void lose(File& file, SimRandom& random);

  std::string name_;
  std::unique_ptr<sqlite3_vfs> vfs_;
  std::map<std::string, File> files_;
  SimRandom random_;
  bool running_ = true;
  std::uint64_t operations_left_ = UINT64_MAX;
  std::uint64_t syncs_until_failure_ = 0;
};

}  // namespace millrace::simulation
