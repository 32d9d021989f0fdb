"""What hashes of passwords cost: logins of users whose passwords are stored in one way or another.

One login at a time, so that the CPU time of a login is that of one hash and the rest of a login, which is small.
"""

import http.client
import json
import statistics
import subprocess
import warnings

from .peers import tollhouse
from .table import markdown

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import crypt

LOGINS = 20

#: An htpasswd leaves its hashes as they are; a file of the gateway's own would replace bcrypt's.
SOURCE = """
[[users]]
name = "local"
kind = "{kind}"
path = "users"
[[login]]
dialect = "native"
[login_limits]
new_sessions_per_user = {{ attempts = 1000000, per = "1m" }}
"""


def stored(place, password):
    """The name of each way, and a password that is stored in it."""
    made = subprocess.run([place.programs["tollhouse"], "hash"], input=f"{password}\n", check=True, capture_output=True, text=True)
    bcrypt = lambda cost: crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=1 << cost))
    return [("Argon2id, 19 MiB, 2 passes (the gateway's own)", made.stdout.strip()),
            *((f"bcrypt, cost {cost}", bcrypt(cost)) for cost in (10, 12))]


def table(place, password):
    rows = []
    for number, (name, hashed) in enumerate(stored(place, password)):
        folder = place.work / f"hashes-{number}"
        folder.mkdir()
        is_own = hashed.startswith("$argon2id$")
        text = f'[[user]]\nname = "user"\npassword = "{hashed}"\n' if is_own else f"user:{hashed}\n"
        (folder / "users").write_text(text)
        (folder / "users").chmod(0o600)
        extra = SOURCE.format(kind="file" if is_own else "htpasswd")
        server = tollhouse.run(place, folder.name, extra=extra, folder=folder).wait()
        try:
            cost = statistics.median(login_cost(server, password) for _ in range(5))
        finally:
            server.stop()
        rows.append([name, f"{cost * 1000:.1f}", f"{1 / cost:.0f}"])
    return markdown(["stored as", "ms CPU a login", "logins a second and core"], rows)


def login_cost(server, password):
    """Seconds of CPU of a login."""
    before = server.cpu()
    for _ in range(LOGINS):
        log_in(server, password)
    return (server.cpu() - before) / LOGINS


def log_in(server, password):
    connection = http.client.HTTPConnection("127.0.0.1", server.ports[0])
    body = json.dumps({"username": "user", "password": password})
    connection.request("POST", "/auth/login", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200, text[:200]
