"""Turns the rows of a run into Markdown: the page for operators, and the file of all figures."""

import textwrap

import tables as every
from figures import MAX_FOREIGN_CORES, MIN_ROUNDS, Figures, number, table
from scenarios import NEWEST, NGINX, NGINX_RECONNECTING

BEGIN, END = "<!-- benches/peers/run writes from here -->", "<!-- to here -->"
# The ratios: label, scenario, figure.
COMPARED = [
    ("paced, open connections: CPU", "paced-warm", "cpu_us"),
    ("p50", "paced-warm", "p50_us"),
    ("p99", "paced-warm", "p99_us"),
    ("paced, new connections: CPU", "paced-cold", "cpu_us"),
    ("p50", "paced-cold", "p50_us"),
    ("p99", "paced-cold", "p99_us"),
    ("Prometheus, 100 services at 1 s: CPU", "prometheus-1s", "cpu_us"),
    ("memory", "prometheus-1s", "pss_bytes"),
    ("Prometheus, 100 services at 15 s: CPU", "prometheus-15s", "cpu_us"),
    ("memory", "prometheus-15s", "pss_bytes"),
    ("500 reconnect: until all are served", "herd", "all_ms"),
    ("the longest wait", "herd", "wait_max_ms"),
    ("full speed, new connections: CPU", "cold-l10k", "cpu_us"),
    ("full speed, one connection: CPU", "keep-l10k", "cpu_us"),
    ("full speed, 32 connections: CPU", "keep32-l10k", "cpu_us"),
    ("1 MiB: CPU", "keep-l1m", "cpu_ms_gib"),
    ("1 MiB in chunks: CPU", "keep-c1m", "cpu_ms_gib"),
    ("20 MiB: CPU", "keep-l20m", "cpu_ms_gib"),
    ("20 MiB in chunks: CPU", "keep-c20m", "cpu_ms_gib"),
    ("idle memory", "life", "idle_bytes"),
    ("memory of an idle connection", "life", "connection_bytes"),
    ("memory of 8 × 20 MiB", "peak-l20m", "peak_bytes"),
    ("start to first scrape", "life", "start_ms"),
]


def page(result):
    """What docs/performance.md has between its markers."""
    figures = Figures(result)
    parts = [
        about(result, timed(result)),
        "## What aegis costs\n\n" + costs(figures),
        "## Limits\n\n" + limits(figures),
        "## aegis divided by each peer\n\n" + ratios(figures),
    ]
    return "\n\n".join(parts) + "\n"


def tables(result):
    """The file of all figures."""
    text = (
        "# All figures of the comparison\n\n"
        "`benches/peers/run --write` writes this file. [README.md](README.md) has the method,\n"
        "[performance.md](../../docs/performance.md) the summary. Each cell is a median (minimum…maximum) over the rounds.\n\n"
    )
    return text + about(result, timed(result)) + "\n\n" + every.tables(Figures(result), result)


def timed(result):
    return [row for row in result["rows"] if "disturbed" in row and not {"error", "peak_bytes", "start_ms"} & row.keys()]


def about(result, measured):
    machine, options = result["machine"], result["options"]
    dropped = sum(1 for row in measured if row["disturbed"])
    lines = []
    if options["quick"]:
        lines.append("**A quick run: these figures are meaningless.**\n")
    elif options["foreign"] > MAX_FOREIGN_CORES or options["rounds"] < MIN_ROUNDS or dropped > len(measured) / 20:
        lines.append("**Few rounds, or other load on the machine: repeat this run.**\n")
    lines.append(
        f"{machine['date']}, aegis at {machine['commit']} ({machine['rustc']}); {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, {machine['system']}. {options['rounds']} interleaved rounds, of a "
        f"newly started program each time. {dropped} of {len(measured)} measurements are left out, because other programs used more "
        f"than {options['foreign']:g} cores at each of {options['tries']} tries."
    )
    if result["missing"]:
        lines.append(f"Not installed, and therefore not compared: {', '.join(result['missing'])}.")
    return "\n".join(lines)


