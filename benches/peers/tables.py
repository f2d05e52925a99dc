"""Every figure of a run, as tables in Markdown."""

from figures import table

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
FIRST = {
    "paced-warm": "50 scrapes a second on five open connections, 10 KiB",
    "paced-cold": "50 scrapes a second, each on a new connection, 10 KiB",
}
FLEETS = {
    "prometheus-1s": "A real Prometheus with 100 services, every second",
    "prometheus-15s": "A real Prometheus with 100 services, every 15 seconds",
}


def tables(figures, result):
    ran = {row["scenario"] for row in result["rows"]}
    parts = []
    for scenario, words in FIRST.items():
        if scenario in ran:
            parts.append(f"## {words}\n\n" + load_table(figures, scenario))
    for scenario, words in FLEETS.items():
        if scenario in ran:
            parts.append(f"## {words}\n\n" + fleet(figures, scenario))
    if "idle" in ran:
        parts.append("## Idle, without connections\n\n" + idle(figures))
    if "herd" in ran:
        parts.append("## Scrapers that reconnect after a restart\n\n" + herd(figures, result["options"]["herd"]))
    for scenario, words in LOADS.items():
        if scenario in ran:
            parts.append(f"## {words}\n\n" + load_table(figures, scenario))
    if "life" in ran:
        parts.append("## Memory, start, size\n\n" + life(figures))
    if "storm-1" in ran:
        parts.append("## Handshakes on one core and on two\n\n" + storm(figures))
    parts += ["## Lower bounds\n\n" + bounds(figures), "## Peers\n\n" + took_part(result, figures)]
    return "\n\n".join(parts) + "\n"


def rows_of(figures, scenario, shown):
    """A line for each peer that was measured: figure, unit, digits and words of each column."""
    lines = []
    for peer in figures.peers:
        if not any(figures.of(scenario, peer["key"], figure) for figure, *_ in shown):
            why = figures.why_not(scenario, peer["key"])
            if why != "not run":
                lines.append((peer["name"], why, *[""] * (len(shown) - 1)))
            continue
        cells = [figures.cell(scenario, peer["key"], figure, unit, digits) for figure, unit, digits, _ in shown]
        if peer["key"] == "direct-socket" and shown[0][0].startswith("cpu"):
            cells[0] = "-"
        lines.append((peer["name"], *cells))
    return table(("", *(words for *_, words in shown)), lines)


def load_table(figures, scenario):
    large = not scenario.endswith("10k") and not scenario.startswith("paced")
    shown = [
        ("cpu_ms_gib", 1, 0, "CPU, ms per GiB") if large else ("cpu_us", 1, 1, "CPU, µs"),
        ("p50_us", 1, 0, "p50, µs"), ("p99_us", 1, 0, "p99, µs"),
    ]  # fmt: skip
    if not scenario.startswith("paced"):
        shown += [("per_second", 1, 0, "per second"), ("mb_per_second", 1, 0, "MB/s")]
    return rows_of(figures, scenario, [*shown, ("client_us", 1, 1, "CPU of the client, µs")])


def fleet(figures, scenario):
    shown = [
        ("cpu_us", 1, 1, "CPU per scrape, µs"), ("cpu_us_per_second", 1000, 2, "CPU per second, ms"),
        ("pss_bytes", 1e6, 1, "memory, MB"), ("per_second", 1, 1, "scrapes per second"),
    ]  # fmt: skip
    return rows_of(figures, scenario, shown)


def idle(figures):
    text = "Wake-ups are context switches of all threads.\n\n"
    return text + rows_of(figures, "idle", [("wakeups", 1, 2, "wake-ups per second"), ("idle_us", 1, 1, "CPU per second, µs")])


def herd(figures, count):
    text = (
        f"{count} scrapers have open connections when the server gets SIGTERM and is started again on the same port. Each scraper\n"
        "connects again at its own moment in the first second after that start, and every 5 ms while its connection is refused. A\n"
        "failure is any other try without metrics. The client verifies no certificate here.\n\n"
    )
    shown = [
        ("all_ms", 1, 0, "start until all are served, ms"), ("wait_p50_ms", 1, 2, "wait of a scraper, p50, ms"),
        ("wait_p99_ms", 1, 1, "p99, ms"), ("wait_max_ms", 1, 1, "the longest, ms"), ("failed", 1, 0, "failures"),
        ("refused", 1, 0, "refused tries"), ("stop_ms", 1, 0, "SIGTERM until it has ended, ms"),
    ]  # fmt: skip
    return text + rows_of(figures, "herd", shown)


def life(figures):
    cell = figures.cell
    lines = [
        (
            peer["name"], cell("life", peer["key"], "idle_bytes", 1e6, 1), cell("life", peer["key"], "connection_bytes", 1024, 1),
            cell("peak-l20m", peer["key"], "peak_bytes", 1e6, 1), cell("peak-c20m", peer["key"], "peak_bytes", 1e6, 1),
            cell("life", peer["key"], "start_ms", 1, 1), f"{peer['binary'] / 1e6:.1f}", f"{peer['libraries'] / 1e6:.1f}",
        )
        for peer in figures.peers
        if peer["key"] != "direct-socket"
    ]  # fmt: skip
    head = (
        "", "idle, MB", "per idle connection, KiB", "8 × 20 MiB above idle, MB", "in chunks, MB",
        "start to first scrape, ms", "binary, MB", "its shared libraries, MB",
    )  # fmt: skip
    return table(head, lines)


def storm(figures):
    lines = []
    for peer in figures.peers:
        one, two = (figures.median(f"storm-{cores}", peer["key"], "per_second") for cores in (1, 2))
        if one and two:
            lines.append((peer["name"], f"{one:.0f}", f"{two:.0f}", f"{two / one:.2f}"))
        elif figures.why_not("storm-1", peer["key"]) != "not run":
            lines.append((peer["name"], figures.why_not("storm-1", peer["key"]), "", ""))
    text = (
        "Cold scrapes per second from 16 at once, with everything (server, client and service) on one core or on two. The client\n"
        "does not verify certificates here, so that it needs less CPU time than any server.\n\n"
    )
    return text + table(("", "one core", "two cores", "ratio"), lines)


def bounds(figures):
    crypto = figures.crypto
    text = "The minimum for any program that does this job with these primitives, on one core.\n\n"
    return text + table(
        ("P-256 sign", "P-256 verify (two needed)", "X25519", "ML-KEM-768", "together, µs", "AES-128-GCM, ms per GiB"),
        [(*(f"{crypto[key]:.1f}" for key in ("sign_us", "verify_us", "x25519_us", "ml_kem_768_us", "handshake_us")), f"{crypto['aes_128_gcm_ms_per_gib']:.0f}")],
    )


def took_part(result, figures):
    def agreed(key):
        parameters = {row["agreed"] for row in result["rows"] if row["peer"] == key and row.get("agreed")}
        return "; ".join(sorted(parameters))

    return table(
        ("", "version", "log", "TLS parameters"),
        [(peer["name"], peer["version"], peer["logs"], agreed(peer["key"])) for peer in figures.peers],
    )
