"""Kind of bench/crashes.sh: answers with its payload, or ends without a word, one run in argv[1] (0: never)."""

import os
import random
import sys

import stdio_worker

ONE_IN = int(sys.argv[1])


def unsteady(job):
    if ONE_IN and random.randrange(ONE_IN) == 0:
        os.abort()
    return job.payload


stdio_worker.serve(unsteady)
