#!/usr/bin/env python3
"""A long backlog: memory of the broker, its restart, and what is dispatched first.

200,000 jobs of 100 bytes; 1,000,000 when MILLRACE_LONG is 1.
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
import mrp_client  # noqa: E402
from millrace_testing import now  # noqa: E402

LONG = os.environ.get("MILLRACE_LONG") == "1"
JOBS = 1_000_000 if LONG else 200_000
MEMORY_KB = 150 * 1024
# Three times what it should take: other tests may be running.
START_SECONDS = 3.0
REQUEST_JOBS = 1000
UNDER_WAY = 8


class Backlog(millrace_testing.Case):
    audited = not LONG  # a million jobs take the audit long; the short form shows the same

    def memory(self, broker):
        return int(broker.status("VmHWM").split()[0])

    def fill(self, client):
        """All at the default priority: the first ones of a kind that nobody offers."""
        sent = []
        for begin in range(0, JOBS, REQUEST_JOBS):
            kind = "nobody" if begin < JOBS // 2 else "echo"
            jobs = [{"kind": kind, "payload": f"{n:0100}"}
                    for n in range(begin, begin + REQUEST_JOBS)]
            sent.append(client.request(mrp_client.ENQUEUE, {
                "request": client.request_id(), "jobs": jobs, "seal": True}))
            if len(sent) == UNDER_WAY:
                client.answer(sent.pop(0), 60)
        for correlation in sent:
            client.answer(correlation, 60)

    def worker_peer(self, broker, kinds, slots):
        made = mrp_client.Worker(broker.endpoint, kinds=dict.fromkeys(kinds, "io"),
                                 pools={"io": slots})
        self.addCleanup(lambda: made._context.closed or made.vanish())
        return made

    def test_memory_restart_and_order(self):
        broker = self.broker()
        client = mrp_client.Producer(broker.endpoint)
        self.addCleanup(lambda: client._context.closed or client.vanish())
        begin = now()
        self.fill(client)
        filled = now() - begin
        high = self.memory(broker)
        self.assertLess(high, MEMORY_KB)

        # A restart does not read the backlog, whether it was clean or not.
        taken = []
        for end in (broker.kill, None):
            if end:
                end()
            else:
                broker.signal(15)
                self.assertEqual(broker.wait(), 0)
            begin = now()
            broker = self.broker_again(broker)
            client.reconnect()
            client.wait(lambda: client.open)
            report = client.ask(mrp_client.STATS, {})
            self.assertEqual(report["queues"][0]["ready"], JOBS)
            taken.append(now() - begin)
        print(f"{JOBS} jobs in {filled:.1f} s, VmHWM {high // 1024} MB; served"
              f" {taken[0]:.2f} s after kill -9, {taken[1]:.2f} s after SIGTERM", file=sys.stderr)
        self.assertLess(max(taken), START_SECONDS)

        # The most urgent job is the next one that is given out, before all the older ones.
        worker = mrp_client.Worker(broker.endpoint, kinds={"nobody": "io", "echo": "io"},
                                   pools={"io": 5})
        self.addCleanup(lambda: worker._context.closed or worker.vanish())
        items = worker.take(5)
        self.assertEqual([item["job"] for item in items], [1, 2, 3, 4, 5])
        urgent = client.enqueue([{"kind": "echo", "priority": 0}], seal=True)["first"]
        worker.begin(items[:1])
        worker.ack(items[0])
        worker.wait(lambda: len(worker.leases) == 5)
        self.assertIn(urgent, [item["job"] for item in worker.leases.values()])
        worker.close()

        # Half of the queue is of a kind that nobody has, and stands before the rest: a worker
        # turns each of them down and comes to the others.
        begin = now()
        self.worker(broker)
        last = JOBS - REQUEST_JOBS
        # (The urgent one has the highest id of all, so it is left out here.)
        client.wait(lambda: broker.value(
            "SELECT count(*) FROM jobs WHERE id BETWEEN ? AND ? AND state = 'done'",
            last, JOBS), 120)
        print(f"the other half after {now() - begin:.1f} s", file=sys.stderr)
        self.assertLess(self.memory(broker), MEMORY_KB)


if __name__ == "__main__":
    millrace_testing.main()
