"""Podman with a storage, a configuration and networks of its own, below target/packages."""

import subprocess

from shell import WORK, as_root, run

FOLDER = WORK / "podman"
# crun wants cgroups of one version, and Podman's own limits need CAP_SYS_RESOURCE: inside of another
# container there is neither.
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "cni"
network_config_dir = "{folder}/networks"
"""
# podman-compose calls it by the name of a program.
WRAPPER = """\
#!/bin/sh
CONTAINERS_CONF={folder}/containers.conf
export CONTAINERS_CONF
exec podman --root {folder}/storage --runroot {folder}/run "$@"
"""


def prepare():
    (FOLDER / "networks").mkdir(parents=True, exist_ok=True)
    (FOLDER / "containers.conf").write_text(CONFIGURATION.format(folder=FOLDER))
    wrapper = FOLDER / "podman"
    wrapper.write_text(WRAPPER.format(folder=FOLDER))
    wrapper.chmod(0o755)
    return wrapper


def podman(*words, **options):
    return run(as_root(prepare(), *words), **options)


def attempt(*words):
    """A command that may fail, such as one that looks or cleans up."""
    return subprocess.run([str(word) for word in as_root(prepare(), *words)], capture_output=True, text=True, check=False)
