#pragma once

#include <string>
#include <vector>

#include "common/errors.h"

namespace millrace {

/// One value of a configuration file, as text; a list has any number of them.
struct ConfigValue {
  std::string key;  ///< dotted, dashes written as underscores: "limits.payload_bytes_max"
  std::vector<std::string> texts;
  bool is_list = false;
  std::string place;  ///< "FILE:LINE"
};

/// Reads a TOML file. Errors: bad_config, with file and line.
[[nodiscard]] Result<std::vector<ConfigValue>> read_config_file(const std::string& path);

}  // namespace millrace
