"""Turns the figures of a run into Markdown, and checks them against the limits."""

import datetime
import os
import pathlib
import platform
import re
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
# For all processes of aegis together.
MAX_MEMORY_BYTES, MAX_CORES = 1.6e9, 0.5


def reached(options, figures):
    steady = figures["steady"]
    targets = options.instances * (options.services + 1)
    yield f"all {targets} targets up all the time", steady["up"] == targets and steady["worst_up"] == 1
    yield "resident memory at most 1.6 GB", figures["memory"]["rss"] <= MAX_MEMORY_BYTES
    yield "less than half a core", steady["aegis"] / steady["time"] < MAX_CORES
    yield "a rotation fails no scrape", all(row["down"] == 0 for row in figures["rotation"])
    yield "a rotation closes no connection", all(row["closed"] == 0 for row in figures["rotation"])
    renewed = figures["rotation"][1:3]
    yield "each renewal is in force", all(row["reloads"] >= options.instances for row in renewed)


def markdown(options, figures):
    hosts, per_host = options.instances, options.services
    targets = hosts * (per_host + 1)
    steady, memory = figures["steady"], figures["memory"]
    cores = {name: steady[name] / steady["time"] for name in ("aegis", "prometheus", "services")}
    scrapes = steady["time"] * targets / options.interval
    series, server = figures["series"], figures["prometheus_memory"]["rss"]
    idle = figures["idle"]["aegis"] / figures["idle"]["time"]
    bars = table(["limit", "reached"], [(what, "yes" if good else "**no**") for what, good in reached(options, figures)])
    fleet = table(
        ["", f"{hosts} aegis", "each"],
        [
            ("memory, resident (RSS)", f"{memory['rss'] / 1e9:.2f} GB", f"{memory['rss'] / hosts / 1e6:.2f} MB, at most {memory['worst_rss'] / 1e6:.2f}"),
            ("memory, proportional (PSS: the program counts once)", f"{memory['pss'] / 1e6:.0f} MB", f"{memory['pss'] / hosts / 1e6:.2f} MB"),
            ("memory before the first scrape (RSS)", f"{figures['idle_memory']['rss'] / 1e9:.2f} GB", f"{figures['idle_memory']['rss'] / hosts / 1e6:.2f} MB"),
            ("CPU, scraped", f"{cores['aegis']:.3f} cores", f"{cores['aegis'] / hosts * 1e6:.0f} µs per second"),
            ("CPU, not scraped", f"{idle:.4f} cores", f"{idle / hosts * 1e6:.0f} µs per second"),
            ("CPU time per scrape, with all other work", "", f"{steady['aegis'] / scrapes * 1e6:.0f} µs"),
            ("network traffic per scrape, both directions", f"{steady['bytes'] / steady['time'] / 1e6:.2f} MB/s", f"{steady['bytes'] / scrapes / 1e3:.1f} KB"),
            ("connections", f"{figures['connections']:.0f}", f"{figures['connections'] / hosts:.1f}"),
            ("CPU time of a start", f"{figures['start_cpu']:.2f} s", f"{figures['start_cpu'] / hosts * 1e3:.1f} ms"),
            ("CPU time of a reload", "", f"{figures['reload'] * 1e3:.2f} ms"),
            ("CPU time of a connection: handshake and one request", "", f"{figures['handshake'] * 1e3:.2f} ms"),
            (f"CPU time of a list (`/-/sd`) with {per_host} services", "", f"{figures['list']['cpu'] * 1e6:.0f} µs, {figures['list']['bytes']} bytes"),
            (f"one more service: memory (of {options.many} on one host)", "", f"{figures['many']['memory'] / 1e3:.1f} KB"),
            ("one more service: CPU time per scrape on an open connection", "", f"{figures['many']['scrape'] * 1e6:.0f} µs"),
        ],
    )
    others = table(
        ["other programs", "CPU", "memory"],
        [
            (f"Prometheus: {targets} targets, {series:.0f} series", f"{cores['prometheus']:.3f} cores", f"{server / 1e6:.0f} MB, {server / series / 1e3:.1f} KB per series"),
            ("the services, one program", f"{cores['services']:.3f} cores", ""),
        ],
    )
    rotation = table(
        ["renewed on all hosts at once", "reloads", f"of {hosts} other connections closed", "new connections of Prometheus", "targets down afterwards", "CPU of all aegis meanwhile"],
        [(row["what"], row["reloads"], row["closed"], f"{row['handshakes']:.0f}", f"{row['down']:.0f}", f"{row['cpu'] / row['seconds']:.3f} cores") for row in figures["rotation"]],
    )
    return "\n\n".join([
        f"{figures['machine']} Steady state of {steady['time']:.0f} s, scraped every {options.interval:g} s; "
        f"all targets were up {figures['all_up_s']:.0f} s after the start of Prometheus, and all aegis were ready {figures['start_s']:.1f} s after the start of the first.",
        bars, fleet, others, rotation,
    ])


def table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine(aegis):
    run = lambda *command: subprocess.run(command, capture_output=True, text=True, cwd=HERE).stdout.strip()
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    system = re.search(r'PRETTY_NAME="(.*)"', pathlib.Path("/etc/os-release").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    prometheus = run("prometheus", "--version").split()[2]
    load = os.getloadavg()[1]
    return (
        f"{datetime.date.today()}, aegis {run(aegis, '--version').removeprefix('aegis ')} at {run('git', 'describe', '--always', '--dirty')}, "
        f"Prometheus {prometheus}; {model[1] if model else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, "
        f"{system[1] if system else ''}. Other programs used the machine (load {load:.1f} in the last five minutes)."
    )
