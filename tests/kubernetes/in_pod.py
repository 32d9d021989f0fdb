"""The gateway as the rendered pod would run it, with what Kubernetes does to files around it.

Started by `run` in namespaces of its own. The container's root is read-only; its user, group and
capabilities are those of the pod; the volume `config` has the links that the kubelet swaps when a Secret
changes; the volume `state` belongs to root and is open to the group, as `fsGroup` makes it. The kernel,
the network of a cluster and the image are not Kubernetes' own.
"""

import array
import fcntl
import json
import os
import pathlib
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import consistency
from rendering import BASE, TOLLHOUSE, kustomized, one

PATIENCE = 30
# What the sample of a pod's gateway.toml says beside its comments.
SELF_SIGNED = 'self_signed = ["tollhouse", "localhost"]'
FROM_SECRET = 'certificates = [{ chain = "tls/tls.crt", key = "tls/tls.key" }]\naccept = ["readable_secret"]'


def setUpModule() -> None:
    """The loopback interface of a new network namespace is down."""
    with socket.socket() as any_socket:
        up = struct.pack("16sh14x", b"lo", 0x1)  # IFF_UP
        fcntl.ioctl(any_socket, 0x8914, array.array("b", up))  # SIOCSIFFLAGS


def mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


class ConfigVolume:
    """A projected volume as the kubelet writes it: links to `..data`, itself a link to the newest folder."""

    def __init__(self, folder: pathlib.Path, text: str):
        self.folder, self.text, self.count = folder, text, 0
        self.update("old.example.com")
        for name in os.listdir(folder / "..data"):
            (folder / name).symlink_to(f"..data/{name}")

    def update(self, name: str) -> None:
        """Writes everything anew, with a certificate for `name`, and swaps it in at once."""
        self.count += 1
        fresh = self.folder / f"..{self.count}"
        fresh.mkdir()
        (fresh / "gateway.toml").write_text(self.text)
        (fresh / "tls").mkdir()
        consistency.certificate(fresh / "tls/tls.crt", fresh / "tls/tls.key", name)
        for path in fresh.rglob("*"):
            os.chown(path, 0, 65532)
            path.chmod(0o440 if path.is_file() else 0o2755)
        (self.folder / "..tmp").symlink_to(fresh.name)
        (self.folder / "..tmp").rename(self.folder / "..data")


