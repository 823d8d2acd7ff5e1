// RabbitMQ by librabbitmq: publisher confirms, prefetch, acks of several messages at once.
// --setting: quorum (replicated log, here with one member), durable (classic), transient (classic).

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <sys/time.h>

#include <set>

#include "bench/rivals/rival.h"

namespace millrace::rivals {
namespace {

constexpr amqp_channel_t kChannel = 1;

amqp_bytes_t bytes(std::string_view text) { return {text.size(), const_cast<char*>(text.data())}; }

/// One connection with one channel, on which the queue is declared.
class Channel {
 public:
  explicit Channel(const Options& options) : connection_(amqp_new_connection()) {
    amqp_socket_t* socket = amqp_tcp_socket_new(connection_);
    if (socket == nullptr || amqp_socket_open(socket, "127.0.0.1", options.port) != 0)
      fail("cannot connect to RabbitMQ");
    check(amqp_login(connection_, "/", 0, AMQP_DEFAULT_FRAME_SIZE, 0, AMQP_SASL_METHOD_PLAIN,
                     "guest", "guest"));
    amqp_channel_open(connection_, kChannel);
    check();
    amqp_table_entry_t type{};
    type.key = bytes("x-queue-type");
    type.value.kind = AMQP_FIELD_KIND_UTF8;
    type.value.value.bytes = bytes(options.setting == "quorum" ? "quorum" : "classic");
    const amqp_table_t arguments{1, &type};
    const amqp_boolean_t durable = options.setting != "transient";
    amqp_queue_declare(connection_, kChannel, queue, 0, durable, 0, 0, arguments);
    check();
  }
  ~Channel() { amqp_destroy_connection(connection_); }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  void check() { check(amqp_get_rpc_reply(connection_)); }
  static void check(const amqp_rpc_reply_t& reply) {
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("RabbitMQ refused a request");
  }
  amqp_connection_state_t connection() { return connection_; }

  const amqp_bytes_t queue = bytes("jobs");

 private:
  amqp_connection_state_t connection_;
};

/// Publishes on as long as fewer than a batch are unconfirmed.
class ConfirmedProducer : public Producer {
 public:
  explicit ConfirmedProducer(const Options& options) : channel_(options), batch_(options.batch) {
    amqp_confirm_select(channel_.connection(), kChannel);
    channel_.check();
    properties_._flags = AMQP_BASIC_DELIVERY_MODE_FLAG;
    properties_.delivery_mode =
        options.setting == "transient" ? AMQP_DELIVERY_NONPERSISTENT : AMQP_DELIVERY_PERSISTENT;
  }

  void enqueue(const std::vector<std::string>& payloads) override {
    for (const auto& payload : payloads) {
      while (unconfirmed_.size() >= batch_) receive_confirm();
      if (amqp_basic_publish(channel_.connection(), kChannel, amqp_empty_bytes, channel_.queue, 0,
                             0, &properties_, bytes(payload)) != AMQP_STATUS_OK)
        fail("publish failed");
      unconfirmed_.insert(++published_);
    }
  }

  void flush() override {
    while (!unconfirmed_.empty()) receive_confirm();
  }

 private:
  void receive_confirm() {
    amqp_frame_t frame;
    amqp_maybe_release_buffers(channel_.connection());
    if (amqp_simple_wait_frame(channel_.connection(), &frame) != AMQP_STATUS_OK) fail("no confirm");
    if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
      fail("a message was not confirmed");
    const auto* ack = static_cast<const amqp_basic_ack_t*>(frame.payload.method.decoded);
    if (ack->multiple)
      unconfirmed_.erase(unconfirmed_.begin(), unconfirmed_.upper_bound(ack->delivery_tag));
    else
      unconfirmed_.erase(ack->delivery_tag);
  }

  Channel channel_;
  std::size_t batch_;
  amqp_basic_properties_t properties_{};
  std::uint64_t published_ = 0;
  std::set<std::uint64_t> unconfirmed_;
};

class Consumer : public Worker {
 public:
  explicit Consumer(const Options& options) : channel_(options), batch_(options.batch) {
    // While one batch is acked, the next is on its way.
    const auto prefetch = static_cast<std::uint16_t>(2 * options.batch);
    amqp_basic_qos(channel_.connection(), kChannel, 0, prefetch, 0);
    channel_.check();
  }

  std::size_t work(milliseconds wait, Handler handler) override {
    if (!consuming_) {
      amqp_basic_consume(channel_.connection(), kChannel, channel_.queue, amqp_empty_bytes, 0, 0, 0,
                         amqp_empty_table);
      channel_.check();
      consuming_ = true;
    }
    std::size_t jobs = 0;
    // What has arrived is one batch; only the first message of it is waited for.
    while (jobs < batch_ && (jobs == 0 || has_input())) {
      if (!receive(jobs == 0 ? std::max(wait, milliseconds(1)) : milliseconds(1), handler)) break;
      ++jobs;
    }
    if (jobs > 0) amqp_basic_ack(channel_.connection(), kChannel, tag_, 1);
    return jobs;
  }

 private:
  bool has_input() {
    return amqp_frames_enqueued(channel_.connection()) ||
           amqp_data_in_buffer(channel_.connection());
  }

  bool receive(milliseconds wait, Handler handler) {
    amqp_maybe_release_buffers(channel_.connection());
    timeval timeout{wait.count() / 1000, wait.count() % 1000 * 1000};
    amqp_envelope_t envelope;
    const amqp_rpc_reply_t reply =
        amqp_consume_message(channel_.connection(), &envelope, &timeout, 0);
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION &&
        reply.library_error == AMQP_STATUS_TIMEOUT)
      return false;
    Channel::check(reply);
    const amqp_bytes_t& body = envelope.message.body;
    handler({static_cast<const char*>(body.bytes), body.len});
    tag_ = envelope.delivery_tag;
    amqp_destroy_envelope(&envelope);
    return true;
  }

  Channel channel_;
  std::size_t batch_;
  bool consuming_ = false;
  std::uint64_t tag_ = 0;
};

}  // namespace
}  // namespace millrace::rivals

int main(int argc, char** argv) {
  using namespace millrace::rivals;
  return run(
      argc, argv, [](const Options& o) { return std::make_unique<ConfirmedProducer>(o); },
      [](const Options& o) { return std::make_unique<Consumer>(o); });
}
