"""docs/kubernetes.md: its files are rendered and checked, its commands are taken by the programs."""

import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

import consistency
import yaml
from rendering import CHART, ROOT, TOLLHOUSE, charted, kustomized, one, tool

PAGE = (ROOT / "docs/kubernetes.md").read_text()
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]


class Page(unittest.TestCase):
    def test_the_overlay_has_the_configuration_the_image_and_the_monitor_of_its_author(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            # The page's folder and a clone, side by side.
            (folder / "gate").mkdir()
            (folder / "tollhouse").symlink_to(ROOT)
            for name in ("kustomization.yaml", "gateway.toml"):
                (folder / "gate" / name).write_text(FILES[name])
            rendered = kustomized(folder / "gate")

        consistency.check(rendered)
        self.assertEqual(one(rendered, "ConfigMap")["data"]["gateway.toml"], FILES["gateway.toml"])
        consistency.check_configuration(rendered, FILES["gateway.toml"])
        self.assertEqual({each["metadata"]["namespace"] for each in rendered}, {"auth"})
        one(rendered, "ServiceMonitor")
        spec = one(rendered, "StatefulSet")["spec"]["template"]["spec"]
        self.assertTrue(spec["containers"][0]["image"].startswith("registry.example.com/tollhouse:"))

    def test_the_values_for_helm_are_taken_with_the_same_gateway_toml(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for name in ("values.yaml", "gateway.toml"):
                (folder / name).write_text(FILES[name])
            config = f"config={folder}/gateway.toml"
            rendered = charted("--values", folder / "values.yaml", "--set-file", config)

        consistency.check(rendered)
        text = one(rendered, "ConfigMap")["data"]["gateway.toml"]
        self.assertEqual(text, FILES["gateway.toml"])
        consistency.check_configuration(rendered, text)

    def test_every_value_that_the_page_names_exists(self):
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        (table,) = re.findall(r"\| value \|.*?\n\n", PAGE, re.DOTALL)

        for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
            parent = ""
            for name in re.findall(r"`(.+?)`", cell):
                path = f"{parent}{name}" if name.startswith(".") else name
                parent = path.rpartition(".")[0]
                found = values
                for key in path.split("."):
                    self.assertIn(key, found, path)
                    found = found[key]

    def test_every_command_is_one_that_its_program_takes(self):
        checked = set()
        for line in COMMANDS:
            words = shlex.split(line)
            if "--" in words:
                # A command in the pod: the program itself says whether it knows the words.
                inner = words[words.index("--") + 1:]
                self.assertEqual(inner[0], "/tollhouse", line)
                # Help is given only for words that were taken up to it.
                done = subprocess.run([TOLLHOUSE, *inner[1:], "--help"], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, f"{line}: {done.stderr}")
                checked.add("pod")
            elif "create" in words and "secret" in words:
                with tempfile.TemporaryDirectory() as folder:
                    folder = pathlib.Path(folder)
                    consistency.certificate(folder / "fullchain.pem", folder / "privkey.pem")
                    words = [re.sub(r"=(\w+\.pem)$", rf"={folder}/\1", word) for word in words[1:]]
                    made = yaml.safe_load(tool("kubectl", *words, "--dry-run=client", "--output=yaml"))
                self.assertIn(made["metadata"]["name"], ("tollhouse", "tollhouse-tls"))
                self.assertEqual(made["metadata"]["namespace"], "auth")
                checked.add("secret")
            elif words[0] == "helm":
                with tempfile.TemporaryDirectory() as folder:
                    places = {"tollhouse/deploy/helm/tollhouse": str(CHART)}
                    for name, text in FILES.items():
                        (pathlib.Path(folder) / name).write_text(text)
                        places |= {name: f"{folder}/{name}", f"config={name}": f"config={folder}/{name}"}
                    words = [places.get(word, word) for word in words[1:]]
                    self.assertIn("NOTES", tool("helm", *words, "--dry-run=client"))
                checked.add("helm")
        self.assertEqual(checked, {"pod", "secret", "helm"})


if __name__ == "__main__":
    unittest.main()
