"""Bytes that are not TLS, and addresses that are not admitted."""

import contextlib
import os
import socket
import struct

from endpoint import until_closed
from verdict import NO, WEAKER, YES, Check, Untried, shown_bytes

GROUP = "Before TLS"
PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11" + struct.pack("!H4s4sHH", 12, bytes([192, 0, 2, 7]), bytes([192, 0, 2, 1]), 4711, 443)


def checks(endpoint):
    plain = endpoint.request()
    in_clear = [
        ("HTTP without TLS", plain),
        ("HTTP/2 without TLS", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("random bytes", b"\x99" + os.urandom(1023)),
        ("zeros", bytes(2048)),
        ("an SSH greeting", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("an SSL 2 hello", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(37)),
        ("a TLS record of 65535 bytes", b"\x16\x03\x01\xff\xff" + bytes(70000)),
        ("a TLS record of another type", b"\x17\x03\x03\x00\x20" + bytes(32)),
        ("a handshake message of 16 MiB", b"\x16\x03\x01\x00\x04\x01\xff\xff\xff" + b"\x16\x03\x01\x40\x00" + bytes(16384) * 3),
        ("an alert at once", b"\x15\x03\x01\x00\x02\x02\x28"),
    ]
    return [
        *(
            Check(GROUP, what, "at most a TLS alert, closed in time", lambda sent=sent: closed(endpoint, sent), waits=True)
            for what, sent in in_clear
        ),
        Check(GROUP, "a PROXY preamble (v1), then a good scrape", "refused", lambda: preamble(endpoint, b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n")),
        Check(GROUP, "a PROXY preamble (v2), then a good scrape", "refused", lambda: preamble(endpoint, PROXY_V2)),
        Check(GROUP, "an address that is not admitted", "reset before any byte of TLS", lambda: unlisted(endpoint)),
    ]  # fmt: skip


def closed(endpoint, sent):
    with contextlib.closing(endpoint.connect()) as stream:
        with contextlib.suppress(OSError):
            stream.sendall(sent)
        data, ended, _ = until_closed(stream, endpoint.handshake_deadline + 1)
    clear = data and data[:2] != b"\x15\x03"
    observed = f"{shown_bytes(data)}, {ended}" if clear else f"a TLS alert, {ended}" if data else ended
    return (NO if clear or ended == "still open" else YES), observed


def preamble(endpoint, before):
    seen = endpoint.ask(endpoint.request(), before=before)
    if seen.served:
        return NO, str(seen)
    return (WEAKER if seen.data else YES), str(seen)


def unlisted(endpoint):
    source = endpoint.options.unlisted
    if not source:
        raise Untried("no --unlisted address")
    try:
        stream = endpoint.connect(source)
    except ConnectionError:
        return YES, "reset"
    with contextlib.closing(stream):
        data, ended, _ = until_closed(stream, 1)
        if ended != "still open":
            return (NO if data else YES if ended == "reset" else WEAKER), ended
        # The endpoint waits for TLS. Does it answer?
        stream.settimeout(5)
        context = endpoint.context()
        try:
            with context.wrap_socket(stream, server_hostname=endpoint.server_name) as over:
                seen = endpoint.exchange(over, endpoint.request())
        except (OSError, socket.timeout) as error:
            return WEAKER, f"TLS begun, then {error}"
    return (NO if seen.served else WEAKER), f"TLS made, then {seen}"
