"""The Debian package in a system that systemd boots: installed, started, called, upgraded under load,
removed and purged."""

import json
import pathlib
import re
import subprocess
import sys
import time

from roots import Machine
from shell import check, run, step, until

HERE = pathlib.Path(__file__).resolve().parent

def test(artefacts, arguments):
    step("debian: lintian", lambda: lintian(artefacts.package))
    for release in ["bookworm", "trixie"] if arguments.release else ["bookworm"]:
        session = step(f"debian: a package's life on {release}", lambda release=release: life(artefacts, release))
        if arguments.record and release == "bookworm":
            session.write(arguments.record, artefacts)


def lintian(package):
    found = run(["lintian", "--allow-root", "--no-cfg", "--fail-on", "error,warning", "--tag-display-limit", "0", package])
    check(not re.search(r"^[EW]:", found, re.MULTILINE), found)


class Terminal:
    """Commands of an operator in the system, with what they answered and how long they took."""

    def __init__(self, machine):
        self.machine, self.lines, self.start = machine, [], time.monotonic()

    def section(self, title):
        self.lines.append(("title", title, time.monotonic() - self.start))

    def do(self, command):
        start = time.monotonic()
        output = self.machine.sh(f"{{ {command}\n}} 2>&1")
        output = re.sub(r"^(\(Reading database|debconf: delaying).*\n", "", output, flags=re.MULTILINE)
        self.lines.append(("command", command, output, time.monotonic() - start))
        return output

    def note(self, text):
        self.lines.append(("note", text))

    def write(self, path, artefacts):
        kind = "the release build" if artefacts.release else "a debug build"
        text = [f"# A package's life, as it was run\n\nMade by `tests/packages/run debian --record`, with {kind} of version "
                f"{artefacts.version}, in a\nbare Debian 12 (debootstrap's smallest, and curl) that systemd boots in a container. The "
                "times on the right are\nof that run, on two processors that were busy with other work; secrets are cut.\n"]
        inside = False
        for line in self.lines:
            if inside and line[0] != "command":
                text.append("```\n")
                inside = False
            if line[0] == "title":
                text.append(f"## {line[1]}\n\nAfter {line[2]:.1f} s:\n")
            elif line[0] == "note":
                text.append(f"{line[1]}\n")
            else:
                if not inside:
                    text.append("```text")
                    inside = True
                text.append(f"# {line[1]}    <- {line[3]:.1f} s")
                output = re.sub(r"eyJ[\w.-]{40,}", "eyJ…", line[2].rstrip())
                if output:
                    text.append(output)
        if inside:
            text.append("```\n")
        pathlib.Path(path).write_text("\n".join(text), encoding="utf-8")


def life(artefacts, release):
    with Machine(release) as machine:
        upstream = subprocess.Popen(machine.on_its_network(sys.executable, HERE / "upstream.py", "8080"), stdout=subprocess.PIPE)
        try:
            upstream.stdout.readline()
            return scenario(machine, artefacts)
        except Exception:
            # The journal is gone with the system.
            print(subprocess.run(machine.inside("journalctl", "--no-pager", "-n", "80"), capture_output=True, text=True, check=False).stdout)
            raise
        finally:
            # It reads this to its end; sudo may be between.
            upstream.kill() if not upstream.args[0] == "sudo" else subprocess.run(["sudo", "kill", str(upstream.pid)], check=False)
            upstream.wait()


def scenario(machine, artefacts):
    for package in (artefacts.package, artefacts.next_package):
        machine.put(package, f"/var/tmp/{package.name}")
    before = everything(machine)
    terminal = Terminal(machine)
    install(terminal, artefacts)
    start(terminal)
    token = call(terminal)
    upgrade(terminal, artefacts, token)
    purge(terminal, before)
    return terminal


def install(terminal, artefacts):
    terminal.section("Install")
    terminal.do("ls -sh /var/tmp/*.deb")
    terminal.do(f"apt-get install -y -qq /var/tmp/{artefacts.package.name}")
    check(terminal.do("tollhouse version").startswith(f"tollhouse {artefacts.version} "), "another version")
    listed = terminal.do("ls -l /etc/tollhouse/gateway.toml")
    check(listed.startswith("-rw-r----- 1 root tollhouse "), listed)
    terminal.note("Nothing is started or enabled that nobody has configured:")
    states = terminal.do("systemctl is-enabled tollhouse.service tollhouse.socket || true; systemctl is-active tollhouse.service tollhouse.socket || true")
    check(states.split() == ["disabled", "disabled", "inactive", "inactive"], states)
    sh = terminal.machine.sh
    for page in ("man1/tollhouse.1.gz", "man1/tollhouse-check.1.gz", "man5/gateway.toml.5.gz"):
        sh(f"gzip -t /usr/share/man/{page}")
    sh("test -s /usr/share/bash-completion/completions/tollhouse && test -s /usr/share/zsh/vendor-completions/_tollhouse && test -s /usr/share/fish/vendor_completions.d/tollhouse.fish")
    sh("bash -n /usr/share/bash-completion/completions/tollhouse")


