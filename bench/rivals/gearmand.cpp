// Gearman by its own C library: background jobs, a batch as the tasks of one run.

#include <libgearman/gearman.h>

#include "bench/rivals/rival.h"

namespace millrace::rivals {
namespace {

constexpr const char* kFunction = "job";

class TaskProducer : public Producer {
 public:
  explicit TaskProducer(const Options& options) : client_(gearman_client_create(nullptr)) {
    check(gearman_client_add_server(client_, "127.0.0.1", static_cast<in_port_t>(options.port)));
  }
  ~TaskProducer() override { gearman_client_free(client_); }

  void enqueue(const std::vector<std::string>& payloads) override {
    for (const auto& payload : payloads) {
      gearman_return_t code = GEARMAN_SUCCESS;
      // Without a unique key the library makes one.
      (void)gearman_client_add_task_background(client_, nullptr, nullptr, kFunction, nullptr,
                                               payload.data(), payload.size(), &code);
      check(code);
    }
    check(gearman_client_run_tasks(client_));
    gearman_client_task_free_all(client_);
  }

 private:
  void check(gearman_return_t code) {
    if (gearman_failed(code)) fail(gearman_client_error(client_));
  }

  gearman_client_st* client_;
};

class FunctionWorker : public Worker {
 public:
  explicit FunctionWorker(const Options& options) : worker_(gearman_worker_create(nullptr)) {
    check(gearman_worker_add_server(worker_, "127.0.0.1", static_cast<in_port_t>(options.port)));
    check(gearman_worker_add_function(worker_, kFunction, 0, &FunctionWorker::call, this));
  }
  ~FunctionWorker() override { gearman_worker_free(worker_); }

  /// Gearman hands out one job per request; the library sends its end with the next request.
  std::size_t work(milliseconds wait, Handler handler) override {
    handler_ = handler;
    done_ = 0;
    gearman_worker_set_timeout(worker_, static_cast<int>(std::max(wait, milliseconds(20)).count()));
    const gearman_return_t code = gearman_worker_work(worker_);
    if (code != GEARMAN_TIMEOUT && code != GEARMAN_NO_JOBS) check(code);
    return done_;
  }

 private:
  static void* call(gearman_job_st* job, void* context, std::size_t* result_bytes,
                    gearman_return_t* code) {
    auto* self = static_cast<FunctionWorker*>(context);
    self->handler_(
        {static_cast<const char*>(gearman_job_workload(job)), gearman_job_workload_size(job)});
    ++self->done_;
    *result_bytes = 0;
    *code = GEARMAN_SUCCESS;
    return nullptr;
  }

  void check(gearman_return_t code) {
    if (gearman_failed(code)) fail(gearman_worker_error(worker_));
  }

  gearman_worker_st* worker_;
  Handler handler_ = nullptr;
  std::size_t done_ = 0;
};

}  // namespace
}  // namespace millrace::rivals

int main(int argc, char** argv) {
  using namespace millrace::rivals;
  return run(
      argc, argv, [](const Options& o) { return std::make_unique<TaskProducer>(o); },
      [](const Options& o) { return std::make_unique<FunctionWorker>(o); });
}
