#include "common/protocol/messages.h"

#include <algorithm>
#include <iterator>

namespace millrace::protocol {
namespace {

constexpr std::string_view kRoles[] = {"producer", "worker"};
constexpr std::string_view kUntils[] = {"drained", "forever", "empty"};
constexpr std::string_view kQueueStates[] = {"open", "closed", "drained"};
constexpr std::string_view kItemStatuses[] = {"ok",        "duplicate", "stale",
                                              "cancelled", "not_found", "refused"};
constexpr std::string_view kListWhats[] = {"jobs", "batches"};

template <class Enum, std::size_t N>
bool parse_word(const std::string_view (&words)[N], std::string_view word, Enum& value) {
  const auto* found = std::find(std::begin(words), std::end(words), word);
  if (found == std::end(words)) return false;
  value = static_cast<Enum>(found - std::begin(words));
  return true;
}

struct TypeName {
  std::string_view operator()(const Hello&) const { return "hello"; }
  std::string_view operator()(const Welcome&) const { return "welcome"; }
  std::string_view operator()(const ErrorReply&) const { return "error"; }
  std::string_view operator()(const Bye&) const { return "bye"; }
  std::string_view operator()(const Heartbeat&) const { return "heartbeat"; }
  std::string_view operator()(const ResumeWanted&) const { return "resume_wanted"; }
  std::string_view operator()(const Enqueue&) const { return "enqueue"; }
  std::string_view operator()(const Enqueued&) const { return "enqueued"; }
  std::string_view operator()(const Offer&) const { return "offer"; }
  std::string_view operator()(const Credit&) const { return "credit"; }
  std::string_view operator()(const Jobs&) const { return "jobs"; }
  std::string_view operator()(const Started&) const { return "started"; }
  std::string_view operator()(const Ack&) const { return "ack"; }
  std::string_view operator()(const Nack&) const { return "nack"; }
  std::string_view operator()(const Reject&) const { return "reject"; }
  std::string_view operator()(const Release&) const { return "release"; }
  std::string_view operator()(const Settled&) const { return "settled"; }
  std::string_view operator()(const Resume&) const { return "resume"; }
  std::string_view operator()(const Resumed&) const { return "resumed"; }
  std::string_view operator()(const Recall&) const { return "recall"; }
  std::string_view operator()(const Cancel&) const { return "cancel"; }
  std::string_view operator()(const Watch&) const { return "watch"; }
  std::string_view operator()(const Results&) const { return "results"; }
  std::string_view operator()(const Unwatch&) const { return "unwatch"; }
  std::string_view operator()(const Close&) const { return "close"; }
  std::string_view operator()(const Open&) const { return "open"; }
  std::string_view operator()(const Drained&) const { return "drained"; }
  std::string_view operator()(const Pause&) const { return "pause"; }
  std::string_view operator()(const Unpause&) const { return "unpause"; }
  std::string_view operator()(const QueueInfo&) const { return "queue_info"; }
  std::string_view operator()(const Redrive&) const { return "redrive"; }
  std::string_view operator()(const Replay&) const { return "replay"; }
  std::string_view operator()(const Outcomes&) const { return "outcomes"; }
  std::string_view operator()(const Stats&) const { return "stats"; }
  std::string_view operator()(const Report&) const { return "report"; }
  std::string_view operator()(const List&) const { return "list"; }
  std::string_view operator()(const Page&) const { return "page"; }
  std::string_view operator()(const Show&) const { return "show"; }
  std::string_view operator()(const Item&) const { return "item"; }
  std::string_view operator()(const Output&) const { return "output"; }
  std::string_view operator()(const Await&) const { return "await"; }
  std::string_view operator()(const WatchOutput&) const { return "watch_output"; }
  std::string_view operator()(const OutputRows&) const { return "output_rows"; }
  std::string_view operator()(const KindSet&) const { return "kind_set"; }
  std::string_view operator()(const KindInfo&) const { return "kind_info"; }
  std::string_view operator()(const Dismiss&) const { return "dismiss"; }
  std::string_view operator()(const Backup&) const { return "backup"; }
  std::string_view operator()(const BackedUp&) const { return "backed_up"; }
};

}  // namespace

ErrorReply make_error(const Error& error) {
  return {std::string(to_string(error.code)), error.message, is_retryable(error.code), error.after};
}

Error to_error(const ErrorReply& reply) {
  return {error_code(reply.code), reply.message, reply.after};
}

std::string_view type_name(const Message& message) { return std::visit(TypeName{}, message); }

std::string_view to_string(Role role) { return kRoles[static_cast<std::size_t>(role)]; }
std::string_view to_string(Until until) { return kUntils[static_cast<std::size_t>(until)]; }
std::string_view to_string(QueueState s) { return kQueueStates[static_cast<std::size_t>(s)]; }
std::string_view to_string(ItemStatus s) { return kItemStatuses[static_cast<std::size_t>(s)]; }
std::string_view to_string(ListWhat what) { return kListWhats[static_cast<std::size_t>(what)]; }
bool parse(std::string_view name, Role& role) { return parse_word(kRoles, name, role); }
bool parse(std::string_view name, Until& until) { return parse_word(kUntils, name, until); }
bool parse(std::string_view name, QueueState& s) { return parse_word(kQueueStates, name, s); }
bool parse(std::string_view name, ItemStatus& s) { return parse_word(kItemStatuses, name, s); }
bool parse(std::string_view name, ListWhat& what) { return parse_word(kListWhats, name, what); }

}  // namespace millrace::protocol