def start(terminal):
    terminal.section("Configure and start")
    # What was installed is right too, although nobody has said what it is for.
    check(terminal.machine.sh("tollhouse check").endswith("ok\n"), "the installed configuration has problems")
    terminal.do("tollhouse init --print --upstream http://127.0.0.1:8080 --dialect native --users file --name localhost \\\n"
                "    --listen fd:https --state /var/lib/tollhouse >/etc/tollhouse/gateway.toml")
    check(terminal.do("tollhouse check").endswith("ok\n"), "what init wrote has problems")
    terminal.do("systemctl enable --now tollhouse.socket tollhouse.service")
    terminal.do("systemctl is-active tollhouse.service tollhouse.socket")
    terminal.do("tollhouse status | head -4")
    terminal.do("systemd-analyze security --no-pager tollhouse.service | tail -1")
    pid = main_pid(terminal.machine)
    status = terminal.machine.sh(f"cat /proc/{pid}/status")
    user = terminal.machine.sh("id -u tollhouse").strip()
    check(re.search(rf"^Uid:\t{user}\t{user}\t", status, re.MULTILINE), "the service is not its user's")
    # CAP_NET_BIND_SERVICE is the tenth.
    check("CapEff:\t0000000000000400" in status and "NoNewPrivs:\t1" in status, status)


def call(terminal):
    terminal.section("Log in and call")
    name = terminal.machine.sh("sed -n 's/^name = \"\\(.*\\)\"/\\1/p' /var/lib/tollhouse/users.toml").split()[0]
    login = terminal.do(
        "curl -sk https://localhost/auth/login -H 'content-type: application/json' "
        f"-d '{{\"username\":\"{name}\",\"password\":\"'$(cat /var/lib/tollhouse/first-password)'\"}}'")
    token = json.loads(login)["access_token"]
    refused = terminal.do("curl -sk https://localhost/orders")
    check("credential_missing" in refused or "missing" in refused, refused)
    answer = terminal.machine.sh(f"curl -sk https://localhost/orders -H 'authorization: Bearer {token}'")
    terminal.lines.append(("command", "curl -sk https://localhost/orders -H \"authorization: Bearer $token\"", answer, 0.0))
    seen = json.loads(answer)
    check(seen["path"] == "/orders" and seen["headers"].get("X-Auth-Username") == name, answer)
    check("Authorization" not in seen["headers"], "the upstream saw the token")
    return token


def upgrade(terminal, artefacts, token):
    machine = terminal.machine
    terminal.section("Upgrade under load")
    machine.sh("echo '# a line of the operator' >>/etc/tollhouse/gateway.toml")
    old = main_pid(machine)
    load = subprocess.Popen(machine.on_its_network(sys.executable, HERE / "load.py", "443"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    load.stdin.write(f"{token}\n")
    load.stdin.flush()
    check(load.stdout.readline() == "going\n", "the load does not go")
    terminal.note("Eight clients call all the time, each request on a new connection:")
    terminal.do(f"apt-get install -y -qq /var/tmp/{artefacts.next_package.name}")
    until("another process serves", lambda: main_pid(machine) not in ("0", old))
    until("it is ready", lambda: machine.sh("tollhouse healthcheck || true") == "ready\n")
    load.stdin.close()
    result = json.loads(load.stdout.read())
    load.wait()
    terminal.note(f"They had {result['answers']} answers, none refused and none failed; the longest took {result['longest']:.1f} s.")
    check(result["failures"] == [] and result["answers"] > 20, str(result))
    check(terminal.do("dpkg-query -W tollhouse").split()[1] == artefacts.next_package.name.split("_")[1], "another version")
    check("of the operator" in machine.sh("cat /etc/tollhouse/gateway.toml"), "the configuration was overwritten")
    listed = machine.sh("ls -l /etc/tollhouse/gateway.toml")
    check(listed.startswith("-rw-r----- 1 root tollhouse "), listed)
    terminal.note("The token from before the upgrade is good after it:")
    status = machine.sh(f"curl -sk -o /dev/null -w '%{{http_code}}' https://localhost/orders -H 'authorization: Bearer {token}'")
    terminal.lines.append(("command", "curl -sk -o /dev/null -w '%{http_code}\\n' https://localhost/orders -H \"authorization: Bearer $token\"", status, 0.0))
    check(status == "200", status)


def purge(terminal, before):
    machine = terminal.machine
    terminal.section("Remove and purge")
    terminal.do("apt-get remove -y -qq tollhouse")
    check(machine.sh("systemctl is-active tollhouse.service tollhouse.socket || true").split() == ["inactive"] * 2, "it runs on")
    check(machine.sh("ls /etc/tollhouse/gateway.toml /var/lib/tollhouse/users.toml").count("\n") == 2, "a removal keeps what is the operator's")
    terminal.do("apt-get purge -y -qq tollhouse")
    left = {path for path in everything(machine) - before if "tollhouse" in path}
    terminal.do("ls -d /etc/tollhouse /var/lib/tollhouse /var/log/tollhouse 2>&1 || true")
    check(not left, f"left behind: {sorted(left)}")
    check(machine.sh("id -u tollhouse").strip().isdigit(), "the user is gone")


def everything(machine):
    """Paths of the whole system, but for what the kernel makes up."""
    return set(machine.sh("find / -xdev -not -path '/root/*' -not -path '/run/*' -not -path '/tmp/*' -not -path '/var/tmp/*' -not -path '/var/log/journal/*' 2>/dev/null").splitlines())


def main_pid(machine):
    return machine.sh("systemctl show -P MainPID tollhouse.service").strip()
