#!/usr/bin/env python3
"""The first job of every user: check a list of URLs and see the status of each as it arrives."""

import pathlib
import signal
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import wait_for  # noqa: E402

KEYS = ("job", "url", "status", "elapsed_ms", "error", "attempts")


class Urls(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def check(self, *words, code=0, **keywords):
        """Runs `urls` and returns its rows by URL, and what it said."""
        done = self.producer(self.b, "urls", *words, "--output", "jsonl", **keywords)
        self.assertEqual(done.code, code, done)
        rows = done.rows()
        for row in rows:
            self.assert_keys(row, *KEYS)
        by_url = {row["url"]: row for row in rows}
        self.assertEqual(len(by_url), len(rows))
        return by_url, done

    def list(self, *urls):
        return self.file("list.txt", "".join(f"{url}\n" for url in urls))

    def test_each_sort_of_url_gets_the_right_row(self):
        site = self.site("--slow", "400")
        self.worker(self.b)
        rows, done = self.check(site.list, code=1)
        found = {url: (row["status"], row["error"], row["attempts"]) for url, row in rows.items()}
        self.assertEqual(found, {
            f"{site.url}/200": (200, None, 1),
            f"{site.url}/204": (204, None, 1),
            f"{site.url}/301": (200, None, 1),
            f"{site.url}/404": (404, None, 1),
            f"{site.url}/500": (500, None, 1),
            f"{site.url}/slow?ms=400": (200, None, 1),
            f"{site.refused}/": (None, "refused", 3),
            f"{site.url}/reset": (None, "reset", 3),
            "http://no-such-host.invalid/": (None, "dns", 3),
        })
        self.assertGreaterEqual(rows[f"{site.url}/slow?ms=400"]["elapsed_ms"], 400)
        self.assertIn("9 urls", done.err)
        self.assertEqual(self.b.states(), {"done": 6, "dead": 3})

    def test_redirects_can_be_shown_instead_of_followed(self):
        site = self.site()
        self.worker(self.b)
        loop = f"{site.url}/302loop"
        rows, _ = self.check(self.list(f"{site.url}/301", loop), "--redirects", "0")
        self.assertEqual(sorted(row["status"] for row in rows.values()), [301, 302])
        rows, _ = self.check(self.list(loop), "--redirects", "3", "--max-attempts", "1", code=1)
        self.assertEqual((rows[loop]["status"], rows[loop]["error"]), (None, "redirects"))

    def test_a_page_slower_than_the_timeout_has_no_status(self):
        site = self.site()
        self.worker(self.b)
        url = f"{site.url}/slow?ms=5000"
        rows, _ = self.check(self.list(url), "--timeout", "300ms", "--max-attempts", "2", code=1)
        self.assertEqual((rows[url]["status"], rows[url]["error"], rows[url]["attempts"]),
                         (None, "timeout", 2))
        self.assertLess(rows[url]["elapsed_ms"], 3000)

    def test_the_method_is_what_was_asked_for(self):
        site = self.site()
        self.worker(self.b)
        rows, _ = self.check(self.list(f"{site.url}/echo-method"), "--method", "HEAD")
        self.assertEqual(rows[f"{site.url}/echo-method"]["status"], 200)
        self.assertIn('"method":"HEAD"', self.b.value("SELECT payload FROM jobs"))

    def test_a_body_without_end_does_not_hold_a_check_up(self):
        site = self.site()
        self.worker(self.b)
        rows, _ = self.check(self.list(f"{site.url}/big"), "--timeout", "15s")
        self.assertEqual(rows[f"{site.url}/big"]["status"], 200)

    def test_one_url_twice_gives_two_rows(self):
        site = self.site()
        self.worker(self.b)
        done = self.good(self.b, "urls", self.list(f"{site.url}/200", f"{site.url}/200"),
                         "--output", "jsonl")
        self.assertEqual([row["status"] for row in done.rows()], [200, 200])

    def test_rows_arrive_while_a_slow_page_is_awaited(self):
        site = self.site()
        self.worker(self.b)
        process = self.start_producer(
            self.b, "urls", self.list(f"{site.url}/slow?ms=3000", f"{site.url}/200"))
        process.wait_for_line(r"200\b.*/200", out=True)
        self.assertTrue(process.is_running())
        self.assertEqual(process.wait(), 0)
        self.assertEqual(len(process.out_lines), 2)

    def test_blank_lines_and_comments_are_skipped_and_white_space_trimmed(self):
        site = self.site()
        self.worker(self.b)
        file = self.file("list.txt", f"# comment\r\n\r\n  {site.url}/200 \t\r\n\n#{site.url}/x\n"
                                     f"{site.url}/204")
        rows, _ = self.check(file)
        self.assertEqual(sorted(row["status"] for row in rows.values()), [200, 204])

    def test_the_scheme_may_be_in_capitals_and_the_list_on_stdin(self):
        site = self.site()
        self.worker(self.b)
        url = f"HTTP{site.url[4:]}/200"
        rows, _ = self.check("-", stdin=f"{url}\n")
        self.assertEqual(rows[url]["status"], 200)

    def test_bad_lines_are_reported_with_their_number_and_the_rest_is_checked(self):
        site = self.site()
        self.worker(self.b)
        file = self.file("list.txt", f"ftp://x/\n{site.url}/200\nexample.org\nhttp://\n\n"
                                     "http:///x\n")
        rows, done = self.check(file, code=65)
        self.assertEqual([row["status"] for row in rows.values()], [200])
        for number in (1, 3, 4, 6):
            self.assertRegex(done.err, rf"(?m)list\.txt:{number}: ")
        self.assertRegex(done.err, r"4 bad lines")

    def test_a_line_that_is_not_utf8_or_too_long_is_bad(self):
        site = self.site()
        self.worker(self.b)
        file = self.file("list.txt", b"http://x/\xff\n" + b"http://x/" + b"y" * 70000 + b"\n" +
                         f"{site.url}/200\n".encode())
        rows, done = self.check(file, code=65)
        self.assertEqual([row["status"] for row in rows.values()], [200])
        self.assertRegex(done.err, r":1: ")
        self.assertRegex(done.err, r":2: ")

    def test_bad_lines_weigh_more_than_urls_without_a_status(self):
        site = self.site()
        self.worker(self.b)
        self.check(self.list("nonsense", f"{site.refused}/"), "--max-attempts", "1", code=65)

    def test_strict_enqueues_nothing_when_a_line_is_bad(self):
        file = self.list("http://127.0.0.1:1/", "nonsense")
        done = self.producer(self.b, "urls", file, "--strict")
        self.assertEqual((done.code, done.out), (65, ""), done)
        self.assertRegex(done.err, r":2: ")
        self.assertEqual(self.b.states(), {})

    def test_strict_checks_a_good_list(self):
        site = self.site()
        self.worker(self.b)
        rows, _ = self.check(self.list(f"{site.url}/200", f"{site.url}/404"), "--strict")
        self.assertEqual(sorted(row["status"] for row in rows.values()), [200, 404])

    def test_an_empty_list_is_no_failure(self):
        rows, done = self.check(self.file("list.txt", "# nothing\n\n"))
        self.assertEqual(rows, {})
        self.assertIn("list.txt", done.err)

    def test_table_and_json(self):
        site = self.site()
        self.worker(self.b)
        file = self.list(f"{site.url}/404")
        done = self.good(self.b, "urls", file)
        self.assertEqual(len(done.out.splitlines()), 1)
        self.assertRegex(done.out, rf"404.*{site.url}/404")
        (row,) = self.good(self.b, "urls", file, "--output", "json").json()
        self.assert_keys(row, *KEYS)

    def test_a_failed_try_is_repeated_and_a_site_that_comes_back_is_found(self):
        self.worker(self.b)
        port = millrace_testing.free_port()
        url = f"http://127.0.0.1:{port}/200"
        process = self.start_producer(self.b, "urls", self.list(url), "--max-attempts", "200",
                                      "--output", "jsonl")
        wait_for(lambda: self.b.value("SELECT count(*) FROM attempts") >= 2)
        self.site("--port", str(port))
        self.assertEqual(process.wait(), 0)
        self.assertIn('"status":200', process.out)
        # The first retry comes after 200 ms, or a little sooner by the jitter.
        self.assertLess(self.b.value(
            "SELECT (julianday(b.started_at) - julianday(a.finished_at)) * 86400 FROM attempts a"
            " JOIN attempts b ON b.job = a.job AND b.attempt = 2 WHERE a.attempt = 1"), 1.0)

    def test_a_remote_broker_gives_no_way_into_private_networks(self):
        site = self.site()
        # Any address of this machine that is not loopback makes the broker remote for its worker.
        address = own_address()
        if address is None:
            self.skipTest("this machine has no address but loopback")
        broker = self.broker(listen=f"tcp://{address}:*", db=self.folder / "remote.db")
        worker = self.worker(broker)
        done = self.producer(broker, "urls", self.list(f"{site.url}/200"), "--max-attempts", "1",
                             "--output", "jsonl")
        self.assertEqual((done.code, done.rows()[0]["error"]), (1, "blocked"), done)
        worker.kill()
        self.worker(broker, "--allow-net", "127.0.0.0/8")
        done = self.good(broker, "urls", self.list(f"{site.url}/200"), "--output", "jsonl")
        self.assertEqual(done.rows()[0]["status"], 200)


class LongLists(millrace_testing.Case):
    LINES = 100_000

    def test_a_long_list_is_enqueued_in_little_memory_and_resumed_after_ctrl_c(self):
        broker = self.broker()
        file = self.folder / "long.txt"
        with open(file, "w", encoding="ascii") as out:
            for n in range(self.LINES):
                out.write(f"http://127.0.0.1:1/a/path/of/ordinary/length?with=a&number={n:06}\n")
        process = self.start_producer(broker, "urls", file, "--max-attempts", "1")
        wait_for(lambda: broker.value("SELECT coalesce(sum(ready), 0) FROM queues") == self.LINES,
                 60)
        peak_kb = int(process.status("VmHWM").split()[0])
        process.signal(signal.SIGINT)
        self.assertEqual(process.wait(), 130)
        self.assertEqual(process.out, "")
        self.assertIn("100,000 of 100,000 URLs enqueued", process.err)
        self.assertLess(peak_kb, 64 * 1024)

        # The command it prints works as it stands.
        command = process.wait_for_line(r"(millrace-producer .*\bresults \d+ --from 0)$").group(1)
        words = command.split()[1:]
        self.good(broker, "queue", "purge", "default")
        done = self.producer("tcp://127.0.0.1:1", *words, "--output", "jsonl")
        self.assertEqual(done.code, 1, done.err)
        rows = done.rows()
        self.assertEqual(len({row["job"] for row in rows}), self.LINES)
        self.assertEqual({row["state"] for row in rows}, {"cancelled"})

    def test_ctrl_c_before_everything_is_enqueued_says_how_much_was(self):
        broker = self.broker()
        process = self.start_producer(broker, "urls", "-", stdin=-1)
        process.popen.stdin.write(b"http://127.0.0.1:1/\n" * 3)
        process.popen.stdin.flush()
        wait_for(lambda: broker.states() == {"ready": 3})
        process.signal(signal.SIGINT)
        self.assertEqual(process.wait(), 130)
        self.assertIn("3 of 3 URLs enqueued", process.err)
        process.popen.stdin.close()
        # The batch is sealed, so that watching it comes to an end.
        self.assertEqual(broker.query("SELECT total, sealed FROM batches"), [(3, 1)])

    def test_sigterm_is_143(self):
        broker = self.broker()
        process = self.start_producer(broker, "enqueue", "echo", "--wait")
        wait_for(lambda: broker.states() == {"ready": 1})
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 143)
        self.assertIn("results 1", process.err)


def own_address():
    """An address of this machine that is not loopback, or None. Nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith("127.") else address


if __name__ == "__main__":
    millrace_testing.main()
