"""Reads the configurations of deploy/examples that CI cannot run, for .ci/collectors.

    collectors.py otel FILE   the scrape configuration of a collector, for Prometheus
    collectors.py alloy FILE  a configuration of Prometheus with the values of Alloy's components
"""

import re
import sys
from pathlib import Path

import yaml

TOKEN = re.compile(r'\s*(?://[^\n]*\s*)*(?:("(?:[^"\\\n]|\\.)*")|([A-Za-z_][\w.]*|\d+)|([{}\[\]=,]))')
# The settings of each component and block that Alloy's reference has, as far as the example uses them.
KNOWN = {
    "prometheus.scrape": {"targets", "forward_to", "job_name", "scheme", "tls_config"},
    "discovery.http": {"url", "tls_config"},
    "discovery.relabel": {"targets", "rule"},
    "prometheus.remote_write": {"endpoint"},
    "tls_config": {"ca_file", "cert_file", "key_file", "server_name"},
    "rule": {"source_labels", "target_label"},
    "endpoint": {"url"},
}


class Parser:
    """The syntax of Alloy: blocks, attributes, strings, lists, objects, and names of exports."""

    def __init__(self, text):
        self.tokens, position, text = [], 0, re.sub(r"\s*(?://[^\n]*\s*)*\Z", "", text)
        while position < len(text):
            found = TOKEN.match(text, position)
            if not found:
                sys.exit(f"not Alloy's syntax: {text[position:].splitlines()[0]!r}")
            self.tokens.append(found[1] or found[2] or found[3])
            position = found.end()

    def take(self, expected=None):
        token = self.tokens.pop(0) if self.tokens else "the end"
        if expected and token != expected:
            sys.exit(f"{token!r} in place of {expected!r}")
        return token

    def body(self, name=None, end=None):
        """The blocks and attributes up to `end`: a list for each."""
        content = {}
        while self.tokens and self.tokens[0] != end:
            key = self.take()
            if name and key not in KNOWN[name]:
                sys.exit(f"{name} has no {key}")
            if self.tokens[:1] == ["="]:
                self.take()
                value = self.value()
            else:
                label = self.take()[1:-1] if self.tokens[:1] != ["{"] else None
                self.take("{")
                value = self.body(key, "}") | ({"label": label} if label else {})
                self.take("}")
            content.setdefault(key, []).append(value)
        return content

    def value(self):
        token = self.take()
        if token == "[":
            return self.items("]", self.value)
        if token == "{":
            return dict(self.items("}", lambda: (self.take()[1:-1], self.take("=") and self.value())))
        # Names of exports stay apart from strings.
        return token[1:-1] if token.startswith('"') else (token,)

    def items(self, end, item):
        found = []
        while self.tokens[:1] != [end]:
            found.append(item())
            if self.tokens[:1] != [end]:
                self.take(",")
        self.take(end)
        return found


def alloy(path):
    components = {}
    for kind, blocks in Parser(Path(path).read_text()).body().items():
        for block in blocks:
            components[f"{kind}.{block.pop('label')}"] = {key: values for key, values in block.items()}
    jobs = []
    for name, scrape in components.items():
        if not name.startswith("prometheus.scrape."):
            continue
        (((receiver,),),) = scrape["forward_to"]
        exported(components, receiver, "receiver")
        job = {"job_name": scrape["job_name"][0], "tls_config": tls(scrape)}
        if "scheme" in scrape:
            job["scheme"] = scrape["scheme"][0]
        (targets,) = scrape["targets"]
        if isinstance(targets, tuple):
            relabel = exported(components, targets[0], "output")
            job["relabel_configs"] = relabel["rule"]
            found = exported(components, relabel["targets"][0][0], "targets")
            job["http_sd_configs"] = [{"url": found["url"][0], "tls_config": tls(found)}]
            for rule in job["relabel_configs"]:
                rule.update({key: values[0] for key, values in rule.items()})
        else:
            job["static_configs"] = [{"targets": [target["__address__"] for target in targets]}]
        jobs.append(job)
    print(yaml.safe_dump({"scrape_configs": jobs}))


def exported(components, name, export):
    """The component that exports this."""
    component, _, what = name.rpartition(".")
    if what != export or component not in components:
        sys.exit(f"nothing exports {name}")
    return components[component]


def tls(component):
    return {key: values[0] for key, values in component["tls_config"][0].items()}


def otel(path):
    config = yaml.safe_load(Path(path).read_text())
    for name, pipeline in config["service"]["pipelines"].items():
        for kind in ("receivers", "exporters"):
            missing = set(pipeline[kind]) - set(config[kind])
            if missing:
                sys.exit(f"the pipeline {name} has no {missing}")
    scrapes = yaml.safe_dump(config["receivers"]["prometheus"]["config"])
    if "$" in scrapes:
        sys.exit("the collector replaces $NAME")
    print(scrapes)


if __name__ == "__main__":
    {"otel": otel, "alloy": alloy}[sys.argv[1]](sys.argv[2])
