"""Markdown, and what the figures were measured with."""

import os
import pathlib
import platform
import subprocess
import time

from .build import which


def markdown(heads, rows):
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return "\n".join([line(heads), "|" + "---|" * len(heads), *map(line, rows)])


def machine(options):
    """Cores, kernel, processor, and how long was measured."""
    processor = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), platform.machine())
    return (f"{time.strftime('%Y-%m-%d')}; {os.cpu_count()} cores ({processor}); Linux {platform.release()}; load before "
            f"{os.getloadavg()[0]:.1f}; {options.rounds} rounds of {options.seconds} s")


def versions(programs):
    """The first line of each program's own words."""
    asked = [(programs.get("tollhouse"), "--version"), (which("nginx"), "-v"), (which("haproxy"), "-v"),
             (which("caddy"), "version"), (which("wrk"), "-v"), (which("h2load"), "--version"), (which("openssl"), "version")]
    lines = [first_line(program, flag) for program, flag in asked if program]
    lines += [f"njs {version}" for version in [debian("libnginx-mod-http-js")] if version]
    if programs.get("pingora"):
        lines.append("pingora " + locked("pingora", "pingora") + ", jsonwebtoken " + locked("pingora", "jsonwebtoken"))
    return "; ".join(lines)


def first_line(program, flag):
    done = subprocess.run([str(program), flag], capture_output=True, text=True)
    words = (done.stdout or done.stderr).strip().splitlines()
    line = words[0] if words else "?"
    name = pathlib.Path(str(program)).name
    return line if name in line.lower() else f"{name} {line.split(' ')[0]}"


def debian(package):
    done = subprocess.run(["dpkg-query", "-W", "-f=${Version}", package], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def locked(crate, package):
    text = (pathlib.Path(__file__).resolve().parents[1] / crate / "Cargo.lock").read_text()
    return text.split(f'name = "{package}"\nversion = "', 1)[1].split('"', 1)[0]
