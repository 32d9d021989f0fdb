"""The gateway: tokens verified, access log, counts, limits and timeouts as they are by default.

Only limits that this many connections from one address would meet are raised.
"""

import shutil

from ..processes import Server, free_ports

NAME, LABEL = "tollhouse", "Tollhouse"
VERIFIES = ("HS256", "RS256", "ES256")

KEYS = {"HS256": 'secret = { file = "secret" }', "RS256": 'public_key_file = "RS256.pub"',
        "ES256": 'public_key_file = "ES256.pub"'}

LIMITS = """
[listener.limits]
connections = 20000
connections_per_address = 20000
[listener.timeouts]
keep_alive = "10m"
"""

ROUTE = """
[[upstream]]
name = "legacy"
servers = [{servers}]
[[route]]
path = "/"
upstream = "legacy"
"""


def listeners(plain, tls, more=""):
    return f"""
[[listener]]
address = "127.0.0.1:{plain}"
{more}
{LIMITS}
[[listener]]
address = "127.0.0.1:{tls}"
[listener.tls]
certificates = [{{ chain = "tls.pem", key = "tls.key" }}]
{LIMITS}
"""


def issuers():
    return "".join(f"""
[[issuer]]
name = "{alg.lower()}"
issuer = "bench-{alg}"
audience = ["bench"]
algorithms = ["{alg}"]
{key}
""" for alg, key in KEYS.items())


def run(place, name, cache_size=50_000, extra="", routes=None, folder=None, program="tollhouse", token="",
        listener=""):
    """A gateway in a folder of its own, since it keeps state; `program` names the build among the place's, `token`
    and `listener` are more for its sections of these names."""
    folder = folder or place.work / name
    folder.mkdir(exist_ok=True)
    for file in ("secret", "RS256.pub", "ES256.pub", "tls.pem", "tls.key"):
        shutil.copy(place.work / file, folder / file)
    plain, tls = free_ports(2)
    routes = routes or ROUTE.format(servers=f'"http://127.0.0.1:{place.upstream}"')
    (folder / "gateway.toml").write_text(f"""
[process]
workers = 2
drain_delay = "0s"
drain_timeout = "1s"
[log]
access = "{folder}/access.log"
audit = "{folder}/audit.log"
[token]
issuer = "https://gateway.example"
audience = ["bench"]
cache_size = {cache_size}
{token}
{listeners(plain, tls, listener)}
{issuers()}
{extra}
{routes}
""")
    command = [place.programs[program], "--config", folder / "gateway.toml", "run"]
    return Server(name, command, folder, [plain, tls])


def start(place):
    return run(place, NAME)


def start_forgetful(place, program="tollhouse"):
    """One whose memory of verified tokens is too small to be of use."""
    return run(place, f"{program}-forgetful", cache_size=16, program=program)
