#!/usr/bin/env python3
"""kill -9 of the broker again and again while 20,000 jobs are enqueued and run by three workers.

Five kills; twenty when MILLRACE_LONG is 1.
"""

import os
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
from millrace_testing import wait_for  # noqa: E402

JOBS = 20_000
LONG = os.environ.get("MILLRACE_LONG") == "1"
KILLS = 20 if LONG else 5
# The lines of stdin are spread over so long, so that the broker dies while there still are some.
FEED_SECONDS = 20 if LONG else 6
PIECE = 200


class KilledAgainAndAgain(millrace_testing.Case):
    def feed(self, process):
        """20,000 payloads, a piece at a time."""
        def write():
            try:
                with process.popen.stdin as stream:
                    for begin in range(0, JOBS, PIECE):
                        lines = (f'{{"ms": 1, "n": {n}}}\n' for n in range(begin, begin + PIECE))
                        stream.write("".join(lines).encode())
                        stream.flush()
                        time.sleep(FEED_SECONDS * PIECE / JOBS)
            except OSError:
                pass  # it stopped reading, which shows in its exit code
        threading.Thread(target=write, daemon=True).start()

    def test_every_job_has_one_end(self):
        random = millrace_testing.seeded_random()
        broker = self.broker()
        crew = [self.worker(broker, "--name", name) for name in "abc"]
        producer = self.start_producer(broker, "enqueue", "sleep", "-", "--output", "jsonl",
                                       stdin=-1)
        self.feed(producer)
        closer = None
        enqueuing = 0
        for count in range(KILLS):
            # Also moments at which the peers are not back yet.
            moment = millrace_testing.now() + random.uniform(0, 2 * FEED_SECONDS / KILLS)
            wait_for(lambda: millrace_testing.now() >= moment)
            enqueuing += producer.is_running()
            broker.kill()
            broker = self.broker_again(broker)
            if closer is None and not producer.is_running():
                # The rest of the kills come between the sentinel and the drain, if it takes long.
                closer = self.start_producer(broker, "close", "default", "--wait")
        self.assertEqual(producer.wait(60), 0)
        closer = closer or self.start_producer(broker, "close", "default", "--wait")
        self.assertEqual(closer.wait(60), 0)
        self.assertEqual([worker.wait(60) for worker in crew], [0, 0, 0])

        ids = [job for row in millrace_testing.Finished(0, producer.out, "").rows()
               for job in row["ids"]]
        self.assertEqual(len(ids), JOBS)
        audit.check(broker.db, ids, ended=True, final=("done",))
        # Nothing more than what was acknowledged: no resent request was enqueued twice.
        self.assertEqual(broker.value("SELECT count(*) FROM jobs"), JOBS)
        numbers = "SELECT count(DISTINCT json_extract(payload, '$.n')) FROM jobs"
        self.assertEqual(broker.value(numbers), JOBS)
        self.assertEqual(broker.value("SELECT sum(crashes) FROM jobs"), 0)
        # The sentinel fired once: one generation is over, and each worker was sent home once.
        self.assertEqual(broker.query("SELECT queue, state, generation FROM queues"),
                         [("default", "drained", 1)])
        ran = sum(int(worker.wait_for_line(r"ran (\d+) jobs").group(1)) for worker in crew)
        print(f"{KILLS} kills, {enqueuing} of them while jobs were enqueued;"
              f" {ran - JOBS} of {JOBS} jobs ran twice", file=sys.stderr)
        self.assertGreaterEqual(ran, JOBS)
        self.assertLess(ran - JOBS, JOBS / 100)
        self.assertGreater(enqueuing, 0)


if __name__ == "__main__":
    millrace_testing.main()
