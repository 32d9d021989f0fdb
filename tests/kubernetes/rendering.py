"""Renders the manifests, and judges single objects. Shared by the tests beside it."""

import os
import pathlib
import subprocess

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = ROOT / "deploy/kubernetes"
CHART = ROOT / "deploy/helm/tollhouse"
TOOLS = pathlib.Path(os.environ["TOOLS"])
TOLLHOUSE = os.environ["TOLLHOUSE"]

# The oldest version that the chart admits, and the newest one whose schemas are published.
VERSIONS = ("1.27", kubernetes_validate.latest_version())


def tool(name: str, *words: object, fails: bool = False) -> str:
    """The output of helm or kubectl; with `fails`, what it said when it refused."""
    environment = os.environ | {"HOME": str(TOOLS), "KUBECONFIG": "/nonexistent"}
    command = [str(TOOLS / "bin" / name), *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    if (done.returncode != 0) != fails:
        raise AssertionError(f"{command} ended with {done.returncode}: {done.stderr}")
    return done.stderr if fails else done.stdout


def objects(text: str) -> list[dict]:
    return [one for one in yaml.safe_load_all(text) if one]


def kustomized(folder: pathlib.Path) -> list[dict]:
    """What `kubectl kustomize` renders of a folder."""
    return objects(tool("kubectl", "kustomize", folder))


def charted(*words: object) -> list[dict]:
    """What `helm template` renders of the chart for a release `demo` in the namespace `auth`."""
    return objects(tool("helm", "template", "demo", CHART, "--namespace", "auth", *words))


def one(rendered: list[dict], kind: str, suffix: str = "") -> dict:
    """The only object of this kind whose name ends so."""
    found = [
        each for each in rendered if each["kind"] == kind and each["metadata"]["name"].endswith(suffix)
    ]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} objects {kind} {suffix}")
    return found[0]


def check_schema(each: dict) -> None:
    """Fails unless the object is what its published schema describes, and has no field beyond that."""
    if each["kind"] == "ServiceMonitor":
        read = ServiceMonitor.model_validate(each)
        # The model leaves out fields that it does not know.
        again = read.model_dump(by_alias=True, exclude_unset=True, mode="json")
        if again != each:
            raise AssertionError(f"unknown fields: {each} became {again}")
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(map(str, error.path))
            name = f"{each['kind']} {each['metadata']['name']}"
            raise AssertionError(f"{name}, Kubernetes {version}: {where}: {error.message}") from error
