"""Lets sslyze, testssl.sh and tlslite-ng judge the TLS of the release binary, for .ci/tls_tools.

    tls_tools.py SSLYZE    the program sslyze

Each finding must be in the table of docs/tls.md, and each row of that table must be found.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/tools"))

import tls_cases
import tls_handshakes
from aegis_host import Aegis, end_on_sigterm, generate
from fake_service import FakeService

VERSIONS = ("1.3", "1.2")
# The tools make hundreds of connections in a second.
LIMITS = "[limits]\nconnection_rate = 100000\nconnection_burst = 100000\n"
MOZILLA = {"1.3": "modern", "1.2": "intermediate"}
# What they must find. Everything else is a row of docs/tls.md.
SSLYZE = {
    "tls_compression": {"supports_compression": False},
    "tls_1_3_early_data": {"supports_early_data": False},
    "openssl_ccs_injection": {"is_vulnerable_to_ccs_injection": False},
    "tls_fallback_scsv": {"supports_fallback_scsv": True},
    "heartbleed": {"is_vulnerable_to_heartbleed": False},
    "robot": {"robot_result": "NOT_VULNERABLE_RSA_NOT_SUPPORTED"},
    "session_renegotiation": {"supports_secure_renegotiation": True, "is_vulnerable_to_client_renegotiation_dos": False},
    "session_resumption": {"session_id_successful_resumptions_count": 0, "tls_ticket_successful_resumptions_count": 0},
    "tls_extended_master_secret": {"supports_ems_extension": True},
}
TESTSSL = {
    "SSLv2": "not offered", "SSLv3": "not offered", "TLS1": "not offered", "TLS1_1": "not offered", "TLS1_3": "offered with final",
    "ALPN": "http/1.1", "sessionresumption_ticket": "not supported", "sessionresumption_ID": "No Session ID, no resumption",
}  # fmt: skip
NO_SCAN = "no scan"
# Of testssl.sh, these are rows too, although they are no complaints.
FACTS = ("TLS1_2", "PFS_ciphers", "PFS_ECDHE_curves")


def main():
    end_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="tls_tools-") as work, contextlib.ExitStack() as hosts:
        work = Path(work)
        generate(work / "pki", "init", "--days", "80")
        generate(work / "pki", "client", "stranger", "--dns", "prometheus.example.org")
        # testssl.sh takes half a minute, mostly pauses. It has servers of its own.
        scanned = {version: host(hosts, work / f"testssl-{version}", version) for version in VERSIONS}
        with ThreadPoolExecutor() as pool:
            running = {version: pool.submit(testssl_rows, server, version) for version, server in scanned.items()}
            servers = {version: host(hosts, work / f"others-{version}", version) for version in VERSIONS}
            found, faults = handshakes(servers)
            found += [row for version, server in servers.items() for row in sslyze_rows(server, version)]
            found += [row for rows in running.values() for row in rows.result()]
        for server in (*scanned.values(), *servers.values()):
            check_health(server)
    print("\n".join(faults), end="\n" if faults else "")
    sys.exit(1 if not compare(set(found), documented()) or faults else 0)


def host(hosts, folder, version):
    """An aegis with this minimum version, and the service `node`."""
    folder.mkdir()
    (folder / "pki").symlink_to("../pki")
    (folder / "services").mkdir()
    service = hosts.enter_context(FakeService(folder / "services/node.sock"))
    server = hosts.enter_context(Aegis(folder, LIMITS, min_version=version))
    server.service, server.clients = service, tls_handshakes.Clients(server.port, server.pki)
    return server


def scrape(server):
    scraper = server.scraper()
    status = scraper.scrape("/node")
    scraper.close()
    return status


def check_health(server):
    if (status := scrape(server)) != 200 or server.metric("aegis_panics_total"):
        sys.exit(f"aegis is unwell: an honest scrape got {status}\n{server.log()}")


# Handshakes of tlslite-ng.


def handshakes(servers):
    found, count, faults = [], 0, []
    for case in tls_cases.cases():
        version = "1.2" if case.version == tls_handshakes.TLS_1_2 else "1.3"
        fault, finding = judge(servers[version], case)
        count += 1
        faults += [f"tlslite-ng, TLS {version}, {case.what}: {fault}"] if fault else []
        found += [("tlslite-ng", version, case.what, finding)] if finding else []
    print(f"tlslite-ng: {count} handshakes")
    return found, faults


def judge(server, case):
    """A fault that nothing excuses, and how the end differs from the one that the RFC wants."""
    before = server.service.connections
    received, ended = server.clients.run(case)
    if (status := scrape(server)) != 200:
        return f"{ended}; the honest scrape after it got {status}", None
    # The honest scrape was one more, and the service accepts connections in their order.
    asked = server.service.connections - before - 1
    served = asked == 1 and received.endswith(b"up 1\n")
    if case.expected == tls_handshakes.SERVED:
        return (None if served else f"not served: {ended}"), None
    if served and case.harmless:
        return None, "served"
    if asked or received or ended == "still open":
        return f"{ended}, {asked} connections to the service, {received}", None
    return None, (None if case.expected is None or ended in case.expected else ended)


# The scanners.


def sslyze_rows(server, version):
    usual = list(sslyze(server, version, with_certificate=True))
    other = [finding for finding in sslyze(server, version, with_certificate=False) if finding not in usual]
    return [("sslyze", version, *finding) for finding in usual] + [("sslyze, no certificate", version, *finding) for finding in other]


def sslyze(server, version, with_certificate):
    """Findings: an id and what it says."""
    result = server.folder / f"sslyze-{with_certificate}.json"
    pair = ["--cert", server.pki / "prometheus.pem", "--key", server.pki / "prometheus.key"] if with_certificate else []
    command = [sys.argv[1], "--sni", "localhost", "--certinfo_ca_file", server.pki / "ca.pem", "--early_data", "--resum",
               "--mozilla_config", MOZILLA[version], *pair, "--json_out", result, f"127.0.0.1:{server.port}"]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    _, found, verdict = ended.stdout.partition("COMPLIANCE AGAINST TLS CONFIGURATION")
    if not found:
        why = re.search(r"=> ERROR: (.+)", ended.stdout)
        yield NO_SCAN, why[1] if why else ended.stdout + ended.stderr
        return
    if "OK - Compliant" not in verdict:
        differences = re.findall(r"^ +\* (.+)$", verdict, re.M) or ["not judged, because a part of the scan failed"]
        yield from ((f"Mozilla's {MOZILLA[version]}", difference) for difference in differences)
    (scan,) = json.loads(result.read_text())["server_scan_results"]
    if not with_certificate:
        yield "client_auth_requirement", scan["connectivity_result"]["client_auth_requirement"]
    for command, scanned in scan["scan_result"].items():
        if command != "http_headers":
            yield from command_findings(command, scanned)


def command_findings(command, scanned):
    result = scanned["result"]
    if not result:
        yield command, scanned["error_reason"] or scanned["status"]
    elif command in SSLYZE:
        seen = {key: result[key] for key in SSLYZE[command]}
        if seen != SSLYZE[command]:
            yield command, json.dumps(seen)
    elif "accepted_cipher_suites" in result:
        names = sorted(suite["cipher_suite"]["name"] for suite in result["accepted_cipher_suites"])
        if names:
            yield command, ", ".join(names)
    elif command == "elliptic_curves":
        yield command, ", ".join(sorted(curve["name"] for curve in result["supported_curves"]))
    elif command == "certificate_info":
        (deployed,) = result["certificate_deployments"]
        trusted = [path["trust_store"]["name"] for path in deployed["path_validation_results"] if path["was_validation_successful"]]
        yield command, f"trusted: {', '.join(trusted)}"
    else:
        yield command, "unknown to .ci/tls_tools.py"


def testssl_rows(server, version):
    """On a busy machine, testssl.sh may miss a slow answer. So findings that are not in the table must be found three times.

    It ends without a scan if its openssl gets the alert about the missing certificate before it has read its empty input
    and would end. That is no finding, and only tried again.
    """
    known = {row for row in documented() if row[:2] == ("testssl.sh", version)}
    scans = 0
    for attempt in range(20):
        rows = [("testssl.sh", version, *finding) for finding in testssl(server, server.folder / f"testssl-{attempt}")]
        scans += all(row[2] != NO_SCAN for row in rows)
        if set(rows) == known or scans == 3:
            break
    return rows


def testssl(server, result):
    # Without names of the DNS, and without client simulations. It contacts no other host unless told to.
    command = ["testssl", "--quiet", "--warnings", "batch", "--color", "0", "--nodns", "none", "--fast",
               "-p", "-s", "-f", "-P", "-S", "-U", "--add-ca", server.pki / "ca.pem", "--jsonfile", f"{result}.json",
               f"127.0.0.1:{server.port}"]  # fmt: skip
    # Its status is the number of its complaints.
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    findings = json.loads(Path(f"{result}.json").read_text() or "[]")
    ids = {finding["id"] for finding in findings}
    if not {"scanTime", *TESTSSL, *FACTS} <= ids:
        yield NO_SCAN, ended.stdout
        return
    for finding in findings:
        id, says = finding["id"], finding["finding"].strip()
        if id in FACTS or says != TESTSSL.get(id, says) or finding["severity"] not in ("OK", "INFO", "DEBUG"):
            yield id, says


# The table.


def documented():
    """The rows of docs/tls.md: tool, minimum version, finding, what it says; once for each version."""
    rows = [line.strip("| \n").split(" | ") for line in (ROOT / "docs/tls.md").read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0] != "tool"]
    if not all(len(row) == 5 and row[4].strip() for row in rows):
        sys.exit("docs/tls.md: each row has five columns, the last of which is a reason")
    return {(row[0], version, row[2], row[3].strip("`")) for row in rows for version in row[1].split(", ")}


def compare(found, known):
    for what, rows in (("not in docs/tls.md", found - known), ("in docs/tls.md, but not found", known - found)):
        for row in sorted(rows):
            print(f"{what}: {' | '.join(row)}")
    print(f"{len(found)} findings of sslyze, testssl.sh and tlslite-ng")
    return found == known


if __name__ == "__main__":
    main()
