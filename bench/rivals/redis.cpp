// Redis as a queue: a stream with a consumer group (--setting streams), or a list (--setting
// lists).

#include <hiredis/hiredis.h>
#include <unistd.h>

#include "bench/rivals/rival.h"

namespace millrace::rivals {
namespace {

using Words = std::vector<std::string_view>;

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

std::string_view text(const redisReply* reply) { return {reply->str, reply->len}; }

/// One connection. send() only buffers; the first receive() after it writes all that is buffered.
class Redis {
 public:
  explicit Redis(int port) : context_(redisConnect("127.0.0.1", port)) {
    if (context_ == nullptr || context_->err != 0) fail("cannot connect to Redis");
  }
  ~Redis() { redisFree(context_); }
  Redis(const Redis&) = delete;
  Redis& operator=(const Redis&) = delete;

  void send(const Words& words) {
    pointers_.clear();
    lengths_.clear();
    for (const auto& word : words) {
      pointers_.push_back(word.data());
      lengths_.push_back(word.size());
    }
    redisAppendCommandArgv(context_, static_cast<int>(words.size()), pointers_.data(),
                           lengths_.data());
  }

  /// An error answer is thrown, unless the caller has a use for it.
  Reply receive(bool may_fail = false) {
    void* reply = nullptr;
    if (redisGetReply(context_, &reply) != REDIS_OK) fail(context_->errstr);
    Reply owned(static_cast<redisReply*>(reply));
    if (!may_fail && owned->type == REDIS_REPLY_ERROR) fail(std::string(text(owned.get())));
    return owned;
  }

 private:
  redisContext* context_;
  std::vector<const char*> pointers_;
  std::vector<std::size_t> lengths_;
};

/// Both sides make the group: whoever comes second is told that it exists.
void make_group(Redis& redis) {
  redis.send({"XGROUP", "CREATE", "jobs", "workers", "0", "MKSTREAM"});
  (void)redis.receive(true);
}

class StreamProducer : public Producer {
 public:
  explicit StreamProducer(const Options& options) : redis_(options.port) { make_group(redis_); }

  void enqueue(const std::vector<std::string>& payloads) override {
    // Redis reads 16 kB of a pipeline at a time and syncs its file after each of them. In a
    // transaction the commands wait for EXEC, and one sync serves all.
    const bool transaction = payloads.size() > 1;
    if (transaction) redis_.send({"MULTI"});
    for (const auto& payload : payloads) redis_.send({"XADD", "jobs", "*", "payload", payload});
    if (transaction) redis_.send({"EXEC"});
    const std::size_t replies = payloads.size() + (transaction ? 2 : 0);
    for (std::size_t i = 0; i < replies; ++i) (void)redis_.receive();
  }

 private:
  Redis redis_;
};

class StreamWorker : public Worker {
 public:
  explicit StreamWorker(const Options& options)
      : redis_(options.port),
        name_(std::to_string(getpid())),
        count_(std::to_string(options.batch)) {
    make_group(redis_);
  }

  std::size_t work(milliseconds wait, Handler handler) override {
    const bool acks = send_acks();
    send_fetch(wait);
    if (acks) {
      (void)redis_.receive();
      (void)redis_.receive();
    }
    const Reply reply = redis_.receive();
    ids_.clear();
    if (reply->type == REDIS_REPLY_NIL) return 0;
    // One stream: [[name, [[id, [field, value]], ...]]].
    const redisReply* entries = reply->element[0]->element[1];
    for (std::size_t i = 0; i < entries->elements; ++i) {
      const redisReply* entry = entries->element[i];
      handler(text(entry->element[1]->element[1]));
      ids_.emplace_back(text(entry->element[0]));
    }
    return ids_.size();
  }

 private:
  bool send_acks() {
    if (ids_.empty()) return false;
    Words ack{"XACK", "jobs", "workers"};
    Words remove{"XDEL", "jobs"};
    ack.insert(ack.end(), ids_.begin(), ids_.end());
    remove.insert(remove.end(), ids_.begin(), ids_.end());
    redis_.send(ack);
    redis_.send(remove);
    return true;
  }

  void send_fetch(milliseconds wait) {
    Words fetch{"XREADGROUP", "GROUP", "workers", name_, "COUNT", count_};
    const std::string block = std::to_string(wait.count());
    if (wait.count() > 0) fetch.insert(fetch.end(), {"BLOCK", block});
    fetch.insert(fetch.end(), {"STREAMS", "jobs", ">"});
    redis_.send(fetch);
  }

  Redis redis_;
  std::string name_;
  std::string count_;
  std::vector<std::string> ids_;
};

class ListProducer : public Producer {
 public:
  explicit ListProducer(const Options& options) : redis_(options.port) {}

  void enqueue(const std::vector<std::string>& payloads) override {
    Words push{"LPUSH", "jobs"};
    push.insert(push.end(), payloads.begin(), payloads.end());
    redis_.send(push);
    (void)redis_.receive();
  }

 private:
  Redis redis_;
};

/// Moves each job to a list of this worker's own, from which it can be recovered, and removes it
/// there when it is done.
class ListWorker : public Worker {
 public:
  explicit ListWorker(const Options& options)
      : redis_(options.port),
        processing_("processing:" + std::to_string(getpid())),
        batch_(options.batch) {}

  std::size_t work(milliseconds wait, Handler handler) override {
    if (wait.count() > 0)
      await_job(wait, handler);
    else
      take_batch(handler);
    return jobs_.size();
  }

 private:
  void send_acks() {
    // New jobs come in at the left end, so the oldest, to be removed first, is found from the
    // right.
    for (const auto& job : jobs_) redis_.send({"LREM", processing_, "-1", job});
  }

  void handle(const redisReply* reply, Handler handler) {
    if (reply->type != REDIS_REPLY_STRING) return;
    handler(text(reply));
    jobs_.emplace_back(text(reply));
  }

  void await_job(milliseconds wait, Handler handler) {
    const std::string seconds = std::to_string(static_cast<double>(wait.count()) / 1e3);
    send_acks();
    redis_.send({"BLMOVE", "jobs", processing_, "RIGHT", "LEFT", seconds});
    for (std::size_t i = 0; i < jobs_.size(); ++i) (void)redis_.receive();
    jobs_.clear();
    handle(redis_.receive().get(), handler);
  }

  /// A transaction for the reason that the producer of streams has.
  void take_batch(Handler handler) {
    redis_.send({"MULTI"});
    send_acks();
    for (std::size_t i = 0; i < batch_; ++i)
      redis_.send({"LMOVE", "jobs", processing_, "RIGHT", "LEFT"});
    redis_.send({"EXEC"});
    const std::size_t acks = jobs_.size();
    for (std::size_t i = 0; i < 1 + acks + batch_; ++i) (void)redis_.receive();
    const Reply reply = redis_.receive();
    jobs_.clear();
    for (std::size_t i = acks; i < reply->elements; ++i) handle(reply->element[i], handler);
  }

  Redis redis_;
  std::string processing_;
  std::size_t batch_;
  std::vector<std::string> jobs_;
};

std::unique_ptr<Producer> make_producer(const Options& options) {
  if (options.setting == "lists") return std::make_unique<ListProducer>(options);
  return std::make_unique<StreamProducer>(options);
}

std::unique_ptr<Worker> make_worker(const Options& options) {
  if (options.setting == "lists") return std::make_unique<ListWorker>(options);
  return std::make_unique<StreamWorker>(options);
}

}  // namespace
}  // namespace millrace::rivals

int main(int argc, char** argv) {
  using namespace millrace::rivals;
  return run(argc, argv, make_producer, make_worker);
}
