#!/usr/bin/env python3
"""The second job of every user: the primes of a range, over all workers, as they arrive."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402


def sieve(low, high):
    """The primes from low to high, both included, found in another way than ours."""
    flags = bytearray([1]) * (high + 1)
    flags[:2] = b"\0\0"
    for n in range(2, int(high**0.5) + 1):
        if flags[n]:
            flags[n * n::n] = bytes(len(range(n * n, high + 1, n)))
    return [n for n in range(low, high + 1) if flags[n]]


class Primes(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()
        self.worker(self.b, "--name", "left")

    def count(self, *words):
        done = self.good(self.b, "primes", *words)
        self.assertEqual(len(done.out.splitlines()), 1, done)
        return int(done.out)

    def test_the_count_is_the_only_line_on_stdout(self):
        self.assertEqual(self.count(1, 100000), 9592)

    def test_both_ends_are_included(self):
        for low, high, count in ((2, 2, 1), (1, 1, 0), (0, 1, 0), (0, 2, 1), (7, 11, 2), (8, 10, 0),
                                 (90, 97, 1)):
            with self.subTest(low=low, high=high):
                self.assertEqual(self.count(low, high), count)

    def test_the_chunk_does_not_change_the_count(self):
        for chunk in (7, 1000, 99999, 100000, 10**9):
            with self.subTest(chunk=chunk):
                self.assertEqual(self.count(1, 20000, "--chunk", chunk), 2262)

    def test_large_numbers(self):
        # π(10^12 + 10^6) − π(10^12), known from tables as the count of primes in that interval.
        self.assertEqual(self.count(10**12, 10**12 + 10**6), 36249)
        top = 2**63 - 1
        self.assertEqual(self.count(top - 100, top), sum(
            all(n % p for p in sieve(2, 1000)) and pow(2, n - 1, n) == 1
            for n in range(top - 100, top + 1)))

    def test_a_list_holds_each_prime_once(self):
        done = self.good(self.b, "primes", 1, 50000, "--list", "--chunk", 777)
        self.assertEqual(sorted(map(int, done.out.split())), sieve(1, 50000))
        self.assertIn("5,133", done.err)

    def test_an_ordered_list_is_in_order(self):
        self.worker(self.b, "--name", "right")
        for form in ("table", "jsonl"):
            done = self.good(self.b, "primes", 1000, 200000, "--list", "--ordered", "--chunk", 501,
                             "--output", form)
            if form == "table":
                found = list(map(int, done.out.split()))
            else:
                rows = done.rows()
                found = [prime for row in rows for prime in row["primes"]]
                self.assertEqual([row["from"] for row in rows],
                                 sorted(row["from"] for row in rows))
            self.assertEqual(found, sieve(1000, 200000))

    def test_rows_cover_the_range_without_gap(self):
        rows = self.good(self.b, "primes", 1, 100000, "--chunk", 3000, "--output", "jsonl").rows()
        rows.sort(key=lambda row: row["from"])
        self.assertEqual((rows[0]["from"], rows[-1]["to"]), (1, 100000))
        for before, after in zip(rows, rows[1:]):
            self.assertEqual(before["to"] + 1, after["from"])
        self.assertEqual(sum(row["count"] for row in rows), 9592)

    def test_default_chunks_are_of_a_sensible_size(self):
        rows = self.good(self.b, "primes", 0, 25600000, "--output", "jsonl").rows()
        self.assertAlmostEqual(len(rows), 256, delta=2)
        rows = self.good(self.b, "primes", 1, 10, "--output", "jsonl").rows()
        self.assertEqual(len(rows), 1)
        self.good(self.b, "primes", 1, 200000, "--list")
        widest = max(to - low + 1 for low, to in (
            (json.loads(p)["from"], json.loads(p)["to"]) for (p,) in self.b.query(
                "SELECT payload FROM jobs WHERE payload LIKE '%list%'")))
        self.assertLessEqual(widest, 50000)

    def test_two_workers_share_a_long_range(self):
        self.worker(self.b, "--name", "right")
        self.assertEqual(self.count(1, 10**9), 50847534)
        shares = dict(self.b.query("SELECT worker, count(*) FROM attempts GROUP BY worker"))
        self.assertEqual(set(shares), {"left", "right"})
        self.assertGreater(min(shares.values()), sum(shares.values()) // 10, shares)

    def test_a_failed_chunk_gives_no_count(self):
        self.good(self.b, "queue", "pause", "default")
        process = self.start_producer(self.b, "primes", 1, 100000, "--chunk", 10000)
        millrace_testing.wait_for(lambda: self.b.states().get("ready") == 10)
        self.good(self.b, "job", "cancel", 3)
        self.good(self.b, "queue", "resume", "default")
        self.assertEqual(process.wait(), 1)
        self.assertEqual(process.out, "")
        self.assertIn("20001 to 30000", process.err)


if __name__ == "__main__":
    millrace_testing.main()
