"""The image as it is published: loaded, and run with a read-only root and without any capability."""

import json
import re
import shutil
import subprocess
import sys
import tarfile

from podman import attempt, podman
from published import IMAGE_LIMIT
from shell import ROOT, WORK, as_root, check, run, step, until

HERE = ROOT / "tests/packages"
NAME = "tollhouse-test"
# What makes a container of the image behave; the rest of a configuration is the engine's.
COMPARED = ["User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "StopSignal", "Healthcheck"]


def test(artefacts, _arguments):
    config = step("image: what it holds", lambda: contents(artefacts))
    step("image: the Dockerfile makes the same", lambda: dockerfile(config))
    step("image: read-only, without capabilities, a login and a call", lambda: life(artefacts, config))


def contents(artefacts):
    """The image's configuration, after a look at its files."""
    folder = WORK / "image"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(artefacts.image) as archive:
        def blob(descriptor):
            return archive.extractfile("blobs/" + descriptor["digest"].replace(":", "/"))

        index = json.load(archive.extractfile("index.json"))
        manifest = json.load(blob(index["manifests"][0]))
        config = json.load(blob(manifest["config"]))["config"]
        with tarfile.open(fileobj=blob(manifest["layers"][0]), mode="r:gz") as layer:
            members = layer.getmembers()
            # Nobody but root may own anything, so that a container cannot change its own program.
            for member in members:
                state = member.name == "var/lib/tollhouse"
                check((member.uid, member.gid) == ((65532, 65532) if state else (0, 0)), f"the owner of {member.name}")
                check(member.mode & 0o6022 == 0 or state, f"the mode of {member.name}")
            layer.extractall(folder / "image-root")
    (folder / "image-root/var/lib/tollhouse").chmod(0o755)
    others = sum(member.size for member in members if member.name != "tollhouse")
    check(others < 6_000_000, f"{others} bytes beside the program")
    if artefacts.release:
        whole = sum(member.size for member in members)
        check(whole < IMAGE_LIMIT, f"the image has {whole} bytes")
        print(f"   {whole} bytes, {artefacts.image.stat().st_size} packed")
    return config


def dockerfile(config):
    """The last stage of the Dockerfile around the same files, with an engine's own reading of it."""
    text = (ROOT / "deploy/Dockerfile").read_text()
    last = text[text.index("FROM scratch"):].replace("--from=build ", "").replace("/out/image-root", "image-root")
    (WORK / "image/Dockerfile").write_text(last)
    podman("build", "--quiet", "--format", "docker", "--tag", "localhost/tollhouse-dockerfile", WORK / "image")
    built = json.loads(podman("image", "inspect", "localhost/tollhouse-dockerfile"))[0]
    built = {**built["Config"], "Healthcheck": built["Healthcheck"]}
    for key in COMPARED:
        ours, theirs = config.get(key), built.get(key)
        if key == "Env":
            # The engine adds a PATH, which a program without a shell does not use.
            theirs = [entry for entry in theirs if not entry.startswith("PATH=")]
        check(ours == theirs, f"{key}: deploy/image says {ours}, deploy/Dockerfile {theirs}")
    podman("image", "rm", "localhost/tollhouse-dockerfile")


def life(artefacts, config):
    clean()
    podman("load", "--input", artefacts.image)
    podman("network", "create", NAME)
    network = json.loads(podman("network", "inspect", NAME))[0]
    try:
        run_container(f"localhost/tollhouse:{artefacts.version}", network["subnets"][0]["gateway"], config["Healthcheck"]["Test"][1:])
    except Exception:
        print(attempt("logs", NAME).stderr)
        raise
    finally:
        clean()


def clean():
    for words in (["rm", "--force", NAME], ["volume", "rm", "--force", NAME], ["network", "rm", "--force", NAME]):
        attempt(*words)


def run_container(image, host, healthcheck):
    check(podman("run", "--rm", image, "version").startswith("tollhouse "), "no version")
    upstream = subprocess.Popen([sys.executable, HERE / "upstream.py", "0", "0.0.0.0"], stdout=subprocess.PIPE, text=True)
    try:
        port = upstream.stdout.readline().split()[1]
        config = (ROOT / "deploy/debian/gateway.toml").read_text()
        config = config.replace('"fd:https"', '"0.0.0.0:8443"').replace("http://127.0.0.1:8080", f"http://legacy:{port}")
        (WORK / "image/gateway.toml").write_text("[process]\ndrain_delay = \"0s\"\n" + config)
        (WORK / "image/gateway.toml").chmod(0o644)
        podman("run", "--detach", "--name", NAME, "--network", NAME, "--add-host", f"legacy:{host}",
               # Of an image in the OCI's form Podman takes no health check.
               "--health-cmd", json.dumps(healthcheck), "--health-interval=disable",
               "--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges",
               "--volume", f"{WORK}/image/gateway.toml:/etc/tollhouse/gateway.toml:ro",
               "--volume", f"{NAME}:/var/lib/tollhouse", image)
        until("it is ready", lambda: attempt("exec", NAME, "/tollhouse", "healthcheck").returncode == 0)
        podman("healthcheck", "run", NAME)
        confined()
        token = call(None)
        podman("stop", "--time", "30", NAME)
        code = podman("inspect", "--format", "{{.State.ExitCode}}", NAME).strip()
        check(code == "0", f"it ended with {code}")
        podman("start", NAME)
        until("it is ready again", lambda: attempt("exec", NAME, "/tollhouse", "healthcheck").returncode == 0)
        call(token)
    finally:
        upstream.kill()
        upstream.wait()


def confined():
    pid = podman("inspect", "--format", "{{.State.Pid}}", NAME).strip()
    status = run(as_root("cat", f"/proc/{pid}/status"))
    check(re.search(r"^Uid:\t65532\t65532\t65532\t65532$", status, re.MULTILINE), status)
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"):
        check(line in status, f"{line} is not so:\n{status}")
    mounts = run(as_root("cat", f"/proc/{pid}/mountinfo")).splitlines()
    root = next(line.split() for line in mounts if line.split()[4] == "/")
    check("ro" in root[5].split(","), f"the root can be written to: {root}")


def call(token):
    """Calls with the token, or with that of a login; the upstream's name is one of /etc/hosts."""
    address = podman("inspect", "--format", f'{{{{(index .NetworkSettings.Networks "{NAME}").IPAddress}}}}', NAME).strip()
    base = ["curl", "-sk", "--max-time", "30"]
    if token is None:
        folder = podman("volume", "inspect", "--format", "{{.Mountpoint}}", NAME).strip()
        password = run(as_root("cat", f"{folder}/first-password")).strip()
        login = json.dumps({"username": "admin", "password": password})
        answer = run([*base, f"https://{address}:8443/auth/login", "-H", "content-type: application/json", "-d", login])
        token = json.loads(answer)["access_token"]
    seen = json.loads(run([*base, f"https://{address}:8443/orders", "-H", f"authorization: Bearer {token}"]))
    check(seen["headers"].get("X-Auth-Username") == "admin" and "Authorization" not in seen["headers"], str(seen))
    return token
