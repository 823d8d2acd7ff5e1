#!/usr/bin/env python3
"""Checks of a site that speaks HTTP/2 share one connection."""

import pathlib
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import free_port, wait_for  # noqa: E402

CHECKS = 200


@unittest.skipUnless(shutil.which("nghttpd") and shutil.which("openssl"), "deps/test.txt: nghttp2-server, openssl")
class Http2(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.certificate, key = self.folder / "cert.pem", self.folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=millrace-test", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", key, "-out", self.certificate], check=True, capture_output=True)
        (self.folder / "htdocs").mkdir()
        (self.folder / "htdocs" / "index.html").write_text("here\n", encoding="ascii")
        port = free_port()
        # It speaks nothing but HTTP/2.
        self.site = self.start([shutil.which("nghttpd"), "-v", "-a", "127.0.0.1", "-d", self.folder / "htdocs", str(port),
                                key, self.certificate])
        self.site.wait_for_line("listen", out=True)
        self.url = f"https://127.0.0.1:{port}/"
        self.b = self.broker()

    def test_checks_of_one_site_share_its_connection(self):
        # More than 100 streams at once are more than curl opens on a connection.
        self.worker(self.b, "--loop-size", "100", environment={"SSL_CERT_FILE": str(self.certificate)})
        self.enqueue_many(self.b, "url.check", [{"url": self.url}] * CHECKS)
        self.wait_for_states(self.b, done=CHECKS)
        statuses = self.b.query("SELECT json_extract(result, '$.status'), count(*) FROM jobs GROUP BY 1")
        self.assertEqual(statuses, [(200, CHECKS)])
        requests = len(re.findall(r":method: GET", self.site.out))
        self.assertEqual(requests, CHECKS)
        connections = set(re.findall(r"^\[id=(\d+)\]", self.site.out, re.MULTILINE))
        self.assertEqual(len(connections), 1, connections)

    def test_a_certificate_that_nobody_signed_is_an_error_of_tls(self):
        self.worker(self.b)
        job = self.enqueue(self.b, "url.check", {"url": self.url}, "--max-attempts", "1")
        wait_for(lambda: self.b.states() == {"dead": 1})
        self.assertIn("tls", self.b.job(job)["error"])


if __name__ == "__main__":
    millrace_testing.main()
