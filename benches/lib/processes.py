"""Servers as processes: started, waited for, looked at in /proc, and ended.

Only what was started here is ever ended. Memory and CPU time are those of all of a server's
processes: nginx has workers.
"""

import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import time

CLOCK_TICK = os.sysconf("SC_CLK_TCK")


def raise_file_limit():
    """Ten thousand connections need twice as many open files in a proxy."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (65536, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(hard, limit)))
            return limit
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Server:
    """A process that listens on ports of 127.0.0.1."""

    def __init__(self, name, command, folder, ports, environment=None):
        self.name, self.folder, self.ports = name, folder, ports
        self.words = folder / f"{name}.err"
        with open(self.words, "wb") as err:
            self.process = subprocess.Popen([str(word) for word in command], cwd=folder, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=err,
                                            env=dict(os.environ, **(environment or {})))

    def wait(self, seconds=15):
        """Returns once every port is listened on."""
        end = time.monotonic() + seconds
        for port in self.ports:
            while not listens(port):
                if self.process.poll() is not None:
                    sys.exit(f"{self.name} ended at its start:\n{self.words.read_text(errors='replace')[-2000:]}")
                if time.monotonic() > end:
                    self.stop()
                    sys.exit(f"{self.name} does not listen on port {port} after {seconds} s")
                time.sleep(0.05)
        return self

    def pids(self):
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout
        return [str(self.process.pid), *children.split()]

    def cpu(self):
        """Seconds of CPU time so far, user and system."""
        ticks = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / CLOCK_TICK

    def memory(self):
        """Resident and proportional set size in KiB."""
        rss = pss = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Rss:"):
                    rss += int(line.split()[1])
                elif line.startswith("Pss:"):
                    pss += int(line.split()[1])
        return rss, pss

    def stop(self):
        if self.process.poll() is not None:
            return
        # A second signal ends at once what the first one let drain.
        for patience, sign in ((3, signal.SIGTERM), (3, signal.SIGTERM), (5, signal.SIGKILL)):
            self.process.send_signal(sign)
            try:
                self.process.wait(patience)
                return
            except subprocess.TimeoutExpired:
                continue


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False
