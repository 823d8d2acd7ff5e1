#!/usr/bin/env python3
"""Checks one URL N times with T threads, a connection kept open in each: what bench/url_check.sh
compares with.

    url_check_threads.py HOST PORT N T
"""

import http.client
import itertools
import sys
import threading


def main():
    host, port, count, threads = sys.argv[1], *map(int, sys.argv[2:])
    numbers = itertools.count()
    statuses = []

    def work():
        connection = http.client.HTTPConnection(host, port)
        while next(numbers) < count:
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if statuses.count(200) != count:
        sys.exit(f"{statuses.count(200)} of {count} requests were answered with 200")


if __name__ == "__main__":
    main()
