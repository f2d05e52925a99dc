"""One measurement of a started peer, by the kind of its scenario. Each returns a row of figures."""

import contextlib
import json
import os
import subprocess
import time
import urllib.request

SERVER_CORE, CLIENT_CORE = 0, 1
# The services of a real Prometheus.
FLEET = tuple(f"l10k-{number:03}" for number in range(100))


def load(bench, peer, scenario, started):
    return figures(json.loads(bench.client(peer, started.place, "load", *load_words(bench, scenario, started))))


def load_words(bench, scenario, started):
    return [
        "--mode", scenario.mode, "--connections", scenario.connections, "--seconds", bench.options.seconds,
        "--server", started.pid, "--service", bench.service_pid,
    ]  # fmt: skip


def storm(bench, peer, scenario, started):
    """Runs everything on one core, or on two, with a client that needs less CPU time than any server."""
    cores = {SERVER_CORE} if scenario.cores == 1 else {SERVER_CORE, CLIENT_CORE}
    os.sched_setaffinity(bench.service_pid, cores)
    try:
        words = [*load_words(bench, scenario, started), "--check", "no"]
        return figures(json.loads(bench.client(peer, started.place, "load", *words, cores=cores)))
    finally:
        os.sched_setaffinity(bench.service_pid, {CLIENT_CORE})


def peak(bench, peer, scenario, started):
    words = [*load_words(bench, scenario, started), "--memory", "yes"]
    loaded = json.loads(bench.client(peer, started.place, "load", *words))
    figures(loaded)
    return {"peak_bytes": loaded["peak_pss"] - loaded["idle_pss"]}


def life(bench, peer, _scenario, started):
    count = bench.options.idle_connections
    held = json.loads(bench.client(peer, started.place, "idle", "--connections", count, "--server", started.pid))
    each = (held["open_pss"] - held["idle_pss"]) / count
    return {"start_ms": started.to_first, "idle_bytes": held["idle_pss"], "connection_bytes": each}


def paced(bench, peer, scenario, started):
    """50 scrapes a second, as Prometheus paces them."""
    words = [
        "--mode", scenario.mode, "--connections", scenario.connections, "--rate", 50, "--seconds", bench.options.paced_seconds,
        "--warm", bench.options.warm_seconds, "--server", started.pid, "--service", bench.service_pid,
    ]  # fmt: skip
    paced = json.loads(bench.client(peer, started.place, "paced", *words))
    if paced["errors"] or not paced["scrapes"]:
        raise ValueError(f"{paced['errors']} scrapes failed: {paced['error']}")
    ours = paced["server_cpu"] + paced["service_cpu"] + paced["client_cpu"]
    return {
        "cpu_us": paced["server_cpu"] / paced["scrapes"] * 1e6,
        "p50_us": paced["p50_ms"] * 1000,
        "p99_us": paced["p99_ms"] * 1000,
        "client_us": paced["client_cpu"] / paced["scrapes"] * 1e6,
        "foreign": (paced["busy"] + paced["steal"] - ours) / paced["seconds"],
        "agreed": paced["agreed"],
    }


def idle(bench, servers):
    """All peers at once, since none of them does anything. A row for each."""
    time.sleep(bench.options.settle_seconds)
    watched = watch(bench, servers, bench.options.idle_seconds)
    seconds = watched["seconds"]
    ours = watched["own_cpu"] + sum(one["cpu"] for one in watched["servers"])
    foreign = (watched["busy"] + watched["steal"] - ours) / seconds
    return [
        {"wakeups": one["switches"] / seconds, "idle_us": one["cpu"] / seconds * 1e6, "foreign": foreign}
        for one in watched["servers"]
    ]


def herd(bench, peer, _scenario, started):
    """Restarts the server below many open connections, and waits until each scraper has its metrics."""
    words = ["--connections", bench.options.herd, "--check", "no", "--service", bench.service_pid]
    client = bench.client(peer, started.place, "herd", *words, wait=False)
    try:
        if client.stdout.readline().strip() != "open":
            raise ValueError("the scrapers did not start")
        stopped = time.monotonic()
        end(started.process)
        stop_ms = (time.monotonic() - stopped) * 1000
        started.process = started.again()
        out, said = client.communicate(f"{started.pid}\n", timeout=60)
    finally:
        end(client)
    if client.returncode:
        raise ValueError(said)
    herd = json.loads(out)
    if herd["unserved"] or herd["failed_before"]:
        raise ValueError(f"{herd['failed_before']} failed before, {herd['unserved']} unserved: {herd['error']}")
    return {
        "all_ms": herd["all_ms"], "wait_p50_ms": herd["p50_ms"], "wait_p99_ms": herd["p99_ms"], "wait_max_ms": herd["max_ms"],
        "failed": herd["failed"], "refused": herd["refused"], "stop_ms": stop_ms, "foreign": herd["foreign_cpu"] / herd["seconds"],
    }  # fmt: skip


