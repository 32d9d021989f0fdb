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

    name, section, token = "embedded", "", ""

    def cpu(self):
        return 0.0

    def stop(self):
        pass


class Redis:
    """A server that answers once its file is on the disk (appendfsync always)."""

    name, token = "redis", 'keys = "store"'

    def __init__(self, folder):
        folder.mkdir()
        self.port = port = free_ports(1)[0]
        command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "",
                   "--appendonly", "yes", "--appendfsync", "always"]
        self.server = Server("redis", command, folder, [port]).wait()
        self.section = SHARED.format(kind="redis", url=f"redis://127.0.0.1:{port}")

    def cpu(self):
        return self.server.cpu()

    def ask(self, *words):
        """The lines of an answer."""
        command = ["redis-cli", "-p", self.port, *words]
        return run_text(command).splitlines()

    def counts(self):
        """What the server has counted so far: commands, those in scripts among them; bytes of its memory and of its
        file."""
        facts = dict(line.split(":", 1) for line in self.ask("INFO", "everything") if ":" in line)
        return {"commands": int(facts["total_commands_processed"]), "memory": int(facts["used_memory"]),
                "log": int(facts["aof_current_size"])}

    def stop(self):
        self.server.stop()


class Postgres:
    """A cluster with Debian's settings, synchronous_commit = on."""

    name, token = "postgres", 'keys = "store"'

    def __init__(self, folder):
        folder.mkdir()
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
        if not programs:
            sys.exit("needs postgresql: apt-get install postgresql")
        # The server refuses to run as root.
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        data = folder / "data"
        self.port = port = free_ports(1)[0]
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

    def ask(self, statement):
        """The rows of an answer, as lists of texts."""
        psql = ["psql", "-h", "127.0.0.1", "-p", self.port, "-U", "gateway", "-d", "postgres", "-Atq", "-F", " ", "-c", statement]
        return [line.split(" ") for line in run_text(psql).splitlines()]

    def counts(self):
        """What the server has counted so far: transactions, each of one statement, and bytes of its log; bytes of its
        tables with their indexes."""
        # A backend tells its counts once a second while it works, and when it has been idle for ten.
        time.sleep(11)
        answer = self.ask("""SELECT xact_commit + xact_rollback, pg_current_wal_lsn() - '0/0'::pg_lsn,
            (SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables)
            FROM pg_stat_database WHERE datname = 'postgres'""")[0]
        commands, log, memory = (int(field) for field in answer)
        return {"commands": commands, "memory": memory, "log": log}

    def stop(self):
        os.kill(int(self.main), 2)
        self.process.wait(20)


def run_text(command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def stat(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def start(kind, folder):
    return {"embedded": lambda _: Embedded(), "redis": Redis, "postgres": Postgres}[kind](folder)


def write_seal(folder):
    path = folder / "seal.key"
    path.write_text(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    path.chmod(0o600)
    return path


def versions():
    """Of the servers."""
    programs = [*sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))[-1:], "redis-server"]
    return "; ".join(run_text([program, "--version"]).split(" malloc")[0].strip() for program in programs)
