#!/usr/bin/env python3
"""Celery with Redis as its broker. --setting late: a task is acked after it ran (acks_late)."""

import warnings

import celery

import rival

# It runs nothing but this file.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

app = celery.Celery("rivals")


@app.task(name="rivals.handle", ignore_result=True)
def handle(payload):
    rival.Handled.handle(payload)


def configure(options):
    app.conf.update(
        broker_url=f"redis://127.0.0.1:{options.port}/0",
        task_acks_late=options.setting == "late",
        # The guide to optimizing asks for a large prefetch where tasks are short.
        worker_prefetch_multiplier=options.batch,
        # Or the report becomes a line of log.
        worker_redirect_stdouts=False,
    )


def make_producer(options):
    configure(options)
    producer = app.amqp.Producer(app.connection_for_write())

    def enqueue(payloads):
        # Celery has no request of several tasks: a group sends its tasks one by one, too.
        for payload in payloads:
            handle.apply_async((payload,), producer=producer)

    return enqueue


def run_worker(options):
    configure(options)
    app.worker_main(["worker", "--pool", "solo", "--without-gossip", "--without-mingle",
                     "--without-heartbeat", "--loglevel", "ERROR"])


if __name__ == "__main__":
    rival.run(make_producer, run_worker)
