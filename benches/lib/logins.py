"""Logins a second, and what a flood of them does to requests that are only forwarded.

The gateway alone, with its native dialect and its own parameters of Argon2id; peers have no logins.
"""

import concurrent.futures
import secrets
import subprocess
import time

from . import clients, keys
from .peers import tollhouse
from .table import markdown

RATE = 1000
USERS = 16

#: Until logins that were broken off are hashed.
SETTLE = 1

SECTIONS = """
[[users]]
name = "local"
kind = "file"
path = "users.toml"
[[login]]
dialect = "native"
[login_limits]
new_sessions_per_user = { attempts = 1000000, per = "1m" }
"""


def make_users(folder, program, password, count):
    """Users user0, user1, … with one password and one hash; ids as benches/fill_store.rs has them."""
    hashed = subprocess.run([program, "hash"], input=f"{password}\n", check=True, capture_output=True, text=True).stdout.strip()
    folder.mkdir(exist_ok=True)
    (folder / "users.toml").write_text("".join(
        f'[[user]]\nid = "00000000-0000-4000-8000-{number:012}"\nname = "user{number}"\npassword = "{hashed}"\n\n'
        for number in range(count)))
    (folder / "users.toml").chmod(0o600)


def table(place, options, programs):
    password, folder = secrets.token_urlsafe(18), place.work / "tollhouse-logins"
    make_users(folder, programs["tollhouse"], password, USERS)
    server = tollhouse.run(place, "tollhouse-logins", extra=SECTIONS, folder=folder).wait()
    token = keys.mint(programs["load"], place.work, "HS256", 1)
    seconds = max(options.seconds, 3)
    steady = lambda: clients.steady(programs["load"], server.ports[0], token, RATE, seconds)
    try:
        quiet = steady()
        with concurrent.futures.ThreadPoolExecutor(1) as beside:
            flood = beside.submit(login_flood, server, password, seconds + 1)
            flooded = steady()
            flood = flood.result()
        time.sleep(SETTLE)
        alone = login_flood(server, password, seconds)
    finally:
        server.stop()
    rows = [[name, *(f"{it[key]:,.0f}" for key in ("p50", "p99", "p999"))]
            for name, it in (("without logins", quiet), ("during a flood of logins", flooded))]
    return (f"Logins (Argon2id, by default half the processors hash): {alone.rate:.1f} a second alone, {flood.rate:.1f} "
            f"beside {RATE:,} forwarded requests a second, whose latency in microseconds is:\n\n"
            + markdown(["", "p50", "p99", "p99.9"], rows))


def login_flood(server, password, seconds):
    url = f"http://localhost:{server.ports[0]}/auth/login"
    # One address may hold an eighth of the hashing queue: 8 logins, those of a flood that was
    # broken off among them.
    return clients.wrk(url, seconds, connections=4, script="login", arguments=[password])
