#include <fmt/format.h>

#include <filesystem>

#include "common/util/parse.h"
#include "producer/commands/commands.h"
#include "producer/json_text.h"

namespace millrace::producer {
namespace {

/// The broker writes the file, in whatever folder it runs: it gets the whole path. A bare name may
/// also mean the folder that a broker elsewhere keeps for backups.
Result<std::string> make_path(const std::string& file, bool local) {
  if (file.empty()) return fail(ErrorCode::usage, "the name of the file is empty");
  if (!local && file.find('/') == std::string::npos) return file;
  std::error_code error;
  const auto path = std::filesystem::absolute(file, error);
  if (error)
    return fail(ErrorCode::usage, fmt::format("no path to `{}`: {}", file, error.message()));
  return path.lexically_normal().string();
}

bool is_local(std::string_view endpoint) {
  for (const std::string_view start : {"ipc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:"})
    if (endpoint.starts_with(start)) return true;
  return false;
}

}  // namespace

int run_backup(Context& context, const std::string& file) {
  const auto path = make_path(file, is_local(context.broker()));
  if (!path) return context.give_up(path.error());
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  const auto backup = (*client)->call_long<protocol::BackedUp>(protocol::Backup{*path});
  if (!backup) {
    const int code = context.give_up(backup.error());
    if (backup.error().code == ErrorCode::not_allowed)
      context.error(
          "the broker writes the file on its own machine, and only for a producer there: "
          "run this beside the broker");
    return code;
  }
  if (!context.output().is_table()) context.output().row(to_json(*backup));
  context.output().finish();
  context.note(fmt::format("backed up to {}: {}, {} ({} bytes)", backup->path,
                           format_count(backup->jobs, "job"), format_size(backup->bytes),
                           format_count(backup->bytes)));
  return kExitOk;
}

}  // namespace millrace::producer
