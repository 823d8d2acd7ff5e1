#!/usr/bin/env python3
"""A small web site on this machine whose pages answer in known ways, for the demo and the tests.

    examples/site/site.py [--port N] [--urls FILE] [--slow MS]

It serves on 127.0.0.1 and prints one line on stdout when it is ready:

    listening PORT refused PORT reset PORT

`refused` was bound and is closed again: a connection to it is refused. Each connection to `reset` is
reset before any answer. --urls writes a list that holds one URL of each sort, unknown host included.
SIGTERM and SIGINT end it.

    /200 /404 /500    that status, or any other from 200 to 599
    /204              no content
    /301              moved to /200
    /302loop          a redirect to itself
    /slow?ms=N        200 after N milliseconds
    /reset            the connection is reset before any answer
    /big              a body without end
    /echo-method      200, the method as body
"""

import argparse
import http.server
import os
import signal
import socket
import struct
import sys
import threading
import urllib.parse

BACKLOG = 4096
SLOW_MS_MAX = 600_000
BLOCK = b"x" * 65536


def reset(connection):
    """Closes with RST: a linger time of zero throws away what is not sent, the FIN included."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "site"
    sys_version = ""
    # One packet for head and body, and no wait for the peer's acknowledgement between them.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status >= 200 and status not in (204, 304):
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    def page_301(self, _):
        self.answer(301, Location="/200")

    def page_302loop(self, _):
        self.answer(302, Location="/302loop")

    def page_slow(self, query):
        try:
            delay_ms = int(query.get("ms", ["1000"])[0])
        except ValueError:
            delay_ms = -1
        if not 0 <= delay_ms <= SLOW_MS_MAX:
            self.answer(400, f"ms is a number from 0 to {SLOW_MS_MAX}\n".encode())
            return
        # Ends early when the site does, so that a slow page never holds it up.
        self.server.ending.wait(delay_ms / 1000)
        self.answer(200, f"after {delay_ms} ms\n".encode())

    def page_reset(self, _):
        self.close_connection = True
        reset(self.connection)

    def page_big(self, _):
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        while self.command != "HEAD" and not self.server.ending.is_set():
            self.wfile.write(BLOCK)

    def page_echo_method(self, _):
        self.answer(200, self.command.encode() + b"\n")

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        name = url.path.strip("/")
        # A body that is not read would be taken for the next request.
        length = self.headers.get("Content-Length", "0")
        if length.isdigit():
            self.rfile.read(min(int(length), 1 << 20))
        page = getattr(self, "page_" + name.replace("-", "_"), None)
        try:
            if page is not None:
                page(urllib.parse.parse_qs(url.query))
            elif name.isdigit() and 200 <= int(name) <= 599:
                self.answer(int(name), f"{name}\n".encode())
            elif name == "":
                self.answer(200, b"millrace test site\n")
            else:
                self.answer(404, b"no such page\n")
        except OSError:
            # The client left, which is its right; after /reset there is nothing to flush either.
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = serve

    def finish(self):
        try:
            super().finish()
        except (OSError, ValueError):
            pass


class Site(http.server.ThreadingHTTPServer):
    request_queue_size = BACKLOG
    daemon_threads = True
    block_on_close = False

    def __init__(self, address):
        self.ending = threading.Event()
        super().__init__(address, Page)

    def handle_error(self, request, client_address):
        pass


class ResetPort:
    """A port that takes each connection and resets it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, name="reset-port", daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
                # The request is read first: a reset that overtakes it can look like a refusal.
                connection.settimeout(1)
                try:
                    connection.recv(65536)
                except OSError:
                    pass
                reset(connection)
            except OSError:
                return


def closed_port():
    """A port of this machine where nobody listens: the kernel gave it out and took it back."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def url_list(port, refused, slow_ms):
    site = f"http://127.0.0.1:{port}"
    return [
        "# One of each sort, written by examples/site/site.py.",
        f"{site}/200",
        f"{site}/204",
        f"{site}/301",
        f"{site}/404",
        f"{site}/500",
        f"{site}/slow?ms={slow_ms}",
        f"http://127.0.0.1:{refused}/",
        f"{site}/reset",
        "http://no-such-host.invalid/",
    ]


def write_whole(path, lines):
    """Writes beside and renames, so that nobody reads half a list."""
    partial = f"{path}.part"
    with open(partial, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    os.replace(partial, path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--urls", metavar="FILE", help="write a list of URLs, one of each sort")
    parser.add_argument("--slow", metavar="MS", type=int, default=800,
                        help="delay of the slow page in that list (default: %(default)s)")
    options = parser.parse_args()

    # Blocked before any thread starts, so that only sigwait below takes them.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    site = Site(("127.0.0.1", options.port))
    reset_port = ResetPort()
    refused = closed_port()
    port = site.server_address[1]
    threading.Thread(target=site.serve_forever, name="site", daemon=True).start()
    if options.urls:
        write_whole(options.urls, url_list(port, refused, options.slow))
    print(f"listening {port} refused {refused} reset {reset_port.port}", flush=True)

    signal.sigwait(ends)
    site.ending.set()
    site.shutdown()
    site.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
