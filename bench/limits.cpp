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

/// Sends every frame back until an empty one comes.
void echo(zmq::socket_t& router) {
  zmq::message_t peer;
  zmq::message_t frame;
  while (router.recv(peer) && router.recv(frame) && frame.size() > 0) {
    router.send(peer, zmq::send_flags::sndmore);
    router.send(frame, zmq::send_flags::none);
  }
}

}  // namespace

void add_row_limits(Run& run, const RowLimits& wanted) {
  const std::string folder = run.new_folder("bare");
  const std::size_t rows_each =
      std::clamp<std::size_t>(kBytesEach / wanted.payload_bytes, 1, kRowsEach);
  {
    BareTable table(folder, wanted.payload_bytes);
    const double insert = table.insert(wanted.rows, rows_each);
    run.add_limit(fmt::format("sqlite.insert{}", wanted.suffix), insert, "rows/s");
    if (wanted.update) {
      const double update = table.update(rows_each);
      run.add_limit(fmt::format("sqlite.update{}", wanted.suffix), update, "rows/s");
      run.add_limit(fmt::format("sqlite.insert+update{}", wanted.suffix),
                    1 / (1 / insert + 1 / update), "rows/s");
    }
  }
  std::filesystem::remove_all(folder);
}

void add_commit_limits(Run& run, std::size_t commits) {
  const std::string folder = run.new_folder("commit");
  const std::vector<double> taken = BareTable(folder, kEchoBytes).commit_one_by_one(commits);
  run.add_limit("sqlite.commit.p50", quantile(taken, 0.5), "ms");
  run.add_limit("sqlite.commit.p99", quantile(taken, 0.99), "ms");
  std::filesystem::remove_all(folder);
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
  zmq::context_t there(1);
  zmq::socket_t router(there, zmq::socket_type::router);
  router.bind("tcp://127.0.0.1:*");
  const std::string endpoint = router.get(zmq::sockopt::last_endpoint);
  std::thread other([&] { echo(router); });
  zmq::context_t here(1);
  zmq::socket_t dealer(here, zmq::socket_type::dealer);
  dealer.connect(endpoint);
  const std::string frame(kEchoMessages * kEchoBytes, 'x');
  const std::size_t frames = std::max<std::size_t>(1, messages / kEchoMessages);
  std::size_t sent = 0;
  const auto begin = Clock::now();
  for (std::size_t back = 0; back < frames; ++back) {
    for (; sent < frames && sent < back + kEchoFrames; ++sent)
      dealer.send(zmq::buffer(frame), zmq::send_flags::none);
    zmq::message_t reply;
    if (!dealer.recv(reply)) throw std::runtime_error("no echo came");
  }
  const double taken = seconds_since(begin);
  dealer.send(zmq::message_t(), zmq::send_flags::none);
  other.join();
  run.add_limit("zeromq.echo", static_cast<double>(frames * kEchoMessages) / taken, "messages/s");
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
