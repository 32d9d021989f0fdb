"""Stores for the gateway: the file of its own, PostgreSQL, Redis; each started here and ended here."""

import base64
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import time

from .processes import CLOCK_TICK, Server, free_ports, listens

KINDS = ("embedded", "postgres", "redis")

SHARED = """
[store]
kind = "{kind}"
url = "{url}"
seal = {{ file = "seal.key" }}
"""


class Embedded:
    """The gateway's own file: its work is the gateway's."""

    name, section = "embedded", ""

    def cpu(self):
        return 0.0

    def stop(self):
        pass


class Redis:
    """A server that answers once its file is on the disk (appendfsync always)."""

    name = "redis"

    def __init__(self, folder):
        folder.mkdir()
        port = free_ports(1)[0]
        command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "",
                   "--appendonly", "yes", "--appendfsync", "always"]
        self.server = Server("redis", command, folder, [port]).wait()
        self.section = SHARED.format(kind="redis", url=f"redis://127.0.0.1:{port}")

    def cpu(self):
        return self.server.cpu()

    def stop(self):
        self.server.stop()


class Postgres:
    """A cluster with Debian's settings, synchronous_commit = on."""

    name = "postgres"

    def __init__(self, folder):
        folder.mkdir()
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
        if not programs:
            sys.exit("needs postgresql: apt-get install postgresql")
        # The server refuses to run as root.
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        data, port = folder / "data", free_ports(1)[0]
        if as_user:
            shutil.chown(folder, "postgres")
        initdb = [*as_user, programs[-1] / "initdb", "-D", data, "-U", "gateway", "--auth=trust"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        command = [*as_user, programs[-1] / "postgres", "-D", data, "-p", port, "-k", folder]
        self.process = subprocess.Popen([str(word) for word in command], cwd=folder, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        while not listens(port):
            time.sleep(0.05)
        self.main = (data / "postmaster.pid").read_text().split()[0]
        self.section = SHARED.format(kind="postgres", url=f"postgres://gateway@127.0.0.1:{port}/postgres")

    def cpu(self):
        """Seconds of the server, of its backends, and of backends that have ended."""
        children = subprocess.run(["pgrep", "-P", self.main], capture_output=True, text=True).stdout.split()
        ticks = sum(int(field) for field in stat(self.main)[11:15])
        return (ticks + sum(sum(int(field) for field in stat(child)[11:13]) for child in children)) / CLOCK_TICK

    def stop(self):
        os.kill(int(self.main), 2)
        self.process.wait(20)


def stat(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def start(kind, folder):
    return {"embedded": lambda _: Embedded(), "redis": Redis, "postgres": Postgres}[kind](folder)


def write_seal(folder):
    path = folder / "seal.key"
    path.write_text(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    path.chmod(0o600)
