"""deploy/helm/tollhouse, with several sets of values."""

import json
import re
import tempfile
import tomllib
import unittest

import consistency
import yaml
from rendering import CHART, ROOT, charted, one, tool

VALUES = ROOT / "tests/kubernetes/values"


def rendered(name: str) -> list[dict]:
    return charted("--values", VALUES / f"{name}.yaml")


class Chart(unittest.TestCase):
    def test_helm_finds_nothing_to_complain_of(self):
        for values in (None, *VALUES.iterdir()):
            tool("helm", "lint", "--strict", CHART, *(["--values", values] if values else []))

    def test_with_every_set_of_values_the_objects_are_valid_and_fit(self):
        for objects in (charted(), *(rendered(values.stem) for values in VALUES.iterdir())):
            consistency.check(objects)

    def test_gateway_toml_arrives_as_it_was_written_and_passes_the_check(self):
        written = yaml.safe_load((VALUES / "everything.yaml").read_text())["config"]
        usual = yaml.safe_load((CHART / "values.yaml").read_text())["config"]

        for objects, text in ((charted(), usual), (rendered("everything"), written)):
            self.assertEqual(one(objects, "ConfigMap")["data"]["gateway.toml"], text)
            consistency.check_configuration(objects, text)

    def test_every_value_is_described_and_has_its_default(self):
        described = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())

        def keys(schema, prefix=""):
            for key, below in schema.get("properties", {}).items():
                yield from keys(below, f"{prefix}{key}.") if "properties" in below else [prefix + key]

        def written(table, prefix=""):
            names = set(keys(described))
            for key, value in table.items():
                path = prefix + key
                yield from [path] if path in names else written(value, f"{path}.")

        self.assertEqual(set(keys(described)) - {"global"}, set(written(values)))

    def test_the_chart_is_of_the_version_of_the_gateway(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]

        self.assertEqual((chart["version"], chart["appVersion"]), (version, version))

    def test_a_changed_configuration_replaces_the_pod_unless_it_shall_not(self):
        def annotations(*words):
            return one(charted(*words), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]

        self.assertNotEqual(annotations(), annotations("--set", "config=[other]"))
        apart = ("--set", "restartOnConfigChange=false")
        self.assertEqual(annotations(*apart), annotations(*apart, "--set", "config=[other]"))

    def test_secrets_and_certificate_are_files_beside_gateway_toml(self):
        pod = one(rendered("everything"), "StatefulSet")["spec"]["template"]["spec"]

        (volume,) = [each for each in pod["volumes"] if each["name"] == "config"]
        self.assertEqual(volume["projected"]["sources"], [
            {"configMap": {"name": "demo-gate"}},
            {"secret": {"name": "gateway-secrets"}},
            {"secret": {"name": "gateway-tls", "items": [
                {"key": "tls.crt", "path": "tls/tls.crt"}, {"key": "tls.key", "path": "tls/tls.key"},
            ]}},
        ])

    def test_the_values_of_the_page_about_load_balancers_are_taken(self):
        page = (ROOT / "docs/behind-a-load-balancer.md").read_text()
        (values,) = re.findall(r"<!-- file: values.yaml -->\n```yaml\n(.*?)```", page, re.DOTALL)
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(values)
            file.flush()
            objects = charted("--values", file.name)

        consistency.check(objects)
        self.assertEqual(one(objects, "Service", "tollhouse")["spec"]["type"], "LoadBalancer")

    def test_without_peers_nobody_reads_the_metrics(self):
        rules = one(rendered("existing"), "NetworkPolicy")["spec"]["ingress"]

        # A rule without peers would let everybody in.
        self.assertEqual([rule["ports"][0]["port"] for rule in rules], ["https"])

    def test_egress_is_closed_but_for_dns_once_a_rule_is_given(self):
        policy = one(rendered("everything"), "NetworkPolicy")["spec"]

        self.assertEqual(policy["policyTypes"], ["Ingress", "Egress"])
        ports = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
        self.assertEqual(ports, [53, 53, 8080])

    def test_the_volume_outlives_the_release_and_is_a_loss_where_there_is_none(self):
        kept = one(charted(), "StatefulSet")["spec"]
        self.assertEqual(kept["persistentVolumeClaimRetentionPolicy"]["whenDeleted"], "Retain")
        self.assertEqual(kept["volumeClaimTemplates"][0]["metadata"]["name"], "state")

        bare = tool("helm", "install", "demo", CHART, "--dry-run=client", "--values", VALUES / "bare.yaml")
        self.assertIn("WARNING: persistence is off", bare)
        usual = tool("helm", "install", "demo", CHART, "--dry-run=client")
        self.assertNotIn("WARNING", usual)


class Refusals(unittest.TestCase):
    def refused(self, *settings: str) -> str:
        words = [word for setting in settings for word in ("--set", setting)]
        return tool("helm", "template", "demo", CHART, *words, fails=True)

    def test_several_pods_would_not_share_sessions(self):
        for setting in ("replicaCount=2", "autoscaling.enabled=true"):
            self.assertIn("a store that they share", self.refused(setting))

    def test_a_certificate_that_gateway_toml_does_not_name_would_not_be_served(self):
        self.assertIn("config does not use it", self.refused("tls.secretName=gateway-tls"))

    def test_a_misspelt_value_would_do_nothing(self):
        for setting, key in (("replicas=1", "replicas"), ("persistence.enable=false", "enable"),
                             ("tls.secret=x", "secret"), ("service.type=ExternalName", "type")):
            self.assertIn(key, self.refused(setting))


if __name__ == "__main__":
    unittest.main()
