#pragma once

#include <string>

namespace millrace::bench {

/// A folder for everything that is written, and what it lies on.
struct Disk {
  std::string folder;
  std::string file_system;  ///< `ext4 on /dev/vda`
};

/// Makes a new folder in TMPDIR, or else in the first of /tmp and /var/tmp that is no memory file
/// system: figures of one would say nothing. Throws std::runtime_error.
[[nodiscard]] Disk make_folder();

}  // namespace millrace::bench
