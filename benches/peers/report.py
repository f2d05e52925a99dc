"""Turns the rows of a run into Markdown."""

from statistics import median

BEGIN, END = "<!-- benches/peers/run writes from here -->", "<!-- to here -->"
LOADS = {
    "cold-l10k": "Cold: TCP, full mutual TLS, 10 KiB with a length",
    "cold-c10k": "Cold: the same, in chunks",
    "keep-l10k": "Keep-alive, one connection, 10 KiB with a length",
    "keep-c10k": "Keep-alive, one connection, 10 KiB in chunks",
    "keep32-l10k": "Keep-alive, 32 connections, 10 KiB with a length",
    "keep32-c10k": "Keep-alive, 32 connections, 10 KiB in chunks",
    "keep-l1m": "Keep-alive, one connection, 1 MiB with a length",
    "keep-c1m": "Keep-alive, one connection, 1 MiB in chunks",
    "keep-l20m": "Keep-alive, one connection, 20 MiB with a length",
    "keep-c20m": "Keep-alive, one connection, 20 MiB in chunks",
}
# The ratios: label, scenario, figure.
COMPARED = [
    ("cold, CPU", "cold-l10k", "cpu_us"),
    ("cold, p50", "cold-l10k", "p50_us"),
    ("keep-alive, CPU", "keep-l10k", "cpu_us"),
    ("keep-alive, p50", "keep-l10k", "p50_us"),
    ("32 connections, CPU", "keep32-l10k", "cpu_us"),
    ("1 MiB, CPU", "keep-l1m", "cpu_ms_gib"),
    ("1 MiB in chunks, CPU", "keep-c1m", "cpu_ms_gib"),
    ("20 MiB, CPU", "keep-l20m", "cpu_ms_gib"),
    ("20 MiB in chunks, CPU", "keep-c20m", "cpu_ms_gib"),
    ("idle memory", "life", "idle_bytes"),
    ("idle connection, memory", "life", "connection_bytes"),
    ("8 × 20 MiB, memory", "peak-l20m", "peak_bytes"),
    ("start to first scrape", "life", "start_ms"),
]
# The requirements of published figures: the maximum of cores used by other programs, and the rounds.
MAX_FOREIGN_CORES, MIN_ROUNDS = 0.04, 5


class Figures:
    """The figures of a run by scenario, peer and round, without disturbed measurements."""

    def __init__(self, result):
        self.rows = result["rows"]
        self.crypto = result["crypto"]
        self.peers = result["peers"]
        # A quick run shows everything, because it tests that all scenarios run.
        self.shows_all = result["options"]["quick"]

    def of(self, scenario, peer, figure):
        """Round to figure. Other load disturbs times, but not memory."""
        return {
            row["round"]: row[figure]
            for row in self.rows
            if (row["scenario"], row["peer"]) == (scenario, peer) and figure in row and self.usable(row)
        }

    def usable(self, row):
        return self.shows_all or not row.get("disturbed")

    def median(self, scenario, peer, figure):
        values = self.of(scenario, peer, figure).values()
        return median(values) if values else None

    def ratio(self, scenario, figure, over, under="aegis"):
        """The median of the ratios of rounds in which both were measured."""
        ours, theirs = self.of(scenario, under, figure), self.of(scenario, over, figure)
        ratios = [ours[number] / theirs[number] for number in ours if theirs.get(number)]
        return median(ratios) if ratios else None

    def why_not(self, scenario, peer):
        for row in self.rows:
            if (row["scenario"], row["peer"]) == (scenario, peer):
                for key in ("unable", "error"):
                    if row.get(key):
                        return row[key]
        return "always disturbed" if any((r["scenario"], r["peer"]) == (scenario, peer) for r in self.rows) else "not run"


def markdown(result):
    figures = Figures(result)
    parts = [about(result), "## Limits of aegis\n\n" + bars(figures), "## aegis divided by each peer\n\n" + ratios(figures)]
    ran = {row["scenario"] for row in result["rows"]}
    for scenario, words in LOADS.items():
        if scenario in ran:
            parts.append(f"## {words}\n\n" + load_table(figures, scenario))
    if "life" in ran:
        parts.append("## Memory, start, size\n\n" + life(figures))
    if "storm-1" in ran:
        parts.append("## Handshakes on one core and on two\n\n" + storm(figures))
    parts += ["## Lower bounds\n\n" + limits(figures), "## Peers\n\n" + took_part(result, figures)]
    return "\n\n".join(parts) + "\n"


