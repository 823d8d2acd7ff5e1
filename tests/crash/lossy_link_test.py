#!/usr/bin/env python3
"""A link that cuts, stalls and resets connections at random, between a broker and its peers.

12 seconds; 30 when MILLRACE_LONG is 1.
"""

import os
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
import tcp_proxy  # noqa: E402
from millrace_testing import now, wait_for  # noqa: E402

BAD_SECONDS = 30 if os.environ.get("MILLRACE_LONG") == "1" else 12
JOBS_PER_SECOND = 400
PIECE = 50


class LossyLink(millrace_testing.Case):
    def feed(self, process, end):
        """Payloads for as long as the link is bad; their number is left in self.fed."""
        def write():
            self.fed = 0
            try:
                with process.popen.stdin as stream:
                    while now() < end:
                        numbers = range(self.fed, self.fed + PIECE)
                        stream.write("".join(f'{{"ms": 5, "n": {n}}}\n' for n in numbers).encode())
                        stream.flush()
                        self.fed += PIECE
                        time.sleep(PIECE / JOBS_PER_SECOND)
            except OSError:
                pass  # it stopped reading, which shows in its exit code
        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        return thread

    def test_nothing_lost_nothing_doubled_nothing_leased_for_ever(self):
        random = millrace_testing.seeded_random()
        broker = self.broker()
        proxy = tcp_proxy.Proxy("127.0.0.1", int(broker.endpoint.rsplit(":", 1)[1]), random)
        self.addCleanup(proxy.close)
        end = now() + BAD_SECONDS
        # Their first contact may fall into a long stall, so it is not waited for.
        crew = [self.worker(proxy.endpoint, "--name", name, connected=False) for name in "ab"]
        producer = self.start_producer(proxy.endpoint, "enqueue", "sleep", "-", "--wait",
                                       "--output", "jsonl", stdin=-1)
        feeder = self.feed(producer, end)
        wait_for(lambda: now() >= end, BAD_SECONDS + 5)
        proxy.be_good()
        feeder.join(30)
        self.assertEqual(producer.wait(60), 0)
        # A stalled worker may hold leases for a while; they come back all by themselves.
        wait_for(lambda: set(broker.states()) == {"done"}, 30)
        closed = self.good(broker, "close", "default", "--wait", seconds=30)
        self.assertEqual(closed.code, 0)
        self.assertEqual([worker.wait(30) for worker in crew], [0, 0])

        rows = millrace_testing.Finished(0, producer.out, "").rows()
        ids = [row["job"] for row in rows]
        print(f"{len(ids)} jobs; link: {dict(proxy.counts)}", file=sys.stderr)
        self.assertGreater(proxy.counts["connections"], 5)
        self.assertEqual((len(ids), len(set(ids))), (self.fed, self.fed))
        audit.check(broker.db, ids, ended=True, final=("done",))
        self.assertEqual(broker.value("SELECT count(*) FROM jobs"), self.fed)
        self.assertEqual(
            broker.value("SELECT count(DISTINCT json_extract(payload, '$.n')) FROM jobs"), self.fed)
        self.assertEqual(broker.query("SELECT state, generation FROM queues"), [("drained", 1)])


if __name__ == "__main__":
    millrace_testing.main()