def costs(figures):
    """What an operator pays, beside the newest nginx."""
    names = [peer["name"] for key in ("aegis", NGINX) for peer in figures.peers if peer["key"] == key]
    value = figures.median
    fleet = "prometheus-15s" if value("prometheus-15s", "aegis", "cpu_us") else "prometheus-1s"
    rows = [
        ("a host: memory without connections, MB", "life", "idle_bytes", 1e6, 1),
        ("memory with 100 services of one Prometheus, MB", fleet, "pss_bytes", 1e6, 1),
        ("memory of each open connection (one for each service and Prometheus), KiB", "life", "connection_bytes", 1024, 1),
        ("CPU without connections, µs per second", "idle", "idle_us", 1, 1),
        ("wake-ups without connections, per second", "idle", "wakeups", 1, 2),
        (f"a scrape of 10 KiB by Prometheus ({fleet.partition('-')[2]}), CPU, µs", fleet, "cpu_us", 1, 0),
        ("one service every 15 s, CPU, µs per second", fleet, "cpu_us", 15, 1),
        ("100 services every 15 s, CPU, ‰ of a core", fleet, "cpu_us", 15 / 100 * 1000, 2),
        ("a scrape on a new connection (50 per second), CPU, µs", "paced-cold", "cpu_us", 1, 0),
    ]
    every_key = [key for key in ("aegis", NGINX) if any(peer["key"] == key for peer in figures.peers)]

    def cell(scenario, key, figure, unit, digits):
        measured = value(scenario, key, figure)
        return number(None if measured is None else measured / unit, digits)

    return table(("", *names), [(words, *(cell(s, key, f, u, d) for key in every_key)) for words, s, f, u, d in rows])


def limits(figures):
    """The table of the project's limits."""
    ratio, value = figures.ratio, figures.median
    name = {peer["key"]: peer["name"] for peer in figures.peers}
    best = min((key for key in NEWEST if value("paced-warm", key, "cpu_us")), key=lambda key: value("paced-warm", key, "cpu_us"), default=NGINX)
    scaling = [scaled(figures, key) for key in ("aegis", NGINX)]
    size = next((peer["binary"] for peer in figures.peers if peer["key"] == "aegis"), None)
    per = lambda measured, unit: None if measured is None else measured / unit  # noqa: E731
    nginx, reconnecting = name.get(NGINX, "nginx"), name.get(NGINX_RECONNECTING, "nginx, reconnecting")
    rows = [
        (f"paced, open connections: CPU relative to the best ({name.get(best, best)})", "≤", 1.0, ratio("paced-warm", "cpu_us", best)),
        (f"paced, open connections: p99 relative to {nginx}", "≤", 0.75, ratio("paced-warm", "p99_us", NGINX)),
        (f"paced, new connections: CPU relative to {nginx}", "≤", 0.6, ratio("paced-cold", "cpu_us", NGINX)),
        (f"32 connections at full speed: CPU relative to {reconnecting}", "≤", 1.2, ratio("keep32-l10k", "cpu_us", NGINX_RECONNECTING)),
        (f"Prometheus, 100 services at 1 s: CPU relative to {nginx}", "≤", 1.0, ratio("prometheus-1s", "cpu_us", NGINX)),
        (f"Prometheus, 100 services at 1 s: CPU relative to {reconnecting}", "≤", 0.9, ratio("prometheus-1s", "cpu_us", NGINX_RECONNECTING)),
        ("idle: wake-ups per second", "≤", 0.2, value("idle", "aegis", "wakeups")),
        ("idle: CPU per second, µs", "≤", 10, value("idle", "aegis", "idle_us")),
        (f"500 reconnect: until all are served, relative to {nginx}", "≤", 0.6, ratio("herd", "all_ms", NGINX)),
        (f"500 reconnect: the longest wait, relative to {nginx}", "≤", 0.6, ratio("herd", "wait_max_ms", NGINX)),
        ("500 reconnect: failures", "≤", 0, value("herd", "aegis", "failed")),
        (f"handshakes on two cores by those on one, relative to {nginx}", "≥", 1.0, scaling[0] and scaling[1] and scaling[0] / scaling[1]),
        # No worse than on 2026-11-23, at 53855a9.
        ("1 MiB: CPU, ms per GiB", "≤", 550, value("keep-l1m", "aegis", "cpu_ms_gib")),
        ("20 MiB: CPU, ms per GiB", "≤", 424, value("keep-l20m", "aegis", "cpu_ms_gib")),
        ("idle memory, MB", "≤", 5.45, per(value("life", "aegis", "idle_bytes"), 1e6)),
        ("memory of an idle connection, KiB", "≤", 13.5, per(value("life", "aegis", "connection_bytes"), 1024)),
        ("memory of 8 × 20 MiB above idle, MB", "≤", 1.5, per(value("peak-l20m", "aegis", "peak_bytes"), 1e6)),
        ("start to first scrape, ms", "≤", 5, value("life", "aegis", "start_ms")),
        ("binary, MB", "≤", 8, per(size, 1e6)),
    ]
    return table(("what", "limit", "measured", "reached"), [limit(*row) for row in rows])


