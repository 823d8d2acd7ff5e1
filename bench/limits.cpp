#include "bench/limits.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <zmq.hpp>

#include "bench/bare_sqlite.h"
#include "bench/measure.h"
#include "bench/processes.h"

namespace millrace::bench {
namespace {

constexpr std::size_t kRowsEach = 1000;
constexpr std::size_t kBytesEach = 1 << 20;
constexpr std::size_t kEchoMessages = 100;
constexpr std::size_t kEchoBytes = 100;
constexpr std::size_t kEchoFrames = 8;

/// A DEALER, and a ROUTER on a thread and in a context of its own that sends every frame back.
class Echo {
 public:
  Echo() {
    router_.bind("tcp://127.0.0.1:*");
    dealer_.connect(router_.get(zmq::sockopt::last_endpoint));
    thread_ = std::jthread([this] { answer(); });
  }
  ~Echo() { send({}); }
  Echo(const Echo&) = delete;
  Echo& operator=(const Echo&) = delete;

  void send(std::string_view frame) { dealer_.send(zmq::buffer(frame), zmq::send_flags::none); }
  void receive() {
    zmq::message_t reply;
    if (!dealer_.recv(reply)) throw std::runtime_error("no echo came");
  }

 private:
  /// Until an empty frame comes.
  void answer() {
    zmq::message_t peer;
    zmq::message_t frame;
    while (router_.recv(peer) && router_.recv(frame) && frame.size() > 0) {
      router_.send(peer, zmq::send_flags::sndmore);
      router_.send(frame, zmq::send_flags::none);
    }
  }

  zmq::context_t there_{1};
  zmq::context_t here_{1};
  zmq::socket_t router_{there_, zmq::socket_type::router};
  zmq::socket_t dealer_{here_, zmq::socket_type::dealer};
  std::jthread thread_;
};

}  // namespace

void add_row_limits(Run& run, const RowLimits& wanted) {
  const std::string folder = run.new_folder("bare");
  const std::size_t rows_each =
      std::clamp<std::size_t>(kBytesEach / wanted.payload_bytes, 1, kRowsEach);
  {
    BareTable table(folder, wanted.payload_bytes);
    const double cpu_before = own_cpu_seconds();
    const double insert = table.insert(wanted.rows, rows_each);
    run.add_limit(fmt::format("sqlite.insert{}", wanted.suffix), insert, "rows/s");
    if (wanted.update) {
      const double update = table.update(rows_each);
      run.add_limit(fmt::format("sqlite.update{}", wanted.suffix), update, "rows/s");
      run.add_limit(fmt::format("sqlite.insert+update{}", wanted.suffix),
                    1 / (1 / insert + 1 / update), "rows/s");
      run.add_limit(fmt::format("sqlite.cpu{}", wanted.suffix),
                    (own_cpu_seconds() - cpu_before) * 1e6 / static_cast<double>(wanted.rows),
                    "us/job");
    }
  }
  std::filesystem::remove_all(folder);
}

void add_commit_limits(Run& run, std::size_t commits, std::chrono::microseconds pause) {
  const auto add = [&](const char* name, std::chrono::microseconds before_each) {
    const std::string folder = run.new_folder("commit");
    const std::vector<double> taken =
        BareTable(folder, kEchoBytes).commit_one_by_one(commits, before_each);
    run.add_limit(fmt::format("{}.p50", name), quantile(taken, 0.5), "ms");
    run.add_limit(fmt::format("{}.p99", name), quantile(taken, 0.99), "ms");
    std::filesystem::remove_all(folder);
  };
  add("sqlite.commit", {});
  if (pause.count() > 0) add("sqlite.commit.paced", pause);
}

void add_sync_limits(Run& run, std::size_t syncs) {
  const std::string folder = run.new_folder("sync");
  const std::string page(4096, 'x');
  const int file = open((folder + "/page").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  std::vector<double> taken;
  bool good = file >= 0;
  const auto begin = Clock::now();
  for (std::size_t i = 0; good && i < syncs; ++i) {
    const auto one = Clock::now();
    good = pwrite(file, page.data(), page.size(), 0) == static_cast<ssize_t>(page.size()) &&
           fdatasync(file) == 0;
    taken.push_back(ms_since(one));
  }
  const double rate = static_cast<double>(syncs) / seconds_since(begin);
  if (file >= 0) close(file);
  if (!good) throw std::runtime_error(fmt::format("{} cannot be written", folder));
  run.add_limit("fdatasync.p50", quantile(taken, 0.5), "ms");
  run.add_limit("fdatasync.p99", quantile(taken, 0.99), "ms");
  run.add_limit("fdatasync.rate", rate, "1/s");
  std::filesystem::remove_all(folder);
}

void add_echo_limit(Run& run, std::size_t messages) {
  Echo echo;
  const std::string frame(kEchoMessages * kEchoBytes, 'x');
  const std::size_t frames = std::max<std::size_t>(1, messages / kEchoMessages);
  std::size_t sent = 0;
  const auto count = static_cast<double>(frames * kEchoMessages);
  const double cpu_before = own_cpu_seconds();
  const auto begin = Clock::now();
  for (std::size_t back = 0; back < frames; ++back) {
    for (; sent < frames && sent < back + kEchoFrames; ++sent) echo.send(frame);
    echo.receive();
  }
  run.add_limit("zeromq.echo", count / seconds_since(begin), "messages/s");
  run.add_limit("zeromq.echo.cpu", (own_cpu_seconds() - cpu_before) * 1e6 / count / 2,
                "us/message");
}

void add_ping_limit(Run& run, std::size_t messages, std::chrono::microseconds pause) {
  Echo echo;
  const std::string frame(kEchoBytes, 'x');
  std::vector<double> taken;
  for (std::size_t i = 0; i < messages; ++i) {
    std::this_thread::sleep_for(pause);
    const auto begin = Clock::now();
    echo.send(frame);
    echo.receive();
    taken.push_back(ms_since(begin));
  }
  run.add_limit("zeromq.ping.p50", quantile(taken, 0.5), "ms");
  run.add_limit("zeromq.ping.p99", quantile(taken, 0.99), "ms");
}

void add_spawn_limit(Run& run, std::size_t starts) {
  const std::string folder = run.new_folder("spawn");
  std::vector<double> taken;
  for (std::size_t i = 0; i < starts; ++i) {
    const auto begin = Clock::now();
    Process({"true"}, folder + "/log").wait();
    taken.push_back(ms_since(begin));
  }
  run.add_limit("spawn.p50", quantile(taken, 0.5), "ms");
  std::filesystem::remove_all(folder);
}

}  // namespace millrace::bench
