"""Reads rendered Kubernetes manifests, for .ci/kubernetes.

    manifests.py check FILE LEVEL        custom resources, references, Pod Security; LEVEL is what the namespace enforces
    manifests.py core FILE               those that Kubernetes itself knows, for kubernetes-validate
    manifests.py pod FILE FOLDER IMAGE   arguments of `podman run` that make the container named aegis
    manifests.py config FILE             the aegis.toml of the ConfigMap
    manifests.py probes FILE             the commands of the two probes
    manifests.py mode FILE               the mode of the Secret's files
    manifests.py scrape FILE PKI TARGET  a configuration of Prometheus that does what the PodMonitors say
"""

import json
import sys
import tomllib

import yaml

RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def load(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def of(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def workload(documents):
    (found,) = of(documents, "DaemonSet", "Deployment")
    return found["spec"]["template"]["spec"]


def is_custom(document):
    return document["apiVersion"].split("/")[0] in ("cert-manager.io", "monitoring.coreos.com")


def need(holds, message):
    if not holds:
        sys.exit(f"{sys.argv[2]}: {message}")


def custom(document):
    """Parses it as the type of its published definition. Anything that gets lost is not a field of it."""
    from cloudcoil.models.cert_manager import v1 as cert_manager
    from cloudcoil.models.prometheus_operator import v1, v1alpha1

    types = {"cert-manager.io/v1": cert_manager, "monitoring.coreos.com/v1": v1, "monitoring.coreos.com/v1alpha1": v1alpha1}
    model = getattr(types[document["apiVersion"]], document["kind"])
    read = json.loads(model.model_validate(document).model_dump_json(by_alias=True, exclude_unset=True))
    lost = list(difference(document, read, document["kind"]))
    need(not lost, f"no such fields: {lost}")


def difference(given, read, path):
    if isinstance(given, dict):
        for key, value in given.items():
            if key in read:
                yield from difference(value, read[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(given, list):
        for index, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from difference(one, other, f"{path}[{index}]")


def violations(pod):
    """The violations of the level restricted (kubernetes.io, Pod Security Standards), which includes baseline."""
    security = pod.get("securityContext", {})
    for host in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(host):
            yield host
    for volume in pod["volumes"]:
        yield from sorted(set(volume) - {"name"} - RESTRICTED_VOLUMES)
    for container in pod.get("initContainers", []) + pod["containers"]:
        own = container.get("securityContext", {})
        name = container["name"]
        if own.get("privileged") or own.get("procMount", "Default") != "Default":
            yield f"{name}: privileged or procMount"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation"
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            yield f"{name}: capabilities"
        if own.get("runAsNonRoot", security.get("runAsNonRoot")) is not True:
            yield f"{name}: runAsNonRoot"
        if own.get("runAsUser", security.get("runAsUser")) == 0:
            yield f"{name}: runAsUser"
        profile = own.get("seccompProfile", security.get("seccompProfile", {}))
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name}: seccompProfile"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{name}: hostPort"
        # A rule of ours, not of the Pod Security level.
        need(own.get("readOnlyRootFilesystem") is True, f"{name} can write to its root")
        need("memory" in container.get("resources", {}).get("limits", {}), f"{name} has no bound on memory")


def references(documents):
    pod = workload(documents)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    maps = {document["metadata"]["name"]: document["data"] for document in of(documents, "ConfigMap")}
    certificates = {document["spec"]["secretName"]: document["spec"] for document in of(documents, "Certificate")}
    for container in pod.get("initContainers", []) + pod["containers"]:
        for mount in container["volumeMounts"]:
            need(mount["name"] in volumes, f"no volume {mount['name']}")
            need("subPath" not in mount, f"{mount['name']} would not follow a change")
    for volume in volumes.values():
        if "configMap" in volume:
            need(volume["configMap"]["name"] in maps, f"no ConfigMap for {volume['name']}")
        if "secret" in volume:
            need(volume["secret"]["secretName"] in certificates, f"no Certificate for {volume['name']}")
    issuers = {document["metadata"]["name"] for document in of(documents, "Issuer")}
    need(all(spec["issuerRef"]["name"] in issuers for spec in certificates.values()), "a Certificate without its Issuer")

    config = tomllib.loads(maps["aegis"]["aegis.toml"])
    granted = {service for entry in config["allow"] for service in entry["services"]}
    admitted = {identity for entry in config["allow"] for identity in entry["identities"]}
    ports = {port["name"]: port["containerPort"] for port in aegis_of(pod)["ports"]}
    need(config["listen"] == [f"{all_of}:{ports['scrapes']}" for all_of in ("0.0.0.0", "[::]")], "aegis listens elsewhere")
    (template,) = [document["spec"]["template"]["metadata"]["labels"] for document in of(documents, "DaemonSet", "Deployment")]
    for monitor in of(documents, "PodMonitor"):
        need(monitor["spec"]["selector"]["matchLabels"] == template, "a PodMonitor of other pods")
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            need(endpoint["port"] in ports, "a PodMonitor asks at another port")
            need(endpoint["path"].removeprefix("/") in granted, f"{endpoint['path']} is granted to no scraper")
            tls = endpoint.get("tlsConfig")
            need(tls or monitor["spec"].get("scrapeClass"), "a PodMonitor without certificates")
            if tls:
                client, server = certificates[tls["keySecret"]["name"]], certificates["aegis-server"]
                need(tls["serverName"] in server["dnsNames"], "the server has another name")
                need(f"dns:{client['dnsNames'][0]}" in admitted, "the scraper has another name")
                need("server auth" in server["usages"] and "client auth" in client["usages"], "usages")
    (policy,) = of(documents, "NetworkPolicy")
    need(policy["spec"]["podSelector"]["matchLabels"] == template, "the NetworkPolicy is for other pods")
    (ingress,) = policy["spec"]["ingress"]
    (source,) = ingress["from"]
    # Kustomize's labels with includeSelectors would write our own label here.
    need(source["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}, "the NetworkPolicy does not let Prometheus in")
    need(ingress["ports"] == [{"protocol": "TCP", "port": "scrapes"}], "the NetworkPolicy opens other ports")


def check(path, level):
    documents = load(path)
    for document in filter(is_custom, documents):
        custom(document)
    references(documents)
    (namespace,) = of(documents, "Namespace")
    need(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == level, f"the namespace does not enforce {level}")
    need(all(document["metadata"].get("namespace", namespace["metadata"]["name"]) == namespace["metadata"]["name"] for document in documents), "two namespaces")
    found = list(violations(workload(documents)))
    expected = {"restricted": [], "privileged": ["hostPath"]}[level]
    need(found == expected, f"breaks the level restricted by {found}, not by {expected}")
    kinds = [document["kind"] for document in documents]
    print(f"{path}: {len(kinds)} resources, {len(list(filter(is_custom, documents)))} custom; breaks restricted by: {', '.join(found) or 'nothing'}")


def core(path):
    print(yaml.safe_dump_all([document for document in load(path) if not is_custom(document)]))


def aegis_of(pod):
    (container,) = [container for container in pod["containers"] if container["name"] == "aegis"]
    return container


def config(path):
    (data,) = [document["data"] for document in of(load(path), "ConfigMap") if document["metadata"]["name"] == "aegis"]
    print(data["aegis.toml"])


def probes(path):
    container = aegis_of(workload(load(path)))
    for probe in ("livenessProbe", "readinessProbe"):
        print(*container[probe]["exec"]["command"])


def mode(path):
    (secret,) = [volume["secret"] for volume in workload(load(path))["volumes"] if "secret" in volume]
    print(f"{secret.get('defaultMode', 0o644):04o}")


def pod(path, folder, image):
    spec = workload(load(path))
    container = aegis_of(spec)
    context = spec["securityContext"] | container["securityContext"]
    need(context["seccompProfile"] == {"type": "RuntimeDefault"}, "another seccomp profile")
    arguments = [f"--user={context['runAsUser']}:{context['runAsGroup']}"]
    groups = context.get("supplementalGroups", []) + ([context["fsGroup"]] if "fsGroup" in context else [])
    arguments += [f"--group-add={group}" for group in groups]
    if context.get("readOnlyRootFilesystem"):
        arguments.append("--read-only")
    if context.get("allowPrivilegeEscalation") is False:
        arguments.append("--security-opt=no-new-privileges")
    arguments += [f"--cap-drop={capability}" for capability in context["capabilities"]["drop"]]
    for mount in container["volumeMounts"]:
        access = ":ro" if mount.get("readOnly") else ""
        arguments.append(f"--volume={folder}/{mount['name']}:{mount['mountPath']}{access}")
    print(*arguments, image, *container["args"], sep="\n")


def scrape(path, pki, target):
    jobs = []
    for monitor in of(load(path), "PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
            tls = {"ca_file": f"{pki}/ca.pem", "cert_file": f"{pki}/prometheus.pem", "key_file": f"{pki}/prometheus.key"}
            found = {"__meta_kubernetes_pod_node_name": "worker-1", "__meta_kubernetes_pod_name": "pod-1"}
            jobs.append({
                "job_name": f"{monitor['metadata']['name']}{endpoint['path']}",
                "scheme": endpoint["scheme"],
                "metrics_path": endpoint["path"],
                "tls_config": tls | {"server_name": endpoint["tlsConfig"]["serverName"]},
                "static_configs": [{"targets": [target], "labels": found}],
                "relabel_configs": [{names.get(key, key): value for key, value in rule.items()} for rule in endpoint["relabelings"]],
            })
    print(yaml.safe_dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}))


if __name__ == "__main__":
    commands = (check, core, pod, config, probes, mode, scrape)
    {command.__name__: command for command in commands}[sys.argv[1]](*sys.argv[2:])
