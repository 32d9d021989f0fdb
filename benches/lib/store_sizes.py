"""What sessions take in a store, and what each step writes there.

One gateway on a new store: an idle while, many logins, refreshes, logouts, with the server's own counts before and after
each. Then a gateway that starts with the revocations of all those logouts, beside one that started with none.
"""

import sys
import time

from .table import markdown

#: Seconds of an idle gateway.
IDLE = 20

#: Seconds of refreshes and of logouts.
STEPS = 20

#: Seconds between two looks at whether there are enough sessions.
PIECE = 10

#: Seconds until the counts of logins have ended, and been swept.
ATTEMPTS_END = 100

#: Of the keys from a cursor on: the next cursor, and for each kind of key the number and the bytes.
WEIGH = """
local found = redis.call('SCAN', ARGV[1], 'COUNT', 1000)
local sums, kinds = {}, {}
for _, key in ipairs(found[2]) do
  local kind = key:match('^[^:]+:([^:]+)') .. (key:match('stream$') or key:match(':entries$') or key:match(':ends$') or '')
  if not sums[kind] then sums[kind] = {0, 0}; kinds[#kinds + 1] = kind end
  sums[kind][1] = sums[kind][1] + 1
  sums[kind][2] = sums[kind][2] + (redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 20) or 0)
end
local answer = {found[1]}
for _, kind in ipairs(kinds) do answer[#answer + 1] = kind .. ' ' .. sums[kind][1] .. ' ' .. sums[kind][2] end
return answer
"""

TABLES = """
SELECT c.relname, (SELECT count(*) FROM pg_index AS i WHERE i.indrelid = c.oid), c.reltuples::bigint,
    pg_table_size(c.oid), pg_indexes_size(c.oid)
FROM pg_class AS c JOIN pg_stat_user_tables AS s ON s.relid = c.oid ORDER BY c.relname
"""


class Steps:
    """The counts of one store, and what they grew by in each step."""

    def __init__(self, gateways):
        self.gateways, self.rows = gateways, []

    def measure(self, name, run):
        before = self.gateways.store.counts()
        number = run()
        after = self.gateways.store.counts()
        each = {key: (after[key] - before[key]) / number for key in after}
        self.rows.append([self.gateways.kind, name, f"{number:,}", f"{each['commands']:.1f}", f"{each['log']:,.0f}",
                          f"{each['memory']:,.0f}"])


def measure(gateways, options):
    """Rows of the tables below."""
    empty = gateways.servers[0].memory()[0]
    if gateways.kind == "redis":
        # A file that is rewritten meanwhile does not say what was written.
        gateways.store.ask("CONFIG", "SET", "auto-aof-rewrite-percentage", "0")
    idle = measure_idle(gateways)
    steps, tokens = Steps(gateways), []
    steps.measure("login", lambda: fill(gateways, tokens, options.size))
    print(f"{gateways.kind}: {len(tokens):,} sessions begun", file=sys.stderr)
    time.sleep(ATTEMPTS_END)
    kept = weigh(gateways, "after the logins")
    if gateways.kind == "postgres":
        # Each is of another page, which is logged as a whole when it is first changed after a checkpoint.
        gateways.store.ask("CHECKPOINT")
        steps.measure("refresh, first of its page after a checkpoint", lambda: gateways.refresh(tokens[::20], 1).count)
    rest = [token for number, token in enumerate(tokens) if number % 20]
    steps.measure("refresh", lambda: gateways.refresh(rest, STEPS).count)
    steps.measure("logout", lambda: gateways.log_out(tokens, STEPS).count)
    kept += weigh(gateways, "after the logouts")
    return idle, steps.rows, kept, restart(gateways, empty)


def measure_idle(gateways):
    """Of a gateway without clients: its CPU, the store's, and commands, a second."""
    node, store, began = gateways.cpu(), gateways.store.cpu(), time.monotonic()
    time.sleep(IDLE)
    took = time.monotonic() - began
    node, store = (gateways.cpu() - node) / took, (gateways.store.cpu() - store) / took
    before, began = gateways.store.counts(), time.monotonic()
    time.sleep(IDLE)
    after, took = gateways.store.counts(), time.monotonic() - began
    grown = {key: (after[key] - before[key]) / took for key in after}
    return [gateways.kind, f"{node * 1000:.1f}", f"{store * 1000:.1f}", f"{grown['commands']:.1f}", f"{grown['log']:,.0f}"]


def fill(gateways, tokens, wanted):
    """Logins, each of another user, until there are enough sessions."""
    number = 0
    while number < wanted:
        measured, more = gateways.log_in_many(range(number, wanted), PIECE)
        tokens.extend(more)
        number += measured.count
    return number


def weigh(gateways, when):
    """Number and bytes of everything that is kept."""
    if gateways.kind == "postgres":
        gateways.store.ask("ANALYZE")
        rows = []
        for name, indexes, count, heap, index in gateways.store.ask(TABLES):
            count = int(count)
            if count >= 1000:
                each = f"{int(heap) / count:,.0f} + {int(index) / count:,.0f}"
                rows.append([gateways.kind, when, f"{name} ({indexes} indexes)", f"{count:,}", each])
        return rows
    cursor, sums = "0", {}
    while True:
        cursor, *lines = gateways.store.ask("EVAL", WEIGH, "0", cursor)
        for line in lines:
            kind, count, size = line.split(" ")
            known = sums.get(kind, (0, 0))
            sums[kind] = (known[0] + int(count), known[1] + int(size))
        if cursor == "0":
            break
    total = gateways.store.counts()["memory"]
    rows = [[gateways.kind, when, kind, f"{count:,} keys", f"{size / count:,.0f}"] for kind, (count, size) in sorted(sums.items())
            if size > 100_000]
    return rows + [[gateways.kind, when, "used_memory", "", f"{total:,}"]]


def restart(gateways, empty):
    """A gateway that starts now, beside what one took that knew no revocation."""
    old = gateways.servers[0]
    old.stop()
    began = time.monotonic()
    gateways.servers[0] = gateways.start(old.folder)
    took = time.monotonic() - began
    revoked = revocations(gateways)
    grown = gateways.servers[0].memory()[0] - empty
    return [gateways.kind, f"{revoked:,}", f"{took:.2f}", f"{empty / 1024:.1f}", f"{grown * 1024 / max(revoked, 1):,.0f}"]


def revocations(gateways):
    if gateways.kind == "postgres":
        return int(gateways.store.ask("SELECT count(*) FROM tollhouse.revocations")[0][0])
    return int(gateways.store.ask("HLEN", "tollhouse:{feed}:entries")[0])


def table(measured):
    """All of them as Markdown."""
    idle, steps, kept, restarts = zip(*measured)
    together = lambda rows: [row for part in rows for row in part]
    return "\n\n".join([
        "A gateway without clients, a second.\n\n"
        + markdown(["store", "ms CPU of the gateway", "ms CPU of the store", "commands", "bytes of log"], idle),
        "What a step makes the store do. A command of PostgreSQL is a transaction of one statement; those of Redis include "
        "commands within scripts. Bytes are of the log (WAL, append-only file), and of the tables or the memory.\n\n"
        + markdown(["store", "step", "number", "commands", "bytes of log", "bytes kept"], together(steps)),
        "What is kept: bytes each; in PostgreSQL of the table and its indexes.\n\n"
        + markdown(["store", "when", "what", "number", "bytes each"], together(kept)),
        "A gateway that starts: seconds until it listens, and its memory.\n\n"
        + markdown(["store", "revocations", "seconds", "MiB without any", "bytes a revocation"], restarts),
    ])
