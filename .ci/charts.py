"""Reads what Helm renders and the ScrapeConfigs, for .ci/helm.

    charts.py same BASE CHART        whether a chart has the resources of the kustomize base, except its Namespace
    charts.py custom FILE            custom resources against their published definitions
    charts.py hosts FILE PKI TARGET  a configuration of Prometheus that does what the ScrapeConfigs say
"""

import sys
import tomllib

import yaml
from manifests import custom, is_custom, load, need, of

NAMES = {
    "metricsPath": "metrics_path", "staticConfigs": "static_configs", "httpSDConfigs": "http_sd_configs",
    "refreshInterval": "refresh_interval", "tlsConfig": "tls_config", "relabelings": "relabel_configs",
    "sourceLabels": "source_labels", "targetLabel": "target_label", "serverName": "server_name",
}  # fmt: skip


def by_name(path):
    documents = {}
    for document in load(path):
        name = f"{document['kind']} {document['metadata']['name']}"
        need(name not in documents, f"two of {name}")
        # The text may differ in comments, not in what it says.
        if document["kind"] == "ConfigMap":
            document["data"] = {file: tomllib.loads(text) for file, text in document["data"].items()}
        documents[name] = document
    return documents


def same(base, chart):
    base, chart = by_name(base), by_name(chart)
    base = {name: document for name, document in base.items() if document["kind"] != "Namespace"}
    need(base.keys() == chart.keys(), f"other resources: {sorted(base.keys() ^ chart.keys())}")
    for name, document in base.items():
        need(document == chart[name], f"{name} differs: {document}\n{chart[name]}")
    print(f"{len(base)} resources of the chart are those of the base")


def check_custom(path):
    documents = list(filter(is_custom, load(path)))
    for document in documents:
        custom(document)
    print(f"{path}: {len(documents)} custom resources have only known fields")


def hosts(path, pki, target):
    documents = of(load(path), "ScrapeConfig")
    # By names of keys in the Secret that the document describes.
    files = {"ca.crt": f"{pki}/ca.pem", "tls.crt": f"{pki}/prometheus.pem", "tls.key": f"{pki}/prometheus.key"}

    def convert(value):
        if isinstance(value, list):
            return [convert(each) for each in value]
        if not isinstance(value, dict):
            return value.replace("host-1.example.org:31337", target) if isinstance(value, str) else value
        if "keySecret" in value:
            secrets = (value["ca"]["secret"], value["cert"]["secret"], value["keySecret"])
            need({secret["name"] for secret in secrets} == {"aegis-prometheus"}, "another Secret")
            return dict(zip(("ca_file", "cert_file", "key_file"), (files[secret["key"]] for secret in secrets), strict=True))
        return {NAMES.get(key, key): convert(each) for key, each in value.items()}

    jobs = []
    for document in documents:
        spec = document["spec"]
        # As the operator does: the job's name is a label.
        job = [{"targetLabel": "job", "replacement": spec.pop("jobName")}]
        spec["relabelings"] = job + spec.get("relabelings", [])
        spec["scheme"] = spec.get("scheme", "HTTP").lower()
        jobs.append({"job_name": f"scrapeConfig/{document['metadata']['name']}"} | convert(spec))
    print(yaml.safe_dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}))


if __name__ == "__main__":
    {"same": same, "custom": check_custom, "hosts": hosts}[sys.argv[1]](*sys.argv[2:])
