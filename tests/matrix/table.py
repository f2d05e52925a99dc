"""The tables and recipes of docs/compatibility.md."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/compatibility.md"

# What is between these comes from here.
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.S)
FILE = re.compile(r"(<!-- file: (\S+) -->\n```(\w+)\n).*?(```\n)", re.S)


def of_services(rows):
    lines = ["| service | how it gets its socket | what to set | result |", "|---|---|---|---|"]
    lines += [line(row.title, row.how, row.shown_settings(), row.result()) for row in rows]
    return "\n".join(lines) + "\n"


def of_scrapers(rows):
    lines = ["| scraper | tried | result |", "|---|---|---|"]
    lines += [line(row.title, row.how, row.result) for row in rows]
    return "\n".join(lines) + "\n"


def line(*cells):
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def filled(text, services, scrapers):
    """The document with the tables and recipes as they are here."""
    tables = {"services": of_services(services), "scrapers": of_scrapers(scrapers)}
    text = TABLE.sub(lambda found: found[1] + tables[found[2]] + found[3], text)
    return FILE.sub(lambda found: found[1] + (ROOT / found[2]).read_text() + found[4], text)


def write(services, scrapers):
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), services, scrapers))


def problems(services, scrapers):
    if not DOCUMENT.exists():
        return ["docs/compatibility.md is missing"]
    text = DOCUMENT.read_text()
    if filled(text, services, scrapers) == text and len(TABLE.findall(text)) == 2:
        return []
    return ["docs/compatibility.md is not what the rows and recipes say; run tests/matrix/run --write"]
