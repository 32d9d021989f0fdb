"""The programs that are measured and those that measure: built, or installed by apt."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

PACKAGES = ("build-essential", "cmake", "openssl", "procps", "wrk", "nghttp2-client", "nginx-light", "libnginx-mod-http-js",
            "haproxy", "caddy")

# Programs without which nothing is measured; a missing peer is skipped by name.
NEEDED = {"openssl": "openssl", "wrk": "wrk", "h2load": "nghttp2-client", "nginx": "nginx-light", "pgrep": "procps"}


def install():
    """Debian's packages of the peers. Debian starts some of them: they are not ours to stop."""
    root = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*root, "apt-get", "update", "-qq"], check=True)
    subprocess.run([*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq",
                    "--no-install-recommends", *PACKAGES], check=True, stdout=subprocess.DEVNULL)


def check_needed():
    missing = [package for program, package in NEEDED.items() if not which(program)]
    if missing:
        sys.exit(f"needs {', '.join(missing)}: run with --install, or apt-get install {' '.join(missing)}")


def which(program):
    """Like the shell's, and where Debian keeps servers."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/sbin")


def gateway(profile):
    """The gateway itself."""
    subprocess.run(["cargo", "build", "--profile", profile, "--locked", "--bin", "tollhouse"], cwd=ROOT, check=True)
    return target() / profile / "tollhouse"


def load():
    """The client for what wrk cannot do."""
    return crate("load", "load")


def pingora():
    """The Pingora proxy, or None where it cannot be built here."""
    try:
        return crate("pingora", "pingora-peer")
    except subprocess.CalledProcessError:
        print("pingora: skipped, it cannot be built here (network, cmake?)", file=sys.stderr)
        return None


def crate(folder, name):
    """A crate of its own beside the benches."""
    apart = target() / "peers"
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT / "benches" / folder, check=True,
                   env=dict(os.environ, CARGO_TARGET_DIR=str(apart)))
    return apart / "release" / name


def fill_store():
    """The program that makes large stores."""
    words = ["cargo", "build", "--profile", "quick", "--locked", "--bench", "fill_store", "--message-format", "json"]
    out = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in out.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "fill_store" and message.get("executable"):
            return pathlib.Path(message["executable"])
    sys.exit("cargo names no executable of fill_store")


def target():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