def limit(words, sign, bar, measured):
    if measured is None:
        return words, f"{sign} {bar:g}", "", "not measured"
    reached = round(measured, 2) <= bar if sign == "≤" else round(measured, 2) >= bar
    return words, f"{sign} {bar:g}", f"{measured:.2f}", "yes" if reached else "**no**"


def scaled(figures, key):
    one, two = (figures.median(f"storm-{cores}", key, "per_second") for cores in (1, 2))
    return one and two and two / one


def ratios(figures):
    peers = [peer for peer in figures.peers if peer["key"] != "aegis" and not peer["limit"]]
    text = "Medians of the ratios of the rounds. Below 1, aegis needs less.\n\n"
    lines = [
        (words, *(number(figures.ratio(scenario, figure, peer["key"]), 2) for peer in peers)) for words, scenario, figure in COMPARED
    ]
    return text + table(("aegis / …", *(peer["name"] for peer in peers)), [line for line in lines if any(line[1:])])


def summary(result):
    """The section of the README. A test compares its ratios with the page."""
    figures = Figures(result)
    ratio = lambda scenario, figure: f"{figures.ratio(scenario, figure, NGINX):.2f}"  # noqa: E731
    value = lambda figure, unit: figures.median("life", "aegis", figure) / unit  # noqa: E731
    text = (
        f"CPU time of aegis, divided by that of the newest nginx: for 50 scrapes per second, {ratio('paced-cold', 'cpu_us')} on new "
        f"connections (TCP, full mutual TLS, 10 KiB) and {ratio('paced-warm', 'cpu_us')} on open ones; "
        f"{ratio('prometheus-1s', 'cpu_us')} with a real Prometheus and 100 services; {ratio('keep-l1m', 'cpu_ms_gib')} for bodies of "
        f"1 MiB and {ratio('keep-l20m', 'cpu_ms_gib')} for 20 MiB. An idle aegis uses {value('idle_bytes', 1e6):.1f} MB, and "
        f"{value('connection_bytes', 1024):.0f} KiB for each connection; the size of a body hardly matters. "
        "[docs/performance.md](docs/performance.md) has what it costs, the limits and the reasons."
    )
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def write(root, result):
    """Writes the page and the section of the README between their markers, and the file of all figures."""
    between_markers(root / "docs/performance.md", page(result))
    between_markers(root / "README.md", summary(result))
    (root / "benches/peers/figures.md").write_text(tables(result))


def between_markers(document, text):
    before, marked, rest = document.read_text().partition(BEGIN)
    if not marked or END not in rest:
        raise SystemExit(f"{document} does not have the two markers")
    after = rest.partition(END)[2]
    document.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
