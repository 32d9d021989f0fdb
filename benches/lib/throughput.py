"""Throughput and CPU time per request: every proxy in turn, round after round.

A noisy machine is noisy for all of them that way; the medians of the rounds are compared. CPU time
is what the proxy's own processes used, user and system.
"""

import statistics
import sys

from . import peers
from .cases import Run
from .peers import before, tollhouse
from .table import markdown


def measure(cases, running, forgetful, options, programs, work):
    """Medians (requests a second, CPU microseconds) by case and peer.

    `forgetful` holds, for a peer that remembers verified tokens, the server that does not.
    """
    results = {}
    for turn in range(options.rounds):
        for case in cases:
            for peer, server in running.items():
                if case.verifying and case.verifying not in peer.VERIFIES:
                    continue
                asked = forgetful.get(peer, server) if case.forgetful else server
                run = Run(peer, asked, options.seconds, programs["load"], work)
                before = asked.cpu()
                done = case.run(run)
                cost = (asked.cpu() - before) / max(done.requests, 1) * 1e6
                results.setdefault((case.name, peer.NAME), []).append((done.rate, cost))
            print(f"round {turn + 1}/{options.rounds}: {case.name}", file=sys.stderr)
    median = lambda values, of: statistics.median(value[of] for value in values)
    return {key: (median(values, 0), median(values, 1)) for key, values in results.items()}


def tables(cases, results, running):
    """The ratios, and what they are made of."""
    others = [peer for peer in running if peer is not tollhouse]
    ratios, figures = [], []
    for case in cases:
        rate, cost = results[case.name, tollhouse.NAME]
        row = [case.name, f"{rate:,.0f}", f"{cost:.1f}"]
        for peer in others:
            found = results.get((case.name, peer.NAME))
            row.append(f"{cost / found[1]:.2f} / {rate / found[0]:.2f}" if found and found[1] and found[0] else "–")
        ratios.append(row)
        cells = [results.get((case.name, peer.NAME)) for peer in running]
        figures.append([case.name] + [f"{cell[0]:,.0f} · {cell[1]:.1f}" if cell else "–" for cell in cells])
    yield ("Tollhouse beside each peer: its CPU time per request as a multiple of the peer's (less is better) / its "
           "throughput as a multiple of the peer's (more is better).\n\n"
           + markdown(["case", "Tollhouse req/s", "Tollhouse µs CPU"] + [peer.LABEL for peer in others], ratios))
    yield ("Requests a second · CPU microseconds a request.\n\n"
           + markdown(["case"] + [peer.LABEL for peer in running], figures))


def start_all(place, wanted):
    """Every peer that is installed, and the gateway without a memory."""
    running = {}
    for peer in peers.ALL:
        if wanted is None or peer.NAME in wanted or peer in (tollhouse, before):
            server = peers.start(peer, place)
            if server:
                running[peer] = server
    return running


def start_forgetful(place):
    """The builds of the gateway without a memory of verified tokens, by peer."""
    started = {peer: peer.start_forgetful(place) for peer in (tollhouse, before)}
    return {peer: server.wait() for peer, server in started.items() if server}
