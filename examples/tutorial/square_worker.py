"""Kind `square`: {"n"} → {"n", "square", "process"}, slowly enough that every process gets some."""

import os
import time

import stdio_worker


def square(job):
    time.sleep(0.05)
    n = job.payload["n"]
    return {"n": n, "square": n * n, "process": os.getpid()}


stdio_worker.serve(square)
