"""Client certificates, each with one fault. openssl makes them when a check needs them."""

import re
import threading
import time

from verdict import NO, WEAKER, YES, Check, Untried

GROUP = "Client certificates"
DAY = 24 * 3600


def checks(endpoint):
    maker = Maker(endpoint)

    def make(**more):
        return lambda: maker.leaf(**more)

    def add(what, pair):
        return Check(GROUP, what, "refused by TLS, or closed", lambda: refused(endpoint, pair()))

    return [
        Check(GROUP, "another one with the scraper's names", "200", lambda: admitted(endpoint, maker.leaf()), good=True),
        add("none", lambda: None),
        add("of another CA with the same name", make(ca="another")),
        add("self-signed", make(ca="itself")),
        add("expired a day ago", make(start=-10 * DAY, end=-DAY)),
        add("not yet valid", make(start=DAY, end=10 * DAY)),
        add("for servers only (no clientAuth)", make(purpose="serverAuth")),
        add("for any purpose (anyExtendedKeyUsage)", make(purpose="anyExtendedKeyUsage")),
        add("without any purpose (no EKU)", make(purpose=None)),
        add("the right CN, but no other name", make(names=None)),
        add("the right CN, but another name", make(names="DNS:stranger.invalid")),
        add("another name", make(names="DNS:stranger.invalid", common="stranger")),
        add("the right name with a suffix", lambda: maker.leaf(names=maker.changed("{}.stranger.invalid"), common="stranger")),
        add("the right name with a prefix", lambda: maker.leaf(names=maker.changed("stranger.{}"), common="stranger")),
        add("the right name as a wildcard of its domain", lambda: maker.leaf(names=maker.wildcard(), common="stranger")),
        add("the endpoint's own", lambda: own(endpoint)),
        add("signed by the scraper's own certificate", lambda: maker.leaf(ca="scraper")),
        add("revoked (revoked.pem, listed in the CRL that is in force)", lambda: revoked(endpoint)),
    ]  # fmt: skip


def refused(endpoint, pair):
    seen = endpoint.ask(endpoint.request(), pair=pair)
    if seen.served:
        return NO, str(seen)
    return (WEAKER if seen.data else YES), str(seen)


def admitted(endpoint, pair):
    seen = endpoint.ask(endpoint.request(), pair=pair)
    return (YES if seen.statuses == [200] else NO), str(seen)


def own(endpoint):
    pair = endpoint.pki / "server.pem", endpoint.pki / "server.key"
    if not all(file.exists() for file in pair):
        raise Untried("no server.pem and server.key in the folder")
    return pair


def revoked(endpoint):
    pair = endpoint.pki / "revoked.pem", endpoint.pki / "revoked.key"
    if not all(file.exists() for file in pair):
        raise Untried("no revoked.pem and revoked.key in the folder")
    return pair


class Maker:
    """Signs with the CA of the folder, and with its own CAs."""

    def __init__(self, endpoint):
        self.endpoint, self.made, self.one_at_a_time = endpoint, 0, threading.Lock()
        self.folder = endpoint.work / "certificates"
        self.folder.mkdir()
        (self.folder / "index").touch()

    def leaf(self, **more):
        with self.one_at_a_time:
            return self.make(**more)

    def make(self, ca="given", purpose="clientAuth", names="same", start=-DAY, end=30 * DAY, common="same"):
        self.made += 1
        pem, key, request = (self.folder / f"{self.made}.{kind}" for kind in ("pem", "key", "csr"))
        subject = f"/CN={self.field('subject', 'CN') if common == 'same' else common}"
        self.request(key, request, subject)
        lines = ["basicConstraints = critical,CA:FALSE", "keyUsage = critical,digitalSignature"]
        lines += [f"extendedKeyUsage = {purpose}"] if purpose else []
        lines += [f"subjectAltName = {self.names() if names == 'same' else names}"] if names else []
        self.sign(request, pem, lines, self.signer(ca, key), start, end)
        if ca == "scraper":
            pem.write_text(pem.read_text() + self.endpoint.good[0].read_text())
        return pem, key

    def signer(self, ca, key):
        if ca == "itself":
            return ["-selfsign", "-keyfile", key]
        if ca == "scraper":
            pem, key = self.endpoint.good
        elif ca == "another":
            pem, key = self.another()
        else:
            pem, key = self.endpoint.pki / "ca.pem", self.endpoint.pki / "ca.key"
        if not key.exists():
            raise Untried(f"no {key.name} in the folder")
        return ["-cert", pem, "-keyfile", key]

    def another(self):
        """A CA with the name of the real one, and another key."""
        pem, key, request = (self.folder / f"another.{kind}" for kind in ("pem", "key", "csr"))
        if not pem.exists():
            self.request(key, request, f"/CN={self.field('subject', 'CN', self.endpoint.pki / 'ca.pem')}")
            lines = ["basicConstraints = critical,CA:TRUE", "keyUsage = critical,keyCertSign,cRLSign"]
            self.sign(request, pem, lines, ["-selfsign", "-keyfile", key], -DAY, 30 * DAY)
        return pem, key

    def request(self, key, request, subject):
        openssl = self.endpoint.openssl
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        plain = self.folder / "request.cnf"
        plain.write_text("[req]\ndistinguished_name = none\n[none]\n")
        openssl("req", "-new", "-config", plain, "-key", key, "-subj", subject, "-out", request)

    def sign(self, request, pem, extensions, signer, start, end):
        config = self.folder / "sign.cnf"
        config.write_text(CONFIG.format(folder=self.folder, extensions="\n".join(extensions)))
        dates = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + offset)) for offset in (start, end)]
        self.endpoint.openssl(
            "ca", "-batch", "-notext", "-config", config, *signer, "-in", request, "-out", pem,
            "-startdate", dates[0], "-enddate", dates[1],
        )  # fmt: skip

    def names(self):
        """The scraper's names, in the form of an openssl configuration."""
        text = self.endpoint.openssl("x509", "-noout", "-ext", "subjectAltName", "-in", self.endpoint.good[0])
        names = re.findall(r"(DNS|URI|IP Address|email):([^,\s]+)", text)
        return ",".join(f"{kind.replace('IP Address', 'IP')}:{name}" for kind, name in names)

    def changed(self, how):
        return "DNS:" + how.format(self.dns())

    def wildcard(self):
        return "DNS:*." + self.dns().partition(".")[2]

    def dns(self):
        found = re.search(r"DNS:([^,]+)", self.names())
        if not found:
            raise Untried("the scraper's certificate has no DNS name")
        return found[1]

    def field(self, which, name, pem=None):
        text = self.endpoint.openssl("x509", "-noout", f"-{which}", "-nameopt", "RFC2253", "-in", pem or self.endpoint.good[0])
        return re.search(rf"{name}=([^,\n]+)", text)[1]


CONFIG = """[ca]
default_ca = throw_away
[throw_away]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
x509_extensions = leaf
[any]
commonName = supplied
[leaf]
{extensions}
"""
