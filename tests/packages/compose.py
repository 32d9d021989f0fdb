"""The compose file, brought up as it stands, and logins through it.

Registries are not reached from everywhere, so the images of PostgreSQL and Python are stood in for by
one that is made of Debian's packages of them; deploy/compose.yaml takes their names from variables.
"""

import json
import os
import socket

import roots
from podman import attempt, podman, prepare
from shell import ROOT, as_root, check, run, step, until

IMAGE = "localhost/tollhouse-test-services"
PROJECT = "tollhouse-test"
PACKAGES = ["postgresql", "python3", "ca-certificates"]
# What the image of PostgreSQL does at its start, as far as the compose file uses it.
ENTRYPOINT = r"""#!/bin/sh
set -e
[ "$1" = postgres ] || exec "$@"
bin=$(echo /usr/lib/postgresql/*/bin) data=/var/lib/postgresql/data
mkdir -p $data /run/postgresql
chown -R postgres: $data /run/postgresql
as() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
if [ ! -s $data/PG_VERSION ]; then
    printf '%s' "$POSTGRES_PASSWORD" >/run/postgresql/password
    chown postgres /run/postgresql/password
    as $bin/initdb -D $data -U "$POSTGRES_USER" --auth-host=scram-sha-256 --pwfile=/run/postgresql/password
    rm /run/postgresql/password
    echo "host all all all scram-sha-256" >>$data/pg_hba.conf
    as $bin/pg_ctl -D $data -w -o "-c listen_addresses=" start
    as createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
    for file in /docker-entrypoint-initdb.d/*.sql; do
        psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$file"
    done
    as $bin/pg_ctl -D $data -w stop
fi
exec setpriv --reuid postgres --regid postgres --init-groups $bin/postgres -D $data -c listen_addresses='*'
"""


def test(artefacts, _arguments):
    step("compose: images that stand in for PostgreSQL and Python", stand_in)
    podman("load", "--input", artefacts.image)
    step("compose: up, and logins through it", lambda: life(artefacts))


def stand_in():
    if attempt("image", "exists", IMAGE).returncode == 0:
        return
    system = roots.debian("bookworm", "services", PACKAGES)
    entrypoint = roots.WORK / "entrypoint"
    entrypoint.write_text(ENTRYPOINT)
    entrypoint.chmod(0o755)
    run(as_root("cp", entrypoint, system / "entrypoint"))
    archive = roots.WORK / "services.tar"
    leave_out = ["./usr/lib/llvm-*", "./usr/share/doc", "./usr/share/locale", "./var/lib/postgresql/*", "./dev"]
    run(as_root("tar", "-C", system, *(f"--exclude={path}" for path in leave_out), "-cf", archive, "."))
    podman("import", "--change", 'ENTRYPOINT ["/entrypoint"]', "--change", 'CMD ["postgres"]', archive, IMAGE)
    run(as_root("rm", archive))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def life(artefacts):
    port = free_port()
    variables = {"TOLLHOUSE_IMAGE": f"localhost/tollhouse:{artefacts.version}", "TOLLHOUSE_PORT": str(port),
                 "POSTGRES_IMAGE": IMAGE, "PYTHON_IMAGE": IMAGE}

    def compose(*words):
        base = ["env", *(f"{name}={value}" for name, value in variables.items()), f"PATH={os.environ['PATH']}",
                "podman-compose", "--podman-path", prepare(), "--project-name", PROJECT, "--file", ROOT / "deploy/compose.yaml"]
        return run(as_root(*map(str, base), *words))

    compose("down", "--volumes")
    try:
        compose("up", "--detach")
        gateway = next(name for name in podman("ps", "--all", "--format", "{{.Names}}").split() if name.startswith(PROJECT) and "gateway" in name)
        until("the gateway is ready", lambda: attempt("exec", gateway, "/tollhouse", "healthcheck").returncode == 0)
        logins(f"https://localhost:{port}")
    except Exception:
        for name in podman("ps", "--all", "--format", "{{.Names}}").split():
            logs = attempt("logs", name)
            print(f"== {name}\n{(logs.stdout + logs.stderr)[-3000:]}")
        raise
    finally:
        compose("down", "--volumes")
        # podman-compose 1.0 leaves it, with its bridge.
        attempt("network", "rm", "--force", f"{PROJECT}_default")


def logins(url):
    """Both users of deploy/compose/users.sql; one may see the prices."""
    for name, password, prices in [("alice", "correct horse battery staple", "200"), ("bob", "tr0ub4dor and three", "403")]:
        body = json.dumps({"username": name, "password": password})

        def login():
            # The database takes a moment to make its files; until then logins are 503.
            return json.loads(curl(f"{url}/auth/login", "-H", "content-type: application/json", "-d", body) or "{}").get("access_token")

        token = until(f"{name} logs in", login)
        bearer = ["-H", f"authorization: Bearer {token}"]
        answer = json.loads(curl(f"{url}/", *bearer))
        check(answer == {"caller": name, "answer": {"shop": "open"}}, str(answer))
        status = curl(f"{url}/prices", *bearer, "-o", "/dev/null", "-w", "%{http_code}")
        check(status == prices, f"{name} gets {status} for the prices")
    status = curl(f"{url}/prices", "-o", "/dev/null", "-w", "%{http_code}")
    check(status == "401", f"nobody gets {status} for the prices")


def curl(*words):
    return run(["curl", "-sk", "--max-time", "30", *words])
