"""Commands, checks and waiting, for all parts."""

import os
import pathlib
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target/packages"
# How long anything may take that is waited for.
PATIENCE = 90


class Failure(Exception):
    """A check that did not hold."""


def check(holds, text):
    if not holds:
        raise Failure(text)


def step(title, action):
    """Does one thing, and says how long it took."""
    start = time.monotonic()
    print(f"-- {title}", flush=True)
    result = action()
    print(f"   {time.monotonic() - start:.1f} s", flush=True)
    return result


def as_root(*words):
    return list(words) if os.geteuid() == 0 else ["sudo", "--preserve-env=CONTAINERS_CONF", *words]


def run(words, **options):
    """The output of a command that has to succeed."""
    options = {"capture_output": True, "text": True, "timeout": 600, **options}
    done = subprocess.run([str(word) for word in words], **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def until(what, look):
    """The first answer of `look` that is not false."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise Failure(f"{what}: not within {PATIENCE} s")
