#pragma once

// What lies around the database file: the lock that keeps a second broker out, the ballast that a
// full disk gives back, and the check that the path still leads to the file that is open.
// Owned by SqliteStore, used on its thread.

#include <sys/types.h>

#include <cstddef>
#include <string>

namespace millrace::broker {

/// `path` with its folder resolved, so that SQLite may refuse symbolic links. Throws storage_failed
/// when the folder does not exist or is none.
[[nodiscard]] std::string resolve_database_path(const std::string& path);

/// Throws foreign_file when the file holds something else than one of our databases or was written
/// by a newer program. Reads the file's first bytes only; a missing or empty file is fine.
void check_file_header(const std::string& path);

/// Holds `<database>.LOCK` as long as it lives. The file stays: removing it would race.
class FileLock {
 public:
  /// Throws store_locked when another process, or another store in this one, holds it.
  explicit FileLock(const std::string& database);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

/// Space set aside as `<database>.ballast`: deleted when the disk is full, so that what was already
/// decided can still be written. 0 bytes: none.
class Ballast {
 public:
  Ballast(const std::string& database, std::size_t bytes);

  /// Gives the space back. False when there was none.
  bool release();
  /// Takes the space again once the disk has plenty. Failing is no error.
  void restore();
  [[nodiscard]] bool is_held() const { return held_; }

 private:
  std::string path_;
  std::size_t bytes_;
  bool held_ = false;
};

/// Makes the write-ahead log at least so long, with zeros, where the disk has plenty: to sync
/// blocks that are written over takes half as long as to sync a file that grows. SQLite ends a log
/// where a frame does not fit its checksum. Failing is no error.
void reserve_log(const std::string& database, std::size_t bytes);

/// Which file a path leads to.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};
/// All zero when there is no file.
[[nodiscard]] FileIdentity identify(const std::string& path);

}  // namespace millrace::broker
