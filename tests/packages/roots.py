"""Debian systems: folders made by debootstrap once and kept, and copies of them that systemd boots."""

import os
import shutil
import subprocess

from shell import WORK, as_root, check, run, until

# What a bare system has beside Debian's smallest one: what boots it, and what an operator calls the
# gateway with.
PACKAGES = ["systemd", "systemd-sysv", "dbus", "ca-certificates", "curl"]


def debian(release, name, packages):
    """A system that was made before, or is made now. Nobody writes to it."""
    folder = WORK / "roots" / f"{release}-{name}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_suffix(".new")
        run(as_root("rm", "-rf", fresh))
        run(as_root("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", release, fresh))
        run(as_root("rm", "-rf", fresh / "var/cache/apt/archives", fresh / "var/lib/apt/lists"))
        run(as_root("mv", fresh, folder))
    return folder


class Machine:
    """A Debian system, booted, with a network of its own that reaches nothing."""

    def __init__(self, release):
        self.folder = WORK / "roots/running" / release
        run(as_root("rm", "-rf", self.folder))
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        run(as_root("cp", "-a", debian(release, "bare", PACKAGES), self.folder))
        self.log = open(WORK / f"{release}.console", "w+", encoding="utf-8")
        # The container has a filter of system calls of its own, which knows no pidfd_getfd.
        # systemd 256 and newer refuse the first version of cgroups, which older hosts still have.
        words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe",
                 "--system-call-filter=pidfd_getfd", f"--directory={self.folder}", "--boot", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]
        self.process = subprocess.Popen(as_root(*words), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            self.init = until("the system boots", self.first_process)
            state = until("the system is up", self.state)
            check(state in ("running", "degraded"), f"the system is {state}")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def first_process(self):
        check(self.process.poll() is None, f"systemd-nspawn ended: {self.console()}")
        # sudo, if there is one, and systemd-nspawn are above it.
        process = self.process.pid
        while process:
            name = open(f"/proc/{process}/comm", encoding="utf-8").read().strip()
            if name == "systemd":
                return process
            children = open(f"/proc/{process}/task/{process}/children", encoding="utf-8").read().split()
            process = int(children[0]) if children else None
        return None

    def state(self):
        done = subprocess.run(self.inside("systemctl", "is-system-running"), capture_output=True, text=True, check=False)
        state = done.stdout.strip()
        return state if state in ("running", "degraded", "maintenance") else None

    def console(self):
        self.log.flush()
        return open(self.log.name, encoding="utf-8", errors="replace").read()[-4000:]

    def inside(self, *words):
        """The words of a command in the system, as root there."""
        enter = ["nsenter", f"--target={self.init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
        clean = ["env", "--ignore-environment", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"]
        return as_root(*enter, *clean, *words)

    def on_its_network(self, *words):
        """The words of a command of this machine's that sees the system's network alone."""
        return as_root("nsenter", f"--target={self.init}", "--net", *words)

    def sh(self, line):
        return run(self.inside("sh", "-c", line))

    def put(self, source, target):
        run(as_root("cp", source, f"{self.folder}{target}"))

    def close(self):
        # The first signal asks systemd to shut down in order; a system that does not is ended.
        if self.process.poll() is None:
            subprocess.run(as_root("kill", "-TERM", str(self.process.pid)), check=False)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                subprocess.run(as_root("kill", "-KILL", str(self.process.pid)), check=False)
                self.process.wait()
        self.log.close()
        subprocess.run(as_root("rm", "-rf", str(self.folder)), check=False)
        if os.path.isdir(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
