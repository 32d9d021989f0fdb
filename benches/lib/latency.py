"""Latency at a steady rate, and over rates as a plot.

The client sends on schedule however slow the answers are, and a request that waits for the answer
before it counts the wait; see benches/load/src/rate.rs.
"""

import statistics
import sys

from . import clients, keys, plot
from .table import markdown

RATE = 2000
RATES = (500, 1000, 2000, 4000, 6000, 8000, 12000)


def at_rate(rate, targets, options, programs, work, seconds):
    """Medians over the rounds of p50, p99 and p999 in microseconds, by target; in turn."""
    token = keys.mint(programs["load"], work, "HS256", 1)
    results = {}
    for _ in range(options.rounds):
        for name, port in targets.items():
            results.setdefault(name, []).append(clients.steady(programs["load"], port, token, rate, seconds))
    of = lambda values, key: statistics.median(value[key] for value in values)
    return {name: {key: of(values, key) for key in ("p50", "p99", "p999")} for name, values in results.items()}


def targets(running, upstream):
    """The upstream itself, to know what a proxy adds; then every proxy on plain HTTP/1.1."""
    return {"upstream alone": upstream, **{peer.LABEL: server.ports[0] for peer, server in running.items()}}


def table(running, upstream, options, programs, work):
    found = at_rate(RATE, targets(running, upstream), options, programs, work, options.seconds + 1)
    print(f"latency at {RATE}/s: done", file=sys.stderr)
    alone = found["upstream alone"]
    nginx = found.get("nginx")
    rows = []
    for name, it in found.items():
        cells = [f"{it[key]:,.0f}" for key in ("p50", "p99", "p999")]
        added = ["–" if name == "upstream alone" else f"{max(it[key] - alone[key], 0):,.0f}" for key in ("p50", "p99", "p999")]
        times = [f"{it[key] / nginx[key]:.2f}" if nginx else "–" for key in ("p50", "p99")]
        rows.append([name, *cells, *added, *times])
    return (f"Latency in microseconds at {RATE:,} requests a second, HTTP/1.1, HS256; added is what comes on top of the "
            "upstream alone.\n\n"
            + markdown(["", "p50", "p99", "p99.9", "added p50", "added p99", "added p99.9", "p50 × nginx", "p99 × nginx"], rows))


def draw(running, upstream, options, programs, work, path):
    """The plot: p50 and p99 of every proxy over the rates."""
    lines = {}
    for rate in RATES:
        found = at_rate(rate, targets(running, upstream), options, programs, work, options.seconds)
        print(f"latency at {rate}/s: done", file=sys.stderr)
        for name, it in found.items():
            lines.setdefault(name, []).append((rate, it["p50"], it["p99"]))
    path.write_text(plot.svg(lines))
    return f"Latency over rate: `{path.name}`."
