#include <millrace/client.h>

#include <iostream>

int main(int argc, char** argv) {
  using millrace::Payload;
  millrace::Client client({.broker = argc > 1 ? argv[1] : "tcp://127.0.0.1:7411"});
  const auto batch = client.enqueue({{.kind = "text.upper", .payload = Payload::text("millrace")},
                                     {.kind = "text.count", .payload = Payload::text("a b c")}});
  if (!batch) return std::cerr << batch.error().message << '\n', exit_code(batch.error().code);
  const auto end = client.watch(batch->batch, {}, [](const millrace::JobResult& row) {
    std::cout << row.kind << ' ' << to_string(row.state) << ' ' << row.result.bytes << '\n';
  });
  if (!end) return std::cerr << end.error().message << '\n', exit_code(end.error().code);
}
