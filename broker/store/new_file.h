#pragma once

#include <sys/types.h>

#include <string>

namespace millrace::broker {

/// A file that appears under its name only when it is complete: written as `<name>.tmp`, synced,
/// renamed. Gone with the object unless it was published. SQLite may write it meanwhile, over
/// connections that are closed before this object goes.
class NewFile {
 public:
  /// Throws usage when `name` exists, busy when another process writes it just now, storage_failed
  /// when the folder cannot be written.
  NewFile(const std::string& name, mode_t mode);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  /// Where to write.
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Never replaces a file: throws usage when one has appeared under the name.
  void publish();

 private:
  void remove_all() const;

  std::string name_;
  std::string path_;
  int fd_ = -1;
  bool published_ = false;
};

/// Throws usage, with what to do, when there is a file `path`.
void refuse_existing(const std::string& path);

}  // namespace millrace::broker
