#include "broker/store/new_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "broker/engine/store_error.h"

namespace millrace::broker {
namespace {

[[noreturn]] void fail_errno(const std::string& doing) {
  throw StoreError(ErrorCode::storage_failed,
                   fmt::format("cannot {}: {}", doing, std::generic_category().message(errno)));
}

[[noreturn]] void refuse(const std::string& path) {
  throw StoreError(
      ErrorCode::usage,
      fmt::format("`{}` exists and is not replaced; name another file, or move it away", path));
}

/// Not every file system can rename without replacing; a second link never replaces.
bool rename_new(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;
  return ::link(from.c_str(), to.c_str()) == 0 && ::unlink(from.c_str()) == 0;
}

void sync_folder(const std::string& file) {
  const std::string folder = std::filesystem::path(file).parent_path().string();
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail_errno(fmt::format("open the folder `{}`", folder));
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  errno = error;
  if (result != 0) fail_errno(fmt::format("sync the folder `{}`", folder));
}

}  // namespace

void refuse_existing(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) refuse(path);
}

NewFile::NewFile(const std::string& name, mode_t mode) : name_(name), path_(name + ".tmp") {
  refuse_existing(name_);
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd_ < 0) fail_errno(fmt::format("write `{}`", path_));
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd_);
    throw StoreError(ErrorCode::busy, fmt::format("another process writes `{}` just now", name_));
  }
  // What a process that was killed left behind is no part of this.
  for (const char* suffix : {"-journal", "-wal", "-shm"}) ::unlink((path_ + suffix).c_str());
  if (::ftruncate(fd_, 0) == 0) return;
  const int error = errno;
  remove_all();
  ::close(fd_);
  errno = error;
  fail_errno(fmt::format("write `{}`", path_));
}

NewFile::~NewFile() {
  if (!published_) remove_all();
  ::close(fd_);
}

void NewFile::remove_all() const {
  for (const char* suffix : {"", "-journal", "-wal", "-shm"}) ::unlink((path_ + suffix).c_str());
}

void NewFile::publish() {
  if (::fsync(fd_) != 0) fail_errno(fmt::format("sync `{}`", path_));
  if (!rename_new(path_, name_)) {
    if (errno == EEXIST) refuse(name_);
    fail_errno(fmt::format("rename `{}` to `{}`", path_, name_));
  }
  published_ = true;
  sync_folder(name_);
}

}  // namespace millrace::broker
