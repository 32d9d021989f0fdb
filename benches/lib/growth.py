"""What grows: routes, servers of an upstream, live sessions, revocations.

Each function starts gateways that differ in one number only and answers what to ask of them, so
that they can be measured in turn. All are asked with one token, so that every difference is that
number's.
"""

import dataclasses
import json
import secrets
import subprocess
import sys
import urllib.request

from . import clients, keys, logins
from .peers import tollhouse

#: Different paths asked for, the same number whatever the table holds.
PATHS = 10

LOGIN = logins.SECTIONS + 'access_ttl = "12h"\n'

#: As benches/fill_store.rs has it.
USERS = 10_000


@dataclasses.dataclass
class Size:
    """One gateway, and the load that is put on it."""
    label: str
    server: object
    load: object
    #: Resident KiB before the first request.
    resident: int


def routes(place, programs, counts):
    """The cost of finding a route."""
    header = bearer(keys.token(programs["load"], place.work, "HS256"))
    upstream = f'[[upstream]]\nname = "legacy"\nservers = ["http://127.0.0.1:{place.upstream}"]\n'
    for count in counts:
        paths = [f"/api/v2/service{number}/" for number in range(count)]
        text = upstream + "".join(f'[[route]]\npath = "{path}"\nupstream = "legacy"\n' for path in paths)
        server = tollhouse.run(place, f"routes-{count}", routes=text).wait(60)
        asked = place.work / f"paths-{count}"
        asked.write_text("".join(f"{path}items/7\n" for path in paths[::max(count // PATHS, 1)][:PATHS]))
        yield Size(f"{count:,}", server, wrk(server, header, script="paths", arguments=[asked]), server.memory()[0])


def servers(place, programs, counts, port):
    """The cost of choosing a server: they are addresses of this machine on one nginx."""
    header = bearer(keys.token(programs["load"], place.work, "HS256"))
    for count in counts:
        listed = ", ".join(f'"http://{address}:{port}"' for address in addresses(count))
        server = tollhouse.run(place, f"servers-{count}", routes=tollhouse.ROUTE.format(servers=listed)).wait(60)
        yield Size(f"{count:,}", server, wrk(server, header), server.memory()[0])


def addresses(count):
    """So many different addresses of the loopback interface."""
    return [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]


def stores(place, programs, sizes, unit):
    """The cost of live sessions and of revocations: stores made beforehand, `sizes` of both."""
    for sessions, revoked in sizes:
        name = f"{unit}-{sessions}-{revoked}"
        folder, password = place.work / name, secrets.token_urlsafe(18)
        logins.make_users(folder, programs["tollhouse"], password, min(USERS, sessions))
        token = log_in(place, name, folder, password)
        store = folder / "state" / "store.redb"
        subprocess.run([programs["fill_store"], store, str(sessions), str(revoked)], check=True)
        print(f"{name}: store of {store.stat().st_size / 2**20:,.0f} MiB", file=sys.stderr)
        server = tollhouse.run(place, name, extra=LOGIN, folder=folder).wait(600)
        count = sessions if unit == "sessions" else revoked
        yield Size(f"{count:,}", server, wrk(server, bearer(token)), server.memory()[0])


def log_in(place, name, folder, password):
    """The access token of a real login, whose session is in the store."""
    server = tollhouse.run(place, name, extra=LOGIN, folder=folder).wait()
    try:
        body = json.dumps({"username": "user0", "password": password}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{server.ports[0]}/auth/login", body,
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["access_token"]
    finally:
        server.stop()


def bearer(token):
    return f"Authorization: Bearer {token}"


def wrk(server, header, **more):
    return lambda seconds: clients.wrk(f"http://localhost:{server.ports[0]}/", seconds, headers=[header], **more)
