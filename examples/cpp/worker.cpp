#include <millrace/worker.h>

#include <cctype>
#include <sstream>

using millrace::JobContext, millrace::Outcome, millrace::Payload;

Outcome upper(JobContext& context) {
  std::string text = context.job().payload.bytes;
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return Outcome::ack(Payload::text(text));
}

Outcome count(JobContext& context) {
  std::istringstream words(context.job().payload.bytes);
  int found = 0;
  for (std::string word; words >> word;) {
    context.log("found " + word);
    context.progress(++found);
  }
  if (found == 0) return Outcome::reject("bad_payload: there is no word in it");
  return Outcome::ack(Payload::text(std::to_string(found)));
}

int main(int argc, char** argv) {
  millrace::Worker worker({.broker = argc > 1 ? argv[1] : "tcp://127.0.0.1:7411"});
  worker.kind("text.upper", millrace::kPoolIo, upper);
  worker.kind("text.count", millrace::kPoolCpu, count, {.max_attempts = 5, .retry = "1s,5s,30s"});
  return worker.run();
}
