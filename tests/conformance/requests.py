"""Requests of the good scraper that are not a scrape: each has one fault."""

from verdict import NO, WEAKER, YES, Check

NAMES, METHODS, VERSIONS = "Paths", "Methods", "Versions and hosts"
HEADERS, FRAMING, ANSWERS = "Headers", "Where a request ends", "Answers"
NO_2XX = "neither served nor redirected"


def checks(endpoint):
    return [
        *(odd(endpoint, NAMES, what, endpoint.request(path)) for what, path in paths(endpoint)),
        *(odd(endpoint, METHODS, what, endpoint.request(method=name)) for what, name in bad_methods()),
        Check(METHODS, "HEAD", "200 without a body", lambda: head(endpoint)),
        *(odd(endpoint, VERSIONS, what, raw) for what, raw in versions(endpoint)),
        *(odd(endpoint, HEADERS, what, endpoint.request(headers=[header])) for what, header in BAD_HEADERS),
        *(odd(endpoint, FRAMING, what, raw, FRAMING_EXPECTED, ends=True) for what, raw in framings(endpoint)),
        *(Check(FRAMING, f"Upgrade: {to}", "no 101, one answer", lambda to=to: upgrade(endpoint, to)) for to in ("h2c", "websocket")),
        Check(FRAMING, "two good requests at once", "two answers, or one and closed", lambda: pipelined(endpoint), good=True),
        Check(ANSWERS, "no Server, X-Powered-By or Via", "none", lambda: revealing(endpoint)),
        Check(ANSWERS, "the length and type of an answer", "Content-Length or chunks, and Content-Type", lambda: framed(endpoint), good=True),
        Check(ANSWERS, "an unknown name", "the same words as for an invalid name", lambda: unknown(endpoint)),
    ]  # fmt: skip


def odd(endpoint, group, what, raw, expected=NO_2XX, ends=False):
    return Check(group, what, expected, lambda: refused(endpoint, raw, ends))


def refused(endpoint, raw, ends):
    seen = endpoint.ask(raw)
    if seen.served or any(status < 400 for status in seen.statuses) or not (seen.statuses or seen.closed):
        return NO, str(seen)
    if not ends:
        return YES, str(seen)
    # An endpoint that continues to read takes the rest for another request.
    return (NO if len(seen.statuses) > 1 else YES if seen.closed else WEAKER), str(seen)


def paths(endpoint):
    path = endpoint.path
    name = path.lstrip("/")
    host = f"{endpoint.server_name}:{endpoint.place[1]}"
    first = f"%{ord(name[0]):02x}{name[1:]}"
    return [
        ("a slash after it", f"{path}/"), ("two slashes before it", f"/{path}"), ("a backslash before it", f"/\\{name}"),
        ("a dot segment", f"/.{path}"), ("two dots", f"/..{path}"), ("up and down again", f"/x/..{path}"),
        ("encoded dots", f"/%2e%2e{path}"), ("encoded dots and slash", f"/%2e%2e%2f{name}"), ("an encoded slash", f"/%2f{name}"),
        ("an encoded letter", f"/{first}"), ("a letter encoded twice", f"/{first.replace('%', '%25')}"),
        ("an encoded NUL after it", f"{path}%00"), ("a NUL after it", f"{path}\0"), ("an encoded space after it", f"{path}%20"),
        ("a tab after it", f"{path}\t"), ("an encoded line end after it", f"{path}%0d%0aX:%20y"), ("a broken encoding", f"{path}%"),
        ("overlong UTF-8 for dots", f"/%c0%ae%c0%ae{path}"), ("the same unencoded", f"/\xc0\xae\xc0\xae{path}"),
        ("full-width letters", "/" + "".join(chr(0xFEE0 + ord(char)) if char.isalnum() else char for char in name).encode().decode("latin-1")),
        ("a parameter", f"{path};x=1"), ("an empty query", f"{path}?"), ("a query", f"{path}?x=1"), ("a fragment", f"{path}#"),
        ("the file's own name", f"{path}.sock"), ("another segment", f"{path}/metrics"), ("a hidden name", f"/.{name}"),
        ("a colon and port", f"{path}:80"), ("only dots", "/.."), ("64 times up", "/.." * 64 + path), ("another case", path.swapcase()),
        ("an unknown name of 64 letters", "/" + "x" * 64), ("one of 4096", "/" + "x" * 4096),
        ("no slash", name), ("an asterisk", "*"), ("nothing", " "), ("a whole URL", f"https://{host}{path}"),
        ("a URL of http", f"http://{host}{path}"), ("a URL of another host", f"https://elsewhere.invalid{path}"),
        ("an authority", host), ("a file URL", "file:///etc/passwd"), ("a file", "/../../../../etc/passwd"),
    ]  # fmt: skip


