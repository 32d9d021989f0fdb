"""deploy/kubernetes: the base as it stands. An overlay of it is in test_page.py."""

import tomllib
import unittest

import consistency
from rendering import BASE, ROOT, charted, kustomized, one


class Base(unittest.TestCase):
    def test_the_base_is_whole(self):
        rendered = kustomized(BASE)

        consistency.check(rendered)
        text = one(rendered, "ConfigMap")["data"]["gateway.toml"]
        consistency.check_configuration(rendered, text)
        kinds = sorted(each["kind"] for each in rendered)
        self.assertEqual(kinds, [
            "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "ServiceAccount",
            "StatefulSet",
        ])

    def test_the_pod_mounts_the_configuration_by_the_name_with_its_hash(self):
        rendered = kustomized(BASE)

        volumes = one(rendered, "StatefulSet")["spec"]["template"]["spec"]["volumes"]
        (sources,) = [each["projected"]["sources"] for each in volumes if each["name"] == "config"]
        name = one(rendered, "ConfigMap")["metadata"]["name"]
        self.assertRegex(name, "^tollhouse-.+")
        self.assertEqual([each["configMap"]["name"] for each in sources if "configMap" in each], [name])

    def test_the_image_is_of_the_version_in_cargo_toml(self):
        rendered = kustomized(BASE)

        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        spec = one(rendered, "StatefulSet")["spec"]["template"]["spec"]
        self.assertEqual(spec["containers"][0]["image"], f"tollhouse:{version}")

    def test_base_and_chart_say_the_same_of_the_gateway(self):
        base, chart = kustomized(BASE), charted()

        texts = [one(each, "ConfigMap")["data"]["gateway.toml"] for each in (base, chart)]
        self.assertEqual(*texts)
        pods = [one(each, "StatefulSet")["spec"]["template"]["spec"] for each in (base, chart)]
        for pod in pods:
            del pod["serviceAccountName"], pod["volumes"]
        self.assertEqual(*pods)


if __name__ == "__main__":
    unittest.main()