class Pod:
    """The container of the kustomize base, with a root of its own."""

    def __init__(self, folder: pathlib.Path, change: tuple[str, str] = ("", "")):
        rendered = kustomized(BASE)
        self.spec = one(rendered, "StatefulSet")["spec"]["template"]["spec"]
        self.container = self.spec["containers"][0]
        text = one(rendered, "ConfigMap")["data"]["gateway.toml"]
        assert change[0] in text, change
        self.log, self.root = folder / "log", folder / "root"
        config, state = folder / "config", folder / "state"
        for path in (config, state, self.root / "usr"):
            path.mkdir(parents=True)
        self.config = ConfigVolume(config, text.replace(*change))
        self.state = state / "state"
        os.chown(state, 0, self.spec["securityContext"]["fsGroup"])
        state.chmod(0o2775)
        # The program of a test build is linked to the machine's libraries.
        for name in ("lib", "lib64"):
            if pathlib.Path("/", name).is_symlink():
                (self.root / name).symlink_to(f"usr/{name}")
        shutil.copy(TOLLHOUSE, self.root / "tollhouse")
        places = {each["name"]: each["mountPath"] for each in self.container["volumeMounts"]}
        self.mounts = [(config, places["config"], "ro"), (state, places["state"], "rw"), ("/usr", "/usr", "ro")]
        for _, place, _ in self.mounts:
            (self.root / place.strip("/")).mkdir(parents=True, exist_ok=True)
        mount("--bind", self.root, self.root)
        mount("-o", "remount,bind,ro", self.root)
        for source, place, mode in self.mounts:
            target = self.root / place.strip("/")
            mount("--bind", source, target)
            mount("-o", f"remount,bind,{mode}", target)
        self.process = None

    def command(self, *words: str) -> list[str]:
        """A command in the container, as its user and without capabilities."""
        ids = self.spec["securityContext"]
        confined = [
            f"--reuid={ids['runAsUser']}", f"--regid={ids['runAsGroup']}", f"--groups={ids['fsGroup']}",
            "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs",
        ]
        return ["/usr/sbin/chroot", str(self.root), "/usr/bin/setpriv", *confined, "/tollhouse", *words]

    def environment(self) -> dict:
        return {each["name"]: each["value"] for each in self.container["env"]}

    def start(self) -> None:
        with self.log.open("a") as log:
            words = self.command(*self.container["args"])
            self.process = subprocess.Popen(words, env=self.environment(), stdout=log, stderr=log)
        self.until(lambda: self.probe("startupProbe") == 200, "started")

    def stop(self) -> int:
        """The status with which the pod ends when it is told to, within its grace."""
        self.process.terminate()
        return self.process.wait(self.spec["terminationGracePeriodSeconds"])

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def execute(self, *words: str, given: str = "") -> str:
        done = subprocess.run(
            self.command(*words), env=self.environment(), input=given, capture_output=True, text=True
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def probe(self, name: str) -> int:
        """The status that the kubelet would get, 0 without an answer."""
        asked = self.container[name]["httpGet"]
        url = f"http://127.0.0.1:{self.port(asked['port'])}{asked['path']}"
        try:
            return urllib.request.urlopen(url, timeout=5).status
        except urllib.error.HTTPError as answer:
            return answer.code
        except OSError:
            return 0

    def port(self, name: str) -> int:
        (port,) = [each for each in self.container["ports"] if each["name"] == name]
        return port["containerPort"]

    def certificate_name(self) -> str:
        """The name in the certificate that is served."""
        pem = ssl.get_server_certificate(("127.0.0.1", self.port("https")))
        words = ["openssl", "x509", "-noout", "-subject"]
        return subprocess.run(words, input=pem, capture_output=True, text=True, check=True).stdout

    def call(self, path: str, body: dict | None = None, token: str = "") -> dict:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = json.dumps(body).encode() if body else None
        url = f"https://127.0.0.1:{self.port('https')}{path}"
        request = urllib.request.Request(url, data, headers)
        unverified = ssl._create_unverified_context()
        with urllib.request.urlopen(request, timeout=PATIENCE, context=unverified) as answer:
            return json.load(answer)

    def log_in(self, login: dict) -> str:
        """An access token; a new password counts some seconds after it was set."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self.call("/auth/login", login)["access_token"]
            except urllib.error.HTTPError as answer:
                if answer.code != 401 or time.monotonic() > end:
                    raise
            # Ten wrong attempts would lock the account.
            time.sleep(3)

    def until(self, condition, what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            ended = self.process.poll()
            if ended is not None or time.monotonic() > end:
                raise AssertionError(f"not {what}, ended with {ended}: {self.log.read_text()}")
            time.sleep(0.1)

    def warnings(self) -> list[str]:
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if json.loads(line).get("level") in ("WARN", "ERROR")]


class InPod(unittest.TestCase):
    def pod(self, *words) -> Pod:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        pod = Pod(pathlib.Path(folder.name), *words)
        self.addCleanup(subprocess.run, ["umount", "--recursive", pod.root], check=True)
        self.addCleanup(pod.kill)
        return pod

    def test_the_pod_starts_serves_and_finds_its_sessions_after_a_restart(self):
        pod = self.pod()
        pod.start()
        self.assertEqual([pod.probe("livenessProbe"), pod.probe("readinessProbe")], [200, 200])
        pod.execute("healthcheck")
        pod.execute("user", "passwd", "admin", given="a password of mine\n")
        pod.execute("reload")

        login = {"username": "admin", "password": "a password of mine"}
        token = pod.log_in(login)
        self.assertEqual(pod.call("/hello", token=token)["path"], "/hello")
        # The volume is open to its group; the folder in it is not.
        self.assertEqual(pod.state.stat().st_mode & 0o777, 0o700)

        self.assertEqual(pod.stop(), 0, pod.log.read_text())
        pod.start()
        self.assertEqual(pod.call("/hello", token=token)["path"], "/hello")
        self.assertEqual(pod.stop(), 0)
        self.assertEqual(pod.warnings(), [])

    def test_a_certificate_that_the_kubelet_swaps_in_is_served(self):
        pod = self.pod((SELF_SIGNED, FROM_SECRET))
        pod.start()
        self.assertIn("old.example.com", pod.certificate_name())

        pod.config.update("new.example.com")

        pod.until(lambda: "new.example.com" in pod.certificate_name(), "renewed")
        self.assertEqual(pod.warnings(), [])


if __name__ == "__main__":
    unittest.main()
