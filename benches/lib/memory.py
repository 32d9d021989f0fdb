"""Memory of a proxy: idle, and with a thousand and ten thousand idle TLS connections.

Each proxy is started anew for it, so that nothing before is counted. Every connection has made one
request. RSS counts shared pages in every process, PSS divides them.
"""

import sys
import time

from . import keys, peers
from .clients import Idle
from .table import markdown

COUNTS = (1_000, 10_000)

#: Until a proxy has freed what handshakes needed.
SETTLE = 2


def table(running, place, options, programs):
    token = keys.mint(programs["load"], place.work, "HS256", 1)
    counts = COUNTS[:1] if options.file_limit < 12_000 else COUNTS
    rows = []
    for peer in running:
        figures = of_peer(peer, place, programs["load"], token, counts)
        cells = [f"{rss / 1024:.1f} · {pss / 1024:.1f}" for rss, pss in figures]
        each = (figures[-1][1] - figures[0][1]) / counts[-1]
        rows.append([peer.LABEL, *cells, f"{each:.1f}"])
        print(f"memory of {peer.NAME}: done", file=sys.stderr)
    heads = ["", "idle", *(f"{count:,} connections" for count in counts), f"KiB a connection (PSS, at {counts[-1]:,})"]
    return "Memory in MiB, RSS · PSS, with idle TLS 1.3 connections that have made a request.\n\n" + markdown(heads, rows)


def of_peer(peer, place, load, token, counts):
    server = peer.start(place)
    try:
        server.wait()
        time.sleep(SETTLE)
        figures = [server.memory()]
        for count in counts:
            with Idle(load, server.ports[1], token, count):
                time.sleep(SETTLE)
                figures.append(server.memory())
            time.sleep(SETTLE)
        return figures
    finally:
        server.stop()
