"""One client floods the logins while others, at another address, log in, refresh and log out."""

import http.client
import json
import subprocess
import sys
import threading
import time

from . import clients
from .table import markdown

#: Where the others come from. wrk and h2load come from 127.0.0.1.
OTHERS = "127.0.0.3"
#: A user begins so many sessions a minute at most; together they begin enough of them.
USERS = 32
#: Seconds between two of the others' sessions.
PAUSE = 0.2

#: A hostile client has a machine of its own. Here it shares the gateway's processors, so it runs
#: when nobody else wants them; else its own work would be measured as the gateway's.
ELSEWHERE = ["chrt", "--idle", "0"]

STEPS = ("login", "refresh", "logout")


def table(server, password, work, seconds):
    """A row for each step of the others: without an attack, and beside each."""
    guess = work / "guess.json"
    guess.write_text(json.dumps({"username": "ghost", "password": "a guess"}))
    plain, tls = server.ports
    words = {
        "none": None,
        "20 connections of HTTP/2": ["h2load", "-t1", "-c20", "-m100", "-D", seconds, "-d", guess, "-H",
                                     "content-type: application/json", f"https://localhost:{tls}/auth/login"],
        "512 connections of HTTP/1.1": ["wrk", "-t1", "-c512", f"-d{seconds}s", "-s", clients.SCRIPTS / "guess.lua",
                                        f"http://localhost:{plain}/auth/login"],
    }
    rows, quiet = [], {}
    for name, command in words.items():
        attack = command and subprocess.Popen([str(word) for word in ELSEWHERE + command], stdout=subprocess.DEVNULL,
                                              stderr=subprocess.DEVNULL)
        times, failed, most = watch(server, password, seconds)
        if attack:
            attack.wait()
        for step in STEPS:
            p99 = percentile(times[step], 99)
            quiet.setdefault(step, p99)
            rows.append([name, step, str(len(times[step])), str(failed[step]), f"{percentile(times[step], 50):.1f}",
                         f"{p99:.1f}", f"{p99 / quiet[step]:.1f}", f"{max(times[step], default=0):.1f}", f"{most / 1024:.0f}"])
        print(f"{name}: done", file=sys.stderr)
    return markdown(["attack", "others'", "answered", "failed", "p50 in ms", "p99 in ms", "× quiet", "most in ms", "RSS in MiB"], rows)


def watch(server, password, seconds):
    """The others' times in milliseconds and failures, and the most memory meanwhile in KiB."""
    times, failed, most = {step: [] for step in STEPS}, dict.fromkeys(STEPS, 0), 0
    end, number = time.monotonic() + seconds, 0
    done = threading.Event()

    def look():
        nonlocal most
        while not done.wait(0.2):
            most = max(most, server.memory()[0])

    looking = threading.Thread(target=look)
    looking.start()
    try:
        while time.monotonic() < end:
            session(server.ports[0], {"username": f"user{number % USERS}", "password": password}, times, failed)
            number += 1
            time.sleep(PAUSE)
    finally:
        done.set()
        looking.join()
    return times, failed, most


def session(port, login, times, failed):
    """One session, each step on a connection of its own."""
    answer = step(port, "login", "/auth/login", times, failed, body=login)
    answer = answer and step(port, "refresh", "/auth/refresh", times, failed, body={"refresh_token": answer["refresh_token"]})
    if answer:
        step(port, "logout", "/auth/logout", times, failed, headers={"Authorization": f"Bearer {answer['access_token']}"})


def step(port, name, path, times, failed, body=None, headers=None):
    """The answer's JSON; None where it failed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(OTHERS, 0))
    headers = dict(headers or {}, **({"Content-Type": "application/json"} if body else {}))
    begun = time.monotonic()
    try:
        connection.request("POST", path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read()
    except OSError:
        failed[name] += 1
        return None
    finally:
        connection.close()
    if answer.status >= 300:
        failed[name] += 1
        return None
    times[name].append((time.monotonic() - begun) * 1000)
    return json.loads(text) if text else {}


def percentile(values, percent):
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)] if values else float("nan")
