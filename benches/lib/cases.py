"""The cases that are measured as throughput and CPU time per request.

A case says what is asked of every proxy; a token is sent to those that verify none too, so that
all read the same request. `verifying` cases leave out who verifies nothing.
"""

import dataclasses
from collections.abc import Callable

from . import clients, keys
from .peers import nginx_njs

#: More than any memory of verified tokens in the run holds.
MANY = 20_000


@dataclasses.dataclass
class Run:
    """One measurement: the proxy, and what it is asked with."""
    peer: object
    server: object
    seconds: int
    load: object
    work: object

    def token(self, alg):
        return keys.token(self.load, self.work, alg)

    def many(self, alg):
        return keys.mint(self.load, self.work, alg, MANY)

    def plain(self, path="/", alg="HS256"):
        return f"http://localhost:{self.server.ports[0]}{self.path(alg, path)}"

    def tls(self, path="/", alg="HS256"):
        return f"https://localhost:{self.server.ports[1]}{self.path(alg, path)}"

    def path(self, alg, path):
        return nginx_njs.path(alg, path) if self.peer is nginx_njs else path


@dataclasses.dataclass
class Case:
    name: str
    run: Callable
    #: The gateway without a memory of verified tokens.
    forgetful: bool = False
    #: The algorithm that a peer must verify to be measured; None where all are.
    verifying: str | None = None


def bearer(token):
    return f"Authorization: Bearer {token}"


def keep_alive(alg):
    def run(it):
        return clients.wrk(it.plain(alg=alg), it.seconds, headers=[bearer(it.token(alg))])
    return Case(f"HTTP/1.1 keep-alive, {alg}, one token", run)


def every_token_new(alg):
    def run(it):
        return clients.wrk(it.plain(alg=alg), it.seconds, script="tokens", arguments=[it.many(alg)])
    return Case(f"HTTP/1.1 keep-alive, {alg}, every token new", run, forgetful=True, verifying=alg)


def refused(it):
    forged = keys.forged(it.token("HS256"))
    return clients.wrk(it.plain(), it.seconds, headers=[bearer(forged)], refused=True)


def tls_keep_alive(it):
    return clients.wrk(it.tls(), it.seconds, headers=[bearer(it.token("HS256"))])


def new_connections(it):
    headers = [bearer(it.token("HS256")), "Connection: close"]
    return clients.wrk(it.tls(), it.seconds, headers=headers)


def http2(it):
    return clients.h2load(it.tls(), it.seconds, headers=[bearer(it.token("HS256"))])


def posts(it):
    return clients.wrk(it.plain(), it.seconds, headers=[bearer(it.token("HS256"))], script="post")


def download(url):
    def run(it):
        return clients.wrk(url(it), it.seconds, connections=8, headers=[bearer(it.token("HS256"))])
    return run


ALL = {
    "hs256": keep_alive("HS256"),
    "rs256": keep_alive("RS256"),
    "es256": keep_alive("ES256"),
    "new-hs256": every_token_new("HS256"),
    "new-rs256": every_token_new("RS256"),
    "new-es256": every_token_new("ES256"),
    "refused": Case("HTTP/1.1 keep-alive, HS256, forged token refused", refused, verifying="HS256"),
    "tls": Case("TLS 1.3 keep-alive, HS256", tls_keep_alive),
    "h2": Case("HTTP/2 over TLS 1.3, HS256", http2),
    "connect": Case("new TLS 1.3 connection for each request, HS256", new_connections),
    "download": Case("1 MiB answers, HS256", download(lambda it: it.plain("/1m"))),
    "download-tls": Case("1 MiB answers over TLS 1.3, HS256", download(lambda it: it.tls("/1m"))),
    "post": Case("10 KiB posts, HS256", posts),
}
