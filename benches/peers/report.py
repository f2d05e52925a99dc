"""Turns the rows of a run into Markdown, and into a picture of ratios."""

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
# What the ratios are of: words, scenario, figure.
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
# Cores that others may use in a measurement that counts, and rounds, for figures to be shown to anybody.
FOREIGN, ROUNDS = 0.04, 5


class Figures:
    """The figures of a run by scenario, peer and round; those of disturbed measurements left out."""

    def __init__(self, result):
        self.rows = result["rows"]
        self.crypto = result["crypto"]
        self.peers = result["peers"]
        # In a quick run everything is shown: it is there to see that all runs.
        self.shows_all = result["options"]["quick"]

    def of(self, scenario, peer, figure):
        """Round to figure. Memory and the like are not disturbed by others, time is."""
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
    parts = [about(result), "## What it must reach\n\n" + bars(figures), "## Aegis by each peer\n\n" + ratios(figures)]
    ran = {row["scenario"] for row in result["rows"]}
    for scenario, words in LOADS.items():
        if scenario in ran:
            parts.append(f"## {words}\n\n" + load_table(figures, scenario))
    if "life" in ran:
        parts.append("## Memory, start, size\n\n" + life(figures))
    if "storm-1" in ran:
        parts.append("## Handshakes on one core and on two\n\n" + storm(figures))
    parts += ["## The limits\n\n" + limits(figures), "## Who took part\n\n" + took_part(result, figures)]
    return "\n\n".join(parts) + "\n"


def about(result):
    machine, options, rows = result["machine"], result["options"], result["rows"]
    timed = [row for row in rows if "disturbed" in row and "cpu_us" in row]
    dropped = sum(1 for row in timed if row["disturbed"])
    lines = []
    if options["quick"]:
        lines.append("**A quick run: these figures mean nothing.**\n")
    elif options["foreign"] > FOREIGN or options["rounds"] < ROUNDS or dropped > len(timed) / 20:
        lines.append("**In few rounds, or on a machine that others used meanwhile: to be taken again.**\n")
    lines.append(
        f"{machine['date']}, aegis at {machine['commit']} ({machine['rustc']}); {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, {machine['system']}. {options['rounds']} interleaved rounds, each "
        f"measurement of {options['seconds']:g} s by a program started afresh. {dropped} of {len(timed)} measurements do not count, "
        f"because others used more than {options['foreign']:g} cores at each of {options['tries']} tries."
    )
    if result["missing"]:
        lines.append(f"Not installed, and so not compared: {', '.join(result['missing'])}.")
    return "\n".join(lines)


def bars(figures):
    """The table of what the project has promised itself."""
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
        ("cold scrape, CPU by nginx's", "≤", 0.45, ratio("cold-l10k", "cpu_us", "nginx")),
        (f"cold scrape, CPU by the floor of {floor or 0:.0f} µs", "≤", 1.4, cold and floor and cold / floor),
        (f"cold scrape, p50 by the best HTTP peer's ({best or 'none ran'})", "≤", 0.70, best and ratio("cold-l10k", "p50_us", best)),
        ("keep-alive 10 KiB, p50 by nginx's", "≤", 0.85, ratio("keep-l10k", "p50_us", "nginx")),
        ("keep-alive 10 KiB, CPU by nginx's", "≤", 0.85, ratio("keep-l10k", "cpu_us", "nginx")),
        ("keep-alive 10 KiB, p50 by the direct socket's", "≤", 2.0, ratio("keep-l10k", "p50_us", "direct socket")),
        ("keep-alive 10 KiB, 32 connections, CPU by nginx's", "≤", 0.95, ratio("keep32-l10k", "cpu_us", "nginx")),
        ("20 MiB, CPU by nginx's", "≤", 0.80, ratio("keep-l20m", "cpu_ms_gib", "nginx")),
        ("1 MiB, CPU by nginx's", "≤", 0.90, ratio("keep-l1m", "cpu_ms_gib", "nginx")),
        ("idle memory, MB", "≤", 6.5, per(value("life", "aegis", "idle_bytes"), 1e6)),
        ("idle connection, KiB", "≤", 17, per(value("life", "aegis", "connection_bytes"), 1024)),
        ("idle connection, by nginx's", "≤", 0.5, ratio("life", "connection_bytes", "nginx")),
        ("8 × 20 MiB above idle, MB", "≤", 1.5, per(value("peak-l20m", "aegis", "peak_bytes"), 1e6)),
        ("8 × 20 MiB in chunks above idle, MB", "≤", 1.5, per(value("peak-c20m", "aegis", "peak_bytes"), 1e6)),
        ("start to first scrape, by nginx's", "≤", 1.0, ratio("life", "start_ms", "nginx")),
        ("binary, MB", "≤", 6, per(size, 1e6)),
        ("two cores, handshakes by one core's", "≥", 1.8, one and two and two / one),
    ]
    lines = []
    for words, sign, bar, measured in rows:
        reached = "not measured" if measured is None else "yes" if (measured <= bar if sign == "≤" else measured >= bar) else "**no**"
        lines.append((words, f"{sign} {bar:g}", "" if measured is None else f"{measured:.2f}", reached))
    return table(("what", "bar", "measured", "reached"), lines)


