"""Gateways that share a store, and the steps of sessions at them."""

import base64
import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys

from . import stores
from .peers import tollhouse

#: Connections at a time, each with a thread of the client; gateways share them out. Most of a step is waiting for a disk.
THREADS = 15

SECTIONS = """
[[users]]
name = "local"
kind = "htpasswd"
path = "users.htpasswd"
allow_weak = ["ssha"]
[[login]]
dialect = "native"
[login_limits]
new_sessions_per_user = { attempts = 1000000, per = "1m" }
per_address = { attempts = 1000000, per = "1m" }
[login_limits.hashing]
queue = 4096
"""

SCRIPT = pathlib.Path(__file__).resolve().parent / "wrk/steps.lua"


@dataclasses.dataclass
class Measured:
    """A step in one round: number, steps a second, microseconds of CPU of the gateways and of the store a step, and
    the time in ms that 99 of 100 took at most."""
    count: int
    rate: float
    gateways: float
    store: float
    p99: float


class Gateways:
    """Gateways on one store, and the sessions that a login step began there."""

    def __init__(self, kind, count, place, password, users):
        self.kind, self.name = kind, f"{kind}-{count}"
        self.password, self.place, self.users = password, place, users
        self.folder = place.work / f"clients-{self.name}"
        self.folder.mkdir()
        self.store = stores.start(kind, place.work / f"store-{self.name}")
        self.servers = []
        try:
            self.start_all(count)
        except BaseException:
            self.stop()
            raise

    def start_all(self, count):
        seal = None
        for number in range(count):
            folder = self.place.work / f"gateway-{self.name}-{number}"
            folder.mkdir()
            if seal:
                shutil.copy(seal, folder / seal.name)
            seal = seal or stores.write_seal(folder)
            self.servers.append(self.start(folder))

    def start(self, folder):
        """One more gateway on the store."""
        shutil.copy(self.users, folder / "users.htpasswd")
        (folder / "users.htpasswd").chmod(0o600)
        extra = SECTIONS + self.store.section
        # The clients of the bench say from which addresses they are.
        proxy = 'trusted_proxies = ["127.0.0.1"]'
        server = tollhouse.run(self.place, folder.name, extra=extra, folder=folder, token=self.store.token, listener=proxy)
        return server.wait(60)

    def cpu(self):
        return sum(server.cpu() for server in self.servers)

    def file(self, name, lines):
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return path

    def log_in(self, user="user0"):
        """An access token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.servers[0].ports[0])
        body = json.dumps({"username": user, "password": self.password})
        connection.request("POST", "/auth/login", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            sys.exit(f"{self.name}: a login was answered {answer.status}: {text[:200]}")
        return json.loads(text)["access_token"]

    def log_in_many(self, users, seconds):
        """Logins of these users, each once, until the time is over; the figures, and the access and refresh tokens."""
        logins = [f"user{number} {self.password}" for number in users]
        for old in self.folder.glob("tokens.*"):
            old.unlink()
        measured = self.measure("login", logins, seconds, self.folder / "tokens")
        lines = [line for file in sorted(self.folder.glob("tokens.*")) for line in file.read_text().splitlines()]
        return measured, [tuple(line.split(" ")) for line in lines]

    def refresh(self, tokens, seconds):
        """Refreshes of these sessions, each once, until the time is over."""
        return self.measure("refresh", [refresh for _, refresh in tokens], seconds)

    def log_out(self, tokens, seconds):
        """Logouts of these sessions, each once, until the time is over."""
        return self.measure("logout", [access for access, _ in tokens], seconds)

    def measure(self, step, lines, seconds, out=""):
        file = self.file(step, lines)
        threads = min(THREADS, len(lines))
        gateways, store = self.cpu(), self.store.cpu()
        ports = [str(server.ports[0]) for server in self.servers]
        words = ["wrk", f"-t{threads}", f"-c{threads}", f"-d{seconds}s", "--latency", "-s", SCRIPT,
                 f"http://127.0.0.1:{ports[0]}/", "--", step, file, threads, out]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True,
                              env=dict(os.environ, STEP_PORTS=" ".join(ports)))
        gateways, store = self.cpu() - gateways, self.store.cpu() - store
        found = lambda pattern: re.search(pattern, done.stdout)
        count, took = found(r"steps: (\d+) in ([\d.]+) s").groups()
        count, took = int(count), float(took)
        if failed := found(r"Non-2xx or 3xx responses: (\d+)") or found(r"Socket errors: (.+)"):
            sys.exit(f"{self.name}: of {count} {step}s were refused: {failed.group(1)}\n{self.last_words()}")
        amount, unit = found(r"99%\s+([\d.]+)(us|ms|s)").groups()
        p99 = float(amount) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
        return Measured(count, count / took, gateways / count * 1e6, store / count * 1e6, p99)

    def last_words(self):
        """What the gateways logged last of refusals and of troubles, for whoever asks why."""
        lines = []
        for server in self.servers:
            access = (server.folder / "access.log").read_text(errors="replace").splitlines()
            lines += [line for line in access if '"outcome":"answered"' not in line][-3:]
            lines += server.words.read_text(errors="replace").splitlines()[-3:]
        return "\n".join(lines)

    def stop(self):
        for server in self.servers:
            server.stop()
        self.store.stop()


def write_users(path, count, password):
    """Users user0, user1, … whose passwords have a cheap hash: Argon2id would hide everything else."""
    salt = secrets.token_bytes(8)
    digest = hashlib.sha1(password.encode() + salt).digest()
    hashed = "{SSHA}" + base64.b64encode(digest + salt).decode()
    path.write_text("".join(f"user{number}:{hashed}\n" for number in range(count)))
    return path