def prometheus(bench, _peer, scenario, started):
    """Debian's Prometheus scrapes all services of the fleet."""
    work = started.place.work
    interval = min(scenario.interval, bench.options.longest_interval)
    (work / "prometheus.yml").write_text(prometheus_config(started.place, interval))
    words = ["prometheus", f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data", "--web.listen-address=127.0.0.1:0"]
    with (work / "prometheus.log").open("w") as log:
        process = on(CLIENT_CORE, lambda: subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    try:
        api = Api(wait_for(lambda: logged_address(work / "prometheus.log"), "Prometheus listens"))
        wait_for(lambda: api.up() == len(FLEET), "all targets are up", 60 + 2 * interval)
        time.sleep(bench.options.warm_seconds)
        seconds = max(bench.options.prometheus_seconds, 3 * interval if interval > 1 else 0)
        before = api.scrapes()
        watched = watch(bench, [started.pid], seconds, process.pid, bench.fleet_pid)
        scrapes = api.scrapes() - before
        if api.up() != len(FLEET) or not scrapes:
            raise ValueError(f"{api.up()} of {len(FLEET)} targets are up after {scrapes} scrapes")
    finally:
        end(process)
    server = watched["servers"][0]
    ours = server["cpu"] + watched["client_cpu"] + watched["service_cpu"] + watched["own_cpu"]
    return {
        "cpu_us": server["cpu"] / scrapes * 1e6,
        "cpu_us_per_second": server["cpu"] / watched["seconds"] * 1e6,
        "pss_bytes": server["pss"],
        "per_second": scrapes / watched["seconds"],
        "foreign": (watched["busy"] + watched["steal"] - ours) / watched["seconds"],
    }


def prometheus_config(place, interval):
    targets = "".join(
        f"      - {{targets: ['127.0.0.1:{place.port}'], labels: {{__metrics_path__: /{name}, instance: {name}}}}}\n" for name in FLEET
    )
    files = f"ca_file: {place.pki}/ca.pem, cert_file: {place.pki}/prometheus.pem, key_file: {place.pki}/prometheus.key"
    return (
        f"global: {{scrape_interval: {interval}s, scrape_timeout: {interval}s}}\n"
        "scrape_configs:\n  - job_name: services\n    scheme: https\n"
        f"    tls_config: {{{files}, server_name: localhost}}\n    static_configs:\n{targets}"
    )


def logged_address(log):
    words = [word for line in log.read_text().splitlines() if 'msg="Listening on"' in line for word in line.split()]
    return next((word.partition("=")[2] for word in words if word.startswith("address=")), None)


class Api:
    """What Prometheus knows of its targets."""

    def __init__(self, address):
        self.address = address

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
            return answer.read().decode()

    def up(self):
        try:
            targets = json.loads(self.get("/api/v1/targets?state=active"))["data"]["activeTargets"]
        except OSError:
            return 0
        return sum(target["health"] == "up" for target in targets)

    def scrapes(self):
        """All scrapes after the first of each target."""
        counts = [line for line in self.get("/metrics").splitlines() if line.startswith("prometheus_target_interval_length_seconds_count")]
        return sum(int(float(line.split()[-1])) for line in counts)


def watch(bench, servers, seconds, client=0, service=0):
    words = [
        bench.program, "watch", "--servers", ",".join(map(str, servers)), "--seconds", seconds, "--client", client, "--service", service,
    ]  # fmt: skip
    return json.loads(on(CLIENT_CORE, lambda: run([str(word) for word in words])))


def figures(loaded):
    """The figures of a load for each request and each GiB."""
    if loaded["errors"] or not loaded["requests"]:
        raise ValueError(f"{loaded['errors']} scrapes failed: {loaded['error']}")
    requests, seconds = loaded["requests"], loaded["seconds"]
    ours = loaded["server_cpu"] + loaded["service_cpu"] + loaded["client_cpu"]
    return {
        "cpu_us": loaded["server_cpu"] / requests * 1e6,
        "cpu_ms_gib": loaded["server_cpu"] * 1000 / (loaded["bytes"] / (1 << 30)),
        "p50_us": loaded["p50_us"],
        "p99_us": loaded["p99_us"],
        "per_second": requests / seconds,
        "mb_per_second": loaded["bytes"] / seconds / 1e6,
        "client_us": loaded["client_cpu"] / requests * 1e6,
        "service_us": loaded["service_cpu"] / requests * 1e6,
        "foreign": (loaded["busy"] + loaded["steal"] - ours) / seconds,
        "agreed": loaded["agreed"],
    }


KINDS = {"load": load, "storm": storm, "peak": peak, "life": life, "paced": paced, "herd": herd, "prometheus": prometheus}


def on(cores, act):
    """Keeps the children of this block on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores} if isinstance(cores, int) else cores)
    try:
        return act()
    finally:
        os.sched_setaffinity(0, before)


def run(words):
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=120).stdout


def wait_for(condition, words, seconds=30):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if found := condition():
                return found
        time.sleep(0.1)
    raise ValueError(f"not within {seconds} s: {words}")


def end(process):
    """Ends a process that we started. Each ends its own children."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()
