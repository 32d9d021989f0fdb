"""The proxies that are compared, each started the same way.

A peer's module has NAME, LABEL, and `start(place)`, which writes its configuration and answers a
running `Server` whose ports are plain HTTP and TLS; or None where it is not installed. `VERIFIES`
says by which algorithms it verifies tokens; a peer that verifies none lets everything through.
"""

import dataclasses
import pathlib
import sys

from . import before, caddy, haproxy, haproxy_plain, nginx, nginx_njs, pingora, tollhouse

ALL = (tollhouse, before, nginx, nginx_njs, haproxy_plain, haproxy, caddy, pingora)


@dataclasses.dataclass
class Place:
    """Where a peer is started: its folder with keys and certificates, and what it stands before."""
    work: pathlib.Path
    upstream: int
    programs: dict


def start(peer, place):
    """The running peer, or None; one without its program is skipped by name."""
    server = peer.start(place)
    if server is None and peer is before:
        return None
    if server is None:
        print(f"{peer.LABEL}: skipped, it is not installed here", file=sys.stderr)
        return None
    return server.wait()
