"""The clients: wrk for HTTP/1.1, h2load for HTTP/2, our own for steady rates and idle connections.

Each answers how many requests were done and how many a second; an answer that was not expected
ends the run, since it would be measured for something that it is not.
"""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys

SCRIPTS = pathlib.Path(__file__).resolve().parent / "wrk"


@dataclasses.dataclass
class Done:
    requests: int
    rate: float


def wrk(url, seconds, connections=32, headers=(), script=None, arguments=(), refused=False):
    """As many requests as there can be; all must be answered 2xx, or all refused."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    for header in headers:
        words += ["-H", header]
    if script:
        words += ["-s", str(SCRIPTS / f"{script}.lua")]
    words += [url, *(["--", *map(str, arguments)] if arguments else [])]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    requests = number(r"(\d+) requests in", out)
    others = number(r"Non-2xx or 3xx responses: (\d+)", out)
    if others != (requests if refused else 0):
        sys.exit(f"{url}: {others} of {requests} answers are no success:\n{out}")
    if number(r"read (\d+)", out) + number(r"connect (\d+)", out) > requests / 100:
        sys.exit(f"{url}: connections fail:\n{out}")
    return Done(requests, number(r"Requests/sec:\s+([\d.]+)", out))


def h2load(url, seconds, connections=16, streams=8, headers=()):
    words = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "-D", str(seconds)]
    for header in headers:
        words += ["-H", header]
    out = subprocess.run([*words, url], check=True, capture_output=True, text=True).stdout
    good, done = number(r"status codes: (\d+) 2xx", out), number(r"(\d+) done", out)
    if "Application protocol: h2" not in out or not good or good < done:
        sys.exit(f"{url}: {good} of {done} answers are a success:\n{out}")
    return Done(good, number(r"([\d.]+) req/s", out))


def steady(load, port, token_file, rate, seconds, connections=32):
    """Latencies in microseconds at a steady rate: p50, p99, p999, max."""
    words = [load, "rate", f"127.0.0.1:{port}", token_file, rate, seconds, connections]
    out = subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


class Idle:
    """TLS connections that have made one request each and are idle since."""

    def __init__(self, load, port, token_file, count):
        words = [load, "hold", f"127.0.0.1:{port}", token_file, count]
        self.process = subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        self.count = self.process.stdout.readline().strip()
        if not self.count:
            sys.exit(f"connections could not be held: {self.process.stderr.read()}")
        return self

    def __exit__(self, *_):
        self.process.communicate()


def number(pattern, text):
    found = re.search(pattern, text)
    return 0 if not found else float(found[1]) if "." in found[1] else int(found[1])
