#!/usr/bin/env python3
"""RQ: enqueue_many() in one pipeline, and SimpleWorker, which runs jobs without a fork each."""

import redis
import rq

import rival


def handle(payload):
    rival.Handled.handle(payload)


def make_queue(options):
    return rq.Queue("jobs", connection=redis.Redis(host="127.0.0.1", port=options.port))


def make_producer(options):
    queue = make_queue(options)

    def enqueue(payloads):
        # A result_ttl of 0 removes the job when it is done.
        queue.enqueue_many([
            rq.Queue.prepare_data("rq_client.handle", (payload,), result_ttl=0)
            for payload in payloads
        ])

    return enqueue


def run_worker(options):
    queue = make_queue(options)
    worker = rq.SimpleWorker([queue], connection=queue.connection, log_job_description=False)
    worker.work(logging_level="WARNING")


if __name__ == "__main__":
    rival.run(make_producer, run_worker)
