"""What deploy/build makes, for the other parts: by default around a debug binary, since a release takes
a quarter of an hour to build."""

import json
import os
import pathlib
import tarfile

from shell import ROOT, WORK, check, run

# An image is fetched by every node: this much at most (release builds).
IMAGE_LIMIT = 30_000_000


class Artefacts:
    def __init__(self, version, folder, next_folder):
        self.version, self.release = version, False
        self.package = folder / f"tollhouse_{version}-1_amd64.deb"
        self.next_package = next_folder / f"tollhouse_{version}-2_amd64.deb"
        self.rpm = folder / f"tollhouse-{version}-1.x86_64.rpm"
        self.image = folder / f"tollhouse-{version}-x86_64.oci.tar"
        self.sbom = folder / f"tollhouse-{version}-x86_64.cdx.json"


def make(release):
    """Builds around the debug binary, or takes what was published in the folder `release`. The package
    of the upgrade is another revision around the same binary."""
    text = run(["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"], cwd=ROOT)
    version = next(package["version"] for package in json.loads(text)["packages"] if package["name"] == "tollhouse")
    folder = pathlib.Path(release) if release else WORK / "published"
    artefacts = Artefacts(version, folder, WORK / "next")
    if release:
        artefacts.release, binary = True, WORK / "tollhouse"
        with tarfile.open(folder / f"tollhouse-{version}-x86_64.tar.gz") as archive:
            member = next(member for member in archive.getmembers() if member.name.endswith("/tollhouse"))
            binary.write_bytes(archive.extractfile(member).read())
        binary.chmod(0o755)
    else:
        run(["cargo", "build", "--locked"], cwd=ROOT, timeout=1800)
        binary = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/tollhouse"
        deploy(["--only", "deb,rpm,image,sbom", "--out", folder, "--binary", binary])
    deploy(["--only", "deb", "--revision", "2", "--out", artefacts.next_package.parent, "--binary", binary])
    check_sums(artefacts)
    check_sbom(artefacts)
    check_rpm(artefacts)
    return artefacts


def deploy(options):
    run([ROOT / "deploy/build", *options], timeout=1800)


def check_sums(artefacts):
    run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=artefacts.package.parent)


def check_sbom(artefacts):
    """It names what is linked, and not what only tests and builds need."""
    bill = json.loads(artefacts.sbom.read_text())
    known = {component["bom-ref"] for component in bill["components"]}
    known.add(bill["metadata"]["component"]["bom-ref"])
    for entry in bill["dependencies"]:
        check(entry["ref"] in known and known.issuperset(entry["dependsOn"]), f"a reference to nothing: {entry}")
    names = {reference.split("/")[1].split("@")[0] for reference in known}
    check(names >= {"tollhouse", "tollhouse-store", "tokio", "rustls", "aws-lc-sys", "libsqlite3-sys"}, str(names))
    check(not names & {"tonic", "criterion", "proptest", "cc", "serde_derive", "ring"}, str(names))


def check_rpm(artefacts):
    listing = run(["rpm", "-qp", "--nosignature", "--qf", "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]", artefacts.rpm])
    for line in ("-rwxr-xr-x root root /usr/bin/tollhouse", "-rw-r----- root tollhouse /etc/tollhouse/gateway.toml",
                 "-rw-r--r-- root root /usr/lib/systemd/system/tollhouse.service",
                 "-rw-r--r-- root root /usr/share/man/man5/gateway.toml.5.gz"):
        check(line in listing.splitlines(), f"{line} is not in the .rpm:\n{listing}")
    check("/etc/tollhouse/gateway.toml" in run(["rpm", "-qpc", "--nosignature", artefacts.rpm]), "gateway.toml is no configuration of the .rpm")
