"""Judges objects together: do they find each other, is the pod confined, does its configuration fit?"""

import pathlib
import re
import subprocess
import tempfile
import tomllib

from rendering import TOLLHOUSE, check_schema, one

# What the Secrets of the value sets and examples hold besides certificates.
SECRET_FILES = {"mail-password": "not a real one\n", "ldap-password": "not a real one\n"}


def check(rendered: list[dict]) -> None:
    """Fails on whatever is wrong with the rendered objects, except for the configuration's text."""
    for each in rendered:
        check_schema(each)
    pod = one(rendered, "StatefulSet")["spec"]["template"]
    check_references(rendered, pod)
    check_confined(pod["spec"])


def check_references(rendered: list[dict], pod: dict) -> None:
    """Whatever chooses by label chooses the pod, and whatever is named is there."""
    spec, labels = pod["spec"], pod["metadata"]["labels"]
    container = spec["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    services = [each for each in rendered if each["kind"] == "Service"]
    selectors = [one(rendered, "StatefulSet")["spec"]["selector"]["matchLabels"]]
    for service in services:
        selectors.append(service["spec"]["selector"])
        assert all(port["targetPort"] in ports for port in service["spec"]["ports"]), service
    for each in rendered:
        if each["kind"] == "NetworkPolicy":
            selectors.append(each["spec"]["podSelector"]["matchLabels"])
            for rule in each["spec"]["ingress"]:
                assert all(port["port"] in ports for port in rule["ports"]), rule
        if each["kind"] == "PodDisruptionBudget":
            selectors.append(each["spec"]["selector"]["matchLabels"])
        if each["kind"] == "ServiceMonitor":
            wanted = each["spec"]["selector"]["matchLabels"].items()
            (chosen,) = [it for it in services if wanted <= it["metadata"]["labels"].items()]
            names = {port["name"] for port in chosen["spec"]["ports"]}
            assert {endpoint["port"] for endpoint in each["spec"]["endpoints"]} <= names, each
        if each["kind"] == "Ingress":
            for rule in each["spec"]["rules"]:
                for path in rule["http"]["paths"]:
                    backend = path["backend"]["service"]
                    (chosen,) = [it for it in services if it["metadata"]["name"] == backend["name"]]
                    assert backend["port"]["name"] in {port["name"] for port in chosen["spec"]["ports"]}
    for selector in selectors:
        # A selector without labels would choose every pod of the namespace.
        assert selector and selector.items() <= labels.items(), (selector, labels)

    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if "httpGet" in container.get(probe, {}):
            assert container[probe]["httpGet"]["port"] in ports, probe
    named = one(rendered, "StatefulSet")["spec"]
    assert named["serviceName"] in {each["metadata"]["name"] for each in services}, named["serviceName"]
    volumes = {each["name"] for each in spec["volumes"]}
    volumes |= {each["metadata"]["name"] for each in named.get("volumeClaimTemplates", [])}
    assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, volumes


def check_confined(spec: dict) -> None:
    """The profile `restricted` of the Pod Security Standards, and no token for the Kubernetes API."""
    pod, (container,) = spec["securityContext"], spec["containers"]
    own = container["securityContext"]
    assert pod["runAsNonRoot"] is True and pod["runAsUser"] == pod["fsGroup"] == 65532, pod
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, pod
    assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"] is True, own
    assert own["capabilities"] == {"drop": ["ALL"]}, own
    assert spec["automountServiceAccountToken"] is False
    assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert not any("hostPath" in volume for volume in spec["volumes"])


def check_configuration(rendered: list[dict], text: str) -> None:
    """`tollhouse check` says nothing against the file, and its ports and times are those of the pod."""
    config = tomllib.loads(text)
    spec = one(rendered, "StatefulSet")["spec"]["template"]["spec"]
    ports = {port["name"]: port["containerPort"] for port in spec["containers"][0]["ports"]}
    assert config["listener"][0]["address"].endswith(f":{ports['https']}"), ports
    assert config["admin"]["address"].endswith(f":{ports['metrics']}"), ports
    process = config.get("process", {})
    drain = sum(seconds(process.get(key, usual)) for key, usual in
                (("drain_delay", "5s"), ("drain_timeout", "30s")))
    assert drain < spec["terminationGracePeriodSeconds"], drain
    mounts = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert str(pathlib.Path(config["state"]["dir"]).parent) in mounts, config["state"]
    check_text(text, {each["name"] for each in spec["containers"][0]["env"]})


def check_text(text: str, variables: set[str] = frozenset()) -> None:
    """`tollhouse check` passes and has no warning, with the files that a pod has beside gateway.toml."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        lay_out(folder, text)
        environment = {name: "not a real one" for name in variables}
        command = [TOLLHOUSE, "check", "--config", str(folder / "gateway.toml")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "warning" not in said, said


def lay_out(folder: pathlib.Path, text: str) -> None:
    """Writes what the pod's volume `config` holds, with the permissions that it has there."""
    (folder / "tls").mkdir()
    certificate(folder / "tls/tls.crt", folder / "tls/tls.key")
    for name, secret in SECRET_FILES.items():
        (folder / name).write_text(secret)
    (folder / "gateway.toml").write_text(text)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o440)


def certificate(chain: pathlib.Path, key: pathlib.Path, name: str = "gateway.example.com") -> None:
    """Makes a certificate that is signed by its own key."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "30", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    command += ["-out", str(chain), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]