def about(result):
    machine, options, rows = result["machine"], result["options"], result["rows"]
    timed = [row for row in rows if "disturbed" in row and "cpu_us" in row]
    dropped = sum(1 for row in timed if row["disturbed"])
    lines = []
    if options["quick"]:
        lines.append("**A quick run: these figures are meaningless.**\n")
    elif options["foreign"] > MAX_FOREIGN_CORES or options["rounds"] < MIN_ROUNDS or dropped > len(timed) / 20:
        lines.append("**Few rounds, or other load on the machine: repeat this run.**\n")
    lines.append(
        f"{machine['date']}, aegis at {machine['commit']} ({machine['rustc']}); {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, {machine['system']}. {options['rounds']} interleaved rounds, each "
        f"measurement of {options['seconds']:g} s by a newly started program. {dropped} of {len(timed)} measurements are left out, "
        f"because other programs used more than {options['foreign']:g} cores at each of {options['tries']} tries."
    )
    if result["missing"]:
        lines.append(f"Not installed, and therefore not compared: {', '.join(result['missing'])}.")
    return "\n".join(lines)


def bars(figures):
    """The table of the project's limits."""
    ratio, value = figures.ratio, figures.median
    relayed = value("cold-l10k", "plain TCP relay", "cpu_us")
    floor = relayed and relayed + figures.crypto["handshake_us"]
    cold = value("cold-l10k", "aegis", "cpu_us")
    http = [peer["name"] for peer in figures.peers if peer["http"] and not peer["limit"] and peer["name"] != "aegis"]
    best = min((name for name in http if value("cold-l10k", name, "p50_us")), key=lambda name: value("cold-l10k", name, "p50_us"), default=None)
    one, two = (value(f"storm-{cores}", "aegis", "per_second") for cores in (1, 2))
    size = next((peer["binary"] for peer in figures.peers if peer["name"] == "aegis"), None)
    per = lambda number, unit: None if number is None else number / unit  # noqa: E731
    rows = [
        ("cold scrape, CPU relative to nginx", "≤", 0.45, ratio("cold-l10k", "cpu_us", "nginx")),
        (f"cold scrape, CPU relative to the minimum of {floor or 0:.0f} µs", "≤", 1.4, cold and floor and cold / floor),
        (f"cold scrape, p50 relative to the best HTTP peer ({best or 'none ran'})", "≤", 0.70, best and ratio("cold-l10k", "p50_us", best)),
        ("keep-alive 10 KiB, p50 relative to nginx", "≤", 0.85, ratio("keep-l10k", "p50_us", "nginx")),
        ("keep-alive 10 KiB, CPU relative to nginx", "≤", 0.85, ratio("keep-l10k", "cpu_us", "nginx")),
        ("keep-alive 10 KiB, p50 relative to the direct socket", "≤", 2.0, ratio("keep-l10k", "p50_us", "direct socket")),
        ("keep-alive 10 KiB, 32 connections, CPU relative to nginx", "≤", 0.95, ratio("keep32-l10k", "cpu_us", "nginx")),
        ("20 MiB, CPU relative to nginx", "≤", 0.80, ratio("keep-l20m", "cpu_ms_gib", "nginx")),
        ("1 MiB, CPU relative to nginx", "≤", 0.90, ratio("keep-l1m", "cpu_ms_gib", "nginx")),
        ("idle memory, MB", "≤", 6.5, per(value("life", "aegis", "idle_bytes"), 1e6)),
        ("idle connection, KiB", "≤", 17, per(value("life", "aegis", "connection_bytes"), 1024)),
        ("idle connection, relative to nginx", "≤", 0.5, ratio("life", "connection_bytes", "nginx")),
        ("8 × 20 MiB above idle, MB", "≤", 1.5, per(value("peak-l20m", "aegis", "peak_bytes"), 1e6)),
        ("8 × 20 MiB in chunks above idle, MB", "≤", 1.5, per(value("peak-c20m", "aegis", "peak_bytes"), 1e6)),
        ("start to first scrape, relative to nginx", "≤", 1.0, ratio("life", "start_ms", "nginx")),
        ("binary, MB", "≤", 6, per(size, 1e6)),
        ("two cores, handshakes relative to one core", "≥", 1.8, one and two and two / one),
    ]
    lines = []
    for words, sign, bar, measured in rows:
        reached = "not measured" if measured is None else "yes" if (measured <= bar if sign == "≤" else measured >= bar) else "**no**"
        lines.append((words, f"{sign} {bar:g}", "" if measured is None else f"{measured:.2f}", reached))
    return table(("measure", "limit", "measured", "reached"), lines)


