#pragma once

// A file system for SQLite that writes the log of a database in large pieces.
//
// SQLite writes a page of a commit with two calls, one for 24 bytes about it, and syncs the log
// once after the last. Nobody reads that far before the sync is done: the index of the log, in
// shared memory, says so only then. So what is written may wait for the sync, and then goes with
// one call.

#include <memory>
#include <string>

namespace millrace::broker::sqlite {

struct WrappedVfs;

/// Such a file system, known to SQLite under its name while this lives; connections that use it
/// must end before. For those that write with synchronous=FULL: with less nothing would make what
/// waits visible to readers. What cannot be written makes the sync fail, with the same code. Any
/// thread.
class LogVfs {
 public:
  /// On top of the file system named `base`; empty: the default one. Throws storage_failed when
  /// there is none of that name.
  explicit LogVfs(const std::string& base);
  ~LogVfs();
  LogVfs(const LogVfs&) = delete;
  LogVfs& operator=(const LogVfs&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  const std::string name_;
  const std::unique_ptr<WrappedVfs> vfs_;
};

}  // namespace millrace::broker::sqlite
