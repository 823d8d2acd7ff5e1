#include "broker/store/store_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "broker/store/schema.h"
#include "broker/store/store.h"
#include "common/util/descriptor.h"

namespace millrace::broker {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_errno(const std::string& doing) {
  throw StoreError(ErrorCode::storage_failed,
                   fmt::format("cannot {}: {}", doing, std::generic_category().message(errno)));
}

constexpr std::size_t kHeaderBytes = 100;
using Header = std::array<unsigned char, kHeaderBytes>;

std::int64_t header_number(const Header& header, std::size_t offset) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4; ++i) number = number << 8 | header.at(offset + i);
  return number;
}

}  // namespace

std::string resolve_database_path(const std::string& path) {
  const fs::path given(path);
  if (!given.has_filename())
    throw StoreError(ErrorCode::storage_failed, fmt::format("`{}` names no database file", path));
  const fs::path folder = given.has_parent_path() ? given.parent_path() : fs::path(".");
  std::error_code error;
  const fs::path resolved = fs::canonical(folder, error);
  if (error)
    throw StoreError(
        ErrorCode::storage_failed,
        fmt::format("the folder `{}` of the database cannot be used ({}); create it first",
                    folder.string(), error.message()));
  if (!fs::is_directory(resolved, error))
    throw StoreError(ErrorCode::storage_failed,
                     fmt::format("`{}` is not a folder, so it cannot hold `{}`", folder.string(),
                                 given.filename().string()));
  // A link is followed here, so that the lock lies beside the file itself, whatever name led to it.
  const fs::path file = fs::weakly_canonical(resolved / given.filename(), error);
  return error ? (resolved / given.filename()).string() : file.string();
}

void check_file_header(const std::string& path) {
  // Closed before SQLite opens the file: closing any descriptor drops a process's POSIX locks.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) {
    if (errno == ENOENT) return;
    fail_errno(fmt::format("read `{}`", path));
  }
  // SQLite's log and our lock lie beside one name: a broker under each of two would tear the file.
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail_errno(fmt::format("look at `{}`", path));
  if (info.st_nlink > 1)
    throw StoreError(ErrorCode::storage_failed,
                     fmt::format("`{}` has {} names (hard links); a database must have one: remove "
                                 "the others, or replace this one by a copy",
                                 path, info.st_nlink));
  Header header{};
  const ssize_t got = ::pread(file.get(), header.data(), header.size(), 0);
  if (got < 0) fail_errno(fmt::format("read `{}`", path));
  if (got == 0) return;
  // A crash while the file was first written leaves a journal that SQLite undoes.
  if (fs::exists(path + "-journal")) return;

  const bool sqlite = static_cast<std::size_t>(got) == header.size() &&
                      std::memcmp(header.data(), "SQLite format 3", 16) == 0;
  if (!sqlite || header_number(header, 68) != kApplicationId)
    throw StoreError(ErrorCode::foreign_file,
                     fmt::format("`{}` is not a millrace database; it was left as it is", path));
  if (header_number(header, 60) > kSchemaVersion)
    throw StoreError(ErrorCode::foreign_file,
                     fmt::format("`{}` has format {}, this program knows up to {}; use a newer "
                                 "millrace-broker",
                                 path, header_number(header, 60), kSchemaVersion));
}

FileLock::FileLock(const std::string& database) {
  const std::string path = database + ".LOCK";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) fail_errno(fmt::format("create the lock file `{}`", path));

  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    std::array<char, 32> holder{};
    const ssize_t got = ::pread(fd_, holder.data(), holder.size() - 1, 0);
    ::close(fd_);
    std::string pid(holder.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    pid.erase(pid.find_last_not_of('\n') + 1);
    throw StoreError(ErrorCode::store_locked,
                     fmt::format("another broker{} has `{}` open",
                                 pid.empty() ? "" : fmt::format(" (pid {})", pid), database));
  }
  // Only for the message above, so its failure does not matter.
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(fd_, 0) == 0) static_cast<void>(!::pwrite(fd_, pid.data(), pid.size(), 0));
}

FileLock::~FileLock() { ::close(fd_); }

Ballast::Ballast(const std::string& database, std::size_t bytes)
    : path_(database + ".ballast"), bytes_(bytes) {
  struct stat info {};
  held_ = bytes_ > 0 && ::stat(path_.c_str(), &info) == 0 &&
          static_cast<std::size_t>(info.st_size) == bytes_;
  if (!held_) restore();
}

bool Ballast::release() {
  if (!held_) return false;
  held_ = false;
  return ::unlink(path_.c_str()) == 0;
}

void Ballast::restore() {
  constexpr std::size_t kPlenty = 4;  // times the ballast
  if (held_ || bytes_ == 0) return;
  const std::string folder = fs::path(path_).parent_path().string();
  struct statvfs space {};
  if (::statvfs(folder.c_str(), &space) != 0) return;
  if (space.f_bavail * space.f_frsize < kPlenty * bytes_) return;

  const Descriptor file(
      ::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return;
  held_ = ::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes_)) == 0;
  if (!held_) ::unlink(path_.c_str());
}

void reserve_log(const std::string& database, std::size_t bytes) {
  constexpr std::size_t kPlenty = 64;  // times the log
  const std::string path = database + "-wal";
  const std::string folder = fs::path(path).parent_path().string();
  struct statvfs space {};
  if (::statvfs(folder.c_str(), &space) != 0) return;
  if (space.f_bavail * space.f_frsize < kPlenty * bytes) return;

  const Descriptor file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW));
  struct stat info {};
  if (file.get() < 0 || ::fstat(file.get(), &info) != 0) return;
  const std::string zeros(kMiB, '\0');
  for (auto size = static_cast<std::size_t>(info.st_size); size < bytes; size += zeros.size())
    if (::write(file.get(), zeros.data(), zeros.size()) != static_cast<ssize_t>(zeros.size()))
      return;
  ::fsync(file.get());
}

FileIdentity identify(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return {};
  return {info.st_dev, info.st_ino};
}

}  // namespace millrace::broker