def ratios(figures):
    peers = [peer for peer in figures.peers if peer["name"] != "aegis"]

    def cell(peer, scenario, figure):
        # A relay without TLS is a lower bound only for times.
        timed = figure.startswith(("cpu", "p50"))
        return number(figures.ratio(scenario, figure, peer["name"]), 2) if timed or not peer["limit"] else ""

    text = "Medians of the ratios of the rounds. Below 1, aegis needs less.\n\n"
    return text + table(
        ("aegis / …", *(peer["name"] for peer in peers)),
        [(words, *(cell(peer, scenario, figure) for peer in peers)) for words, scenario, figure in COMPARED],
    )


def load_table(figures, scenario):
    large = not scenario.endswith("10k")
    shown = [
        ("cpu_ms_gib", 0, "CPU, ms per GiB") if large else ("cpu_us", 1, "CPU, µs"),
        ("p50_us", 0, "p50, µs"), ("p99_us", 0, "p99, µs"), ("per_second", 0, "per second"), ("mb_per_second", 0, "MB/s"),
        ("client_us", 1, "CPU of the client, µs"),
    ]  # fmt: skip
    lines = []
    for peer in figures.peers:
        every = [figures.of(scenario, peer["name"], figure).values() for figure, _, _ in shown]
        if not any(every):
            lines.append((peer["name"], figures.why_not(scenario, peer["name"]), *[""] * (len(shown) - 1)))
            continue
        cells = [f"{median(v):.{d}f} ({min(v):.{d}f}…{max(v):.{d}f})" for v, (_, d, _) in zip(every, shown)]
        if peer["name"] == "direct socket":
            cells[0] = "-"
        lines.append((peer["name"], *cells))
    return table(("", *(words for _, _, words in shown)), lines)


def life(figures):
    def cell(scenario, peer, figure, unit, digits):
        values = [value / unit for value in figures.of(scenario, peer, figure).values()]
        return f"{median(values):.{digits}f} ({min(values):.{digits}f}…{max(values):.{digits}f})" if values else figures.why_not(scenario, peer)

    lines = [
        (
            peer["name"], cell("life", peer["name"], "idle_bytes", 1e6, 1), cell("life", peer["name"], "connection_bytes", 1024, 1),
            cell("peak-l20m", peer["name"], "peak_bytes", 1e6, 1), cell("peak-c20m", peer["name"], "peak_bytes", 1e6, 1),
            cell("life", peer["name"], "start_ms", 1, 0), f"{peer['binary'] / 1e6:.1f}", f"{peer['libraries'] / 1e6:.1f}",
        )
        for peer in figures.peers
        if peer["name"] != "direct socket"
    ]  # fmt: skip
    head = (
        "", "idle, MB", "per idle connection, KiB", "8 × 20 MiB above idle, MB", "in chunks, MB",
        "start to first scrape, ms", "binary, MB", "its shared libraries, MB",
    )  # fmt: skip
    return table(head, lines)


def storm(figures):
    lines = []
    for peer in figures.peers:
        one, two = (figures.median(f"storm-{cores}", peer["name"], "per_second") for cores in (1, 2))
        if one and two:
            lines.append((peer["name"], f"{one:.0f}", f"{two:.0f}", f"{two / one:.2f}"))
        else:
            lines.append((peer["name"], figures.why_not("storm-1", peer["name"]), "", ""))
    text = (
        "Cold scrapes per second from 16 at once, with everything (server, client and service) on one core or on two. The client\n"
        "does not verify certificates here, so that it needs less CPU time than any server.\n\n"
    )
    return text + table(("", "one core", "two cores", "ratio"), lines)


def limits(figures):
    crypto = figures.crypto
    text = "The minimum for any program that does this job with these primitives, on one core.\n\n"
    return text + table(
        ("P-256 sign", "P-256 verify (two needed)", "X25519", "ML-KEM-768", "together, µs", "AES-128-GCM, ms per GiB"),
        [(*(f"{crypto[key]:.1f}" for key in ("sign_us", "verify_us", "x25519_us", "ml_kem_768_us", "handshake_us")), f"{crypto['aes_128_gcm_ms_per_gib']:.0f}")],
    )


def took_part(result, figures):
    def agreed(peer):
        parameters = {row["agreed"] for row in result["rows"] if row["peer"] == peer and row.get("agreed")}
        return "; ".join(sorted(parameters))

    return table(
        ("", "version", "log", "TLS parameters"),
        [(peer["name"], peer["version"], peer["logs"], agreed(peer["name"])) for peer in figures.peers],
    )


def number(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def table(head, lines):
    rows = [head, ["---"] + ["---:"] * (len(head) - 1), *lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)


def write(root, text):
    """Puts the text between the markers of docs/performance.md."""
    document = root / "docs/performance.md"
    before, marked, rest = document.read_text().partition(BEGIN)
    if not marked or END not in rest:
        raise SystemExit(f"{document} does not have the two markers")
    after = rest.partition(END)[2]
    document.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