def bad_methods():
    as_they_are = "POST PUT DELETE PATCH OPTIONS TRACE CONNECT PROPFIND PRI get Get GETS G"
    return [*((name, name) for name in as_they_are.split()), ("a tab after GET", "GET\t"), ("one of 5000 letters", "G" * 5000)]


def head(endpoint):
    seen = endpoint.ask(endpoint.request(method="HEAD", headers=["Connection: close"]))
    if seen.statuses == [200]:
        body = seen.data.partition(b"\r\n\r\n")[2]
        return (NO if body else YES), f"{seen}, {len(body)} bytes of body"
    return (NO if seen.served else WEAKER), str(seen)


def versions(endpoint):
    path = endpoint.path
    get = f"GET {path}".encode()
    return [
        ("HTTP/0.9", get + b"\r\n\r\n"),
        ("HTTP/1.0", endpoint.request(version="HTTP/1.0")),
        ("HTTP/1.2", endpoint.request(version="HTTP/1.2")),
        ("HTTP/2.0", endpoint.request(version="HTTP/2.0")),
        ("HTTP/1", endpoint.request(version="HTTP/1")),
        ("http/1.1", endpoint.request(version="http/1.1")),
        ("HTTP/1.10", endpoint.request(version="HTTP/1.10")),
        ("HTTPS/1.1", endpoint.request(version="HTTPS/1.1")),
        ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
        ("two spaces before the path", endpoint.request(f" {path}")),
        ("two spaces after the path", endpoint.request(f"{path} ")),
        ("two versions", endpoint.request(f"{path} HTTP/1.1")),
        ("a space before the method", b" " + endpoint.request()),
        ("no Host", get + b" HTTP/1.1\r\n\r\n"),
        ("two Hosts", endpoint.request(headers=["Host: elsewhere.invalid"])),
    ]


BAD_HEADERS = [
    ("a space before the colon", "X-Odd : 1"), ("a space before the name", " X-Odd: 1"), ("no colon", "X-Odd"), ("no name", ": 1"),
    ("a folded line", "X-Odd: 1\r\n 2"), ("a NUL in a value", "X-Odd: 1\0"), ("a carriage return in a value", "X-Odd: 1\rX-Evil: 2"),
    ("a NUL in a name", "X-\0Odd: 1"), ("an invalid character in a name", "X-(Odd): 1"), ("a control character in a value", "X-Odd: \x01"),
    ("a head of 64 KiB", "X-Odd: " + "x" * 65536), ("a head of 1 MiB", "X-Odd: " + "x" * (1 << 20)),
    ("200 headers", "\r\n".join(f"X-{number}: 1" for number in range(200))), ("5000 headers", "\r\n".join(f"X-{number}: 1" for number in range(5000))),
]  # fmt: skip

FRAMING_EXPECTED = "one refusal, then closed"


