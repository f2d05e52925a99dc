"""The figures of a run by scenario, peer and round, and how they are shown."""

from statistics import median

# The requirements of published figures: the maximum of cores used by other programs, and the rounds.
MAX_FOREIGN_CORES, MIN_ROUNDS = 0.04, 7


class Figures:
    """The figures of a run, without disturbed measurements. Peers are named by their keys."""

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

    def cell(self, scenario, peer, figure, unit, digits):
        """The median with the minimum and the maximum."""
        values = [value / unit for value in self.of(scenario, peer, figure).values()]
        if not values:
            return self.why_not(scenario, peer)
        return f"{median(values):.{digits}f} ({min(values):.{digits}f}…{max(values):.{digits}f})"

    def why_not(self, scenario, peer):
        for row in self.rows:
            if (row["scenario"], row["peer"]) == (scenario, peer):
                for key in ("unable", "error"):
                    if row.get(key):
                        return row[key]
        return "always disturbed" if any((r["scenario"], r["peer"]) == (scenario, peer) for r in self.rows) else "not run"


def number(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def table(head, lines):
    rows = [head, ["---"] + ["---:"] * (len(head) - 1), *lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)