def ratios(figures):
    peers = [peer for peer in figures.peers if peer["name"] != "aegis"]

    def cell(peer, scenario, figure):
        # A relay without TLS holds nothing: it is a limit of time alone.
        timed = figure.startswith(("cpu", "p50"))
        return number(figures.ratio(scenario, figure, peer["name"]), 2) if timed or not peer["limit"] else ""

    text = "Medians of the ratios of rounds; below 1, aegis needs less.\n\n"
    return text + table(
        ("aegis / …", *(peer["name"] for peer in peers)),
        [(words, *(cell(peer, scenario, figure) for peer in peers)) for words, scenario, figure in COMPARED],
    )


def load_table(figures, scenario):
    large = not scenario.endswith("10k")
    shown = [
        ("cpu_ms_gib", 0, "CPU, ms per GiB") if large else ("cpu_us", 1, "CPU, µs"),
        ("p50_us", 0, "p50, µs"), ("p99_us", 0, "p99, µs"), ("per_second", 0, "per second"), ("mb_per_second", 0, "MB/s"),
        ("client_us", 1, "the client's own CPU, µs"),
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
        "checks no certificate here, so that it costs less than any server.\n\n"
    )
    return text + table(("", "one core", "two cores", "ratio"), lines)


def limits(figures):
    crypto = figures.crypto
    text = "What no program that does this job with these primitives goes below, on one core.\n\n"
    return text + table(
        ("P-256 sign", "P-256 verify (two needed)", "X25519", "ML-KEM-768", "together, µs", "AES-128-GCM, ms per GiB"),
        [(*(f"{crypto[key]:.1f}" for key in ("sign_us", "verify_us", "x25519_us", "ml_kem_768_us", "handshake_us")), f"{crypto['aes_128_gcm_ms_per_gib']:.0f}")],
    )


def took_part(result, figures):
    def agreed(peer):
        said = {row["agreed"] for row in result["rows"] if row["peer"] == peer and row.get("agreed")}
        return "; ".join(sorted(said))

    return table(
        ("", "version", "it logs", "TLS agreed on"),
        [(peer["name"], peer["version"], peer["logs"], agreed(peer["name"])) for peer in figures.peers],
    )


def number(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def table(head, lines):
    rows = [head, ["---"] + ["---:"] * (len(head) - 1), *lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)


def picture(result):
    """Bars of aegis / peer, one panel for each thing compared; all that reaches the line needs as much."""
    figures = Figures(result)
    names = [peer["name"] for peer in figures.peers if peer["name"] != "aegis" and not peer["limit"]]
    columns, width, row, label, most = 3, 300, 15, 106, 1.5
    height = 34 + row * len(names)
    rows = -(-len(COMPARED) // columns)
    full = (columns * width + 20, rows * height + 44)
    scale = (width - label - 50) / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full[0]} {full[1]}" font-family="sans-serif" font-size="11">',
        f'<rect width="{full[0]}" height="{full[1]}" fill="#fff"/>',
        '<text x="10" y="20" font-size="14" fill="#222">What aegis needs, by what each peer needs (left of the line: less)</text>',
    ]
    for at, (words, scenario, figure) in enumerate(COMPARED):
        x, y = 10 + at % columns * width, 44 + at // columns * height
        parts.append(f'<text x="{x}" y="{y}" font-weight="bold" fill="#222">{words}</text>')
        for line, name in enumerate(names):
            top = y + 6 + line * row
            value = figures.ratio(scenario, figure, name)
            parts.append(f'<text x="{x + label - 6}" y="{top + 10}" text-anchor="end" fill="#444">{name}</text>')
            if value is None:
                parts.append(f'<text x="{x + label + 4}" y="{top + 10}" fill="#888">not measured</text>')
                continue
            length = max(1, min(value, most) * scale)
            color = "#2a7f62" if value <= 1 else "#b5482f"
            parts.append(f'<rect x="{x + label}" y="{top + 2}" width="{length:.1f}" height="{row - 5}" fill="{color}"/>')
            more = "→ " if value > most else ""
            parts.append(f'<text x="{x + width - 8}" y="{top + 10}" text-anchor="end" fill="#444">{more}{value:.2f}</text>')
        line = x + label + scale
        parts.append(f'<path d="M{line:.1f} {y + 5}v{row * len(names) + 2}" stroke="#222" stroke-dasharray="3 2"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(root, result, text):
    """Puts the text between the markers of docs/performance.md, and the picture beside it."""
    document = root / "docs/performance.md"
    before, marked, rest = document.read_text().partition(BEGIN)
    if not marked or END not in rest:
        raise SystemExit(f"{document} has not the two markers")
    after = rest.partition(END)[2]
    document.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
    image = root / "docs/images/performance.svg"
    image.parent.mkdir(exist_ok=True)
    image.write_text(picture(result))
