#include <fmt/format.h>

#include <filesystem>

#include "common/net/ip_address.h"
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

/// May take long, and has no use twice: a second one would find the file of the first.
Result<protocol::BackedUp> ask(Client& client, const std::string& path, const std::string& file) {
  auto backup = client.call_long<protocol::BackedUp>(protocol::Backup{path});
  // A broker with a folder for backups takes no path, only a name in it.
  const bool wants_name = !backup && backup.error().code == ErrorCode::bad_request &&
                          path != file && file.find('/') == std::string::npos;
  return wants_name ? client.call_long<protocol::BackedUp>(protocol::Backup{file}) : backup;
}

}  // namespace

int run_backup(Context& context, const std::string& file) {
  const auto path = make_path(file, net::is_local_endpoint(context.broker()));
  if (!path) return context.give_up(path.error());
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  const auto backup = ask(**client, *path, file);
  if (!backup) return context.give_up(backup.error());
  if (!context.output().is_table()) context.output().row(to_json(*backup));
  context.output().finish();
  context.note(fmt::format("backed up to {}: {}, {} ({} bytes)", backup->path,
                           format_count(backup->jobs, "job"), format_size(backup->bytes),
                           format_count(backup->bytes)));
  return kExitOk;
}

}  // namespace millrace::producer
