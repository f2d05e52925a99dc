"""Turns the figures of a run into Markdown, and says whether they are good enough."""

import datetime
import os
import pathlib
import platform
import re
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
# Bytes, and cores, of all aegis together.
MOST_MEMORY, MOST_CPU = 1.6e9, 0.5


def reached(options, figures):
    steady = figures["steady"]
    targets = options.instances * (options.services + 1)
    yield f"all {targets} up, all the time", steady["up"] == targets and steady["worst_up"] == 1
    yield "resident memory at most 1.6 GB", figures["memory"]["rss"] <= MOST_MEMORY
    yield "less than half a core", steady["aegis"] / steady["time"] < MOST_CPU
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
    bars = table(["what", "reached"], [(what, "yes" if good else "**no**") for what, good in reached(options, figures)])
    fleet = table(
        ["", f"{hosts} aegis", "each"],
        [
            ("memory, resident (RSS)", f"{memory['rss'] / 1e9:.2f} GB", f"{memory['rss'] / hosts / 1e6:.2f} MB, at most {memory['worst_rss'] / 1e6:.2f}"),
            ("memory, its share (PSS: the program is there once)", f"{memory['pss'] / 1e6:.0f} MB", f"{memory['pss'] / hosts / 1e6:.2f} MB"),
            ("memory before the first scrape (RSS)", f"{figures['idle_memory']['rss'] / 1e9:.2f} GB", f"{figures['idle_memory']['rss'] / hosts / 1e6:.2f} MB"),
            ("processor, scraped", f"{cores['aegis']:.3f} cores", f"{cores['aegis'] / hosts * 1e6:.0f} µs a second"),
            ("processor, not scraped", f"{idle:.4f} cores", f"{idle / hosts * 1e6:.0f} µs a second"),
            ("processor of a scrape, with everything beside it", "", f"{steady['aegis'] / scrapes * 1e6:.0f} µs"),
            ("on the wire, both ways, of a scrape", f"{steady['bytes'] / steady['time'] / 1e6:.2f} MB/s", f"{steady['bytes'] / scrapes / 1e3:.1f} KB"),
            ("connections", f"{figures['connections']:.0f}", f"{figures['connections'] / hosts:.1f}"),
            ("processor of a start", f"{figures['start_cpu']:.2f} s", f"{figures['start_cpu'] / hosts * 1e3:.1f} ms"),
            ("processor of a reload", "", f"{figures['reload'] * 1e3:.2f} ms"),
            ("processor of a connection: handshake and one request", "", f"{figures['handshake'] * 1e3:.2f} ms"),
            (f"processor of a list (`/-/sd`) with {per_host} services", "", f"{figures['list']['cpu'] * 1e6:.0f} µs, {figures['list']['bytes']} bytes"),
            (f"one more service: memory (of {options.many} on one host)", "", f"{figures['crowd']['memory'] / 1e3:.1f} KB"),
            ("one more service: processor of a scrape on an open connection", "", f"{figures['crowd']['scrape'] * 1e6:.0f} µs"),
        ],
    )
    others = table(
        ["beside them", "processor", "memory"],
        [
            (f"Prometheus: {targets} targets, {series:.0f} series", f"{cores['prometheus']:.3f} cores", f"{server / 1e6:.0f} MB, {server / series / 1e3:.1f} KB a series"),
            ("the services, one program", f"{cores['services']:.3f} cores", ""),
        ],
    )
    rotation = table(
        ["renewed everywhere at once", "reloads", f"of {hosts} other connections closed", "new ones of Prometheus", "targets down after it", "processor of all aegis meanwhile"],
        [(row["what"], row["reloads"], row["closed"], f"{row['handshakes']:.0f}", f"{row['down']:.0f}", f"{row['cpu'] / row['seconds']:.3f} cores") for row in figures["rotation"]],
    )
    return "\n\n".join([
        f"{figures['machine']} Steady state of {steady['time']:.0f} s, scraped every {options.interval:g} s; "
        f"all targets were up {figures['all_up_s']:.0f} s after Prometheus was started, all aegis ready {figures['start_s']:.1f} s after the first was.",
        bars, fleet, others, rotation, paper(options, figures),
    ])


# On paper: what nobody measured, and by what rule.
HOSTS_OF_A_PROMETHEUS = 2000
CERTIFICATE_LIFE, RENEWED_AFTER = 24 * 3600, 2 / 3
CONNECTION_AGE, REFRESH = 3600, 30


def paper(options, figures):
    steady, hosts = figures["steady"], options.instances
    per_host = options.services + 1
    connections = figures["connections"] / hosts
    renewed = figures["rotation"][3]["handshakes"] / hosts
    scrape_cpu = steady["aegis"] / (steady["time"] * hosts)
    wire = steady["bytes"] / (steady["time"] * hosts)
    series = figures["series"] / hosts
    sizes = [hosts, 10_000, 1_000_000]
    rule = [
        ("services", lambda n: options.services * n, "{:,.0f}"),
        ("series", lambda n: series * n, "{:,.0f}"),
        (f"Prometheus servers, {HOSTS_OF_A_PROMETHEUS:,} hosts each", lambda n: -(-n // HOSTS_OF_A_PROMETHEUS), "{:,.0f}"),
        ("scrapes a second", lambda n: per_host * n / options.interval, "{:,.0f}"),
        ("on the wire, MB/s", lambda n: wire * n / 1e6, "{:,.1f}"),
        ("processor of all aegis, cores", lambda n: scrape_cpu * n, "{:,.2f}"),
        ("connections", lambda n: connections * n, "{:,.0f}"),
        ("handshakes a second, by `connection_age` of 1 h", lambda n: connections * n / CONNECTION_AGE, "{:,.2f}"),
        ("their processor at all aegis, cores", lambda n: connections * n / CONNECTION_AGE * figures["handshake"], "{:,.4f}"),
        ("handshakes when all Prometheus get a new certificate, once", lambda n: renewed * n, "{:,.0f}"),
        ("lists (`/-/sd`) a second, every 30 s", lambda n: n / REFRESH, "{:,.0f}"),
        ("renewals a second, of certificates that live 24 h and are renewed after 16", lambda n: n / (CERTIFICATE_LIFE * RENEWED_AFTER), "{:,.3f}"),
        ("processor of their reloads, cores", lambda n: n / (CERTIFICATE_LIFE * RENEWED_AFTER) * figures["reload"], "{:,.6f}"),
    ]
    rows = [(what, *(shape.format(count(size)) for size in sizes)) for what, count, shape in rule]
    return table(["", *(f"{size:,} hosts" + (", measured" if size == hosts else ", on paper") for size in sizes)], rows)


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
        f"{system[1] if system else ''}. Others were at work on the machine (load {load:.1f} in the last five minutes)."
    )