def framings(endpoint):
    good = endpoint.request()

    def with_headers(*headers, body=b"", method="GET"):
        # A second answer shows that the endpoint took the rest for a request.
        return endpoint.request(headers=headers, method=method) + body + good

    chunked = "Transfer-Encoding: chunked"
    cases = [
        ("Content-Length and Transfer-Encoding", ["Content-Length: 5", chunked], b"0\r\n\r\n"),
        ("Transfer-Encoding and Content-Length", [chunked, "Content-Length: 5"], b"0\r\n\r\n"),
        ("GET with a body", ["Content-Length: 5"], b"hello"),
        ("GET with chunks", [chunked], b"5\r\nhello\r\n0\r\n\r\n"),
        ("chunks with an extension", [chunked], b"5;x=\"y\"\r\nhello\r\n0\r\n\r\n"),
        ("chunks with a trailer", [chunked], b"0\r\nX-Odd: 1\r\n\r\n"),
        ("a chunk of 2^64 bytes", [chunked], b"10000000000000000\r\n\r\n0\r\n\r\n"),
        ("two different Content-Lengths", ["Content-Length: 0", "Content-Length: 5"], b"hello"),
        ("two equal Content-Lengths", ["Content-Length: 5", "Content-Length: 5"], b"hello"),
        ("Content-Length: 5, 5", ["Content-Length: 5, 5"], b"hello"),
        ("Content-Length: +0", ["Content-Length: +0"], b""),
        ("Content-Length: -1", ["Content-Length: -1"], b""),
        ("Content-Length: 0x0", ["Content-Length: 0x0"], b""),
        ("an empty Content-Length", ["Content-Length:"], b""),
        ("a Content-Length of 30 digits", ["Content-Length: " + "9" * 30], b""),
        ("Transfer-Encoding: identity", ["Transfer-Encoding: identity"], b""),
        ("Transfer-Encoding: xchunked", ["Transfer-Encoding: xchunked"], b""),
        ("Transfer-Encoding: gzip, chunked", ["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity", ["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n"),
        ("Transfer-Encoding: CHUNKED", ["Transfer-Encoding: CHUNKED"], b"0\r\n\r\n"),
        ("Transfer-Encoding with a tab", ["Transfer-Encoding:\tchunked"], b"0\r\n\r\n"),
        ("Transfer-Encoding with a space before the colon", ["Transfer-Encoding : chunked"], b"0\r\n\r\n"),
        ("Transfer-Encoding in a folded line", ["X-Odd: 1", " Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        ("two Transfer-Encodings", [chunked, chunked], b"0\r\n\r\n"),
        ("Expect: 100-continue", ["Expect: 100-continue", "Content-Length: 5"], b"hello"),
    ]
    return [
        *((what, with_headers(*headers, body=body)) for what, headers, body in cases),
        ("only line feeds", good.replace(b"\r\n", b"\n") + good),
        ("one bare line feed", good.replace(b"Host: localhost\r\n", b"Host: localhost\nX-Odd: 1\r\n") + good),
        ("a bare line feed at the end", good[:-2] + b"\n" + good),
        ("only carriage returns", good.replace(b"\r\n", b"\r") + b"\r\n\r\n" + good),
    ]


def upgrade(endpoint, to):
    headers = [f"Upgrade: {to}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__",
               "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13"]  # fmt: skip
    seen = endpoint.ask(endpoint.request(headers=headers))
    return (YES if len(seen.statuses) == 1 and seen.statuses[0] >= 200 else NO), str(seen)


def pipelined(endpoint):
    seen = endpoint.ask(endpoint.request() * 2)
    good = seen.statuses == [200, 200] or (seen.statuses == [200] and seen.closed)
    return (YES if good else NO), str(seen)


def revealing(endpoint):
    seen = endpoint.scrape()
    found = sorted({key for answer in seen.answers for key, _ in answer.headers} & {"server", "x-powered-by", "via"})
    return (NO if found or not seen.answers else YES), ", ".join(found) or "none"


def framed(endpoint):
    answers = endpoint.scrape().answers
    names = {key for answer in answers for key, _ in answer.headers}
    has = names & {"content-length", "transfer-encoding"}
    return (YES if has and "content-type" in names else NO), ", ".join(sorted(has | (names & {"content-type"}))) or "neither"


def unknown(endpoint):
    """The answers for an unknown name and an invalid one may differ only in the status."""
    gone, odd_name = (endpoint.ask(endpoint.request(path)) for path in ("/conformance-no-such", "/conformance/no/such"))
    if gone.served or odd_name.served:
        return NO, f"{gone}; {odd_name}"
    leaks = [word for word in (b"/run", b".sock", b"directory", b"errno") if word in (gone.data + odd_name.data).lower()]
    return (NO if leaks else YES), f"{gone}; {odd_name}" + (f", with {leaks}" if leaks else "")
