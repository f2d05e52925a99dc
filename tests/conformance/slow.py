"""Slow scrapers: each is disconnected by the deadline of the endpoint."""

import contextlib
import os
import ssl
import time

from endpoint import dripping, until_closed
from verdict import NO, YES, Check

GROUP = "Slow scrapers"
# A second for a busy machine.
GRACE = 1


def checks(endpoint):
    hello = client_hello(endpoint)
    first, rest = hello[:40], hello[40:]

    def handshake(what, at_once, bit_by_bit=b""):
        expected = f"closed within {endpoint.handshake_deadline + GRACE:g} s"
        return Check(GROUP, what, expected, lambda: before_tls(endpoint, at_once, bit_by_bit), waits=True)

    def head(what, at_once, bit_by_bit=b""):
        expected = f"closed within {endpoint.head_deadline + GRACE:g} s"
        return Check(GROUP, what, expected, lambda: in_head(endpoint, at_once, bit_by_bit), waits=True)

    return [
        handshake("silence", b""),
        handshake("half of a ClientHello", first),
        handshake("a ClientHello, then silence", hello),
        handshake("a ClientHello byte by byte", b"", first + rest),
        handshake("empty TLS records, one after the other", first, b"\x16\x03\x01\x00\x00" * 400),
        head("half of a head", endpoint.request()[:-10]),
        head("a head byte by byte", b"", endpoint.request(headers=["X-Odd: " + "x" * 8000])),
        head("one header after the other", endpoint.request()[:-2], b"X-Odd: 1\r\n" * 500),
    ]


def client_hello(endpoint):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = endpoint.context().wrap_bio(incoming, outgoing, server_hostname=endpoint.server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def before_tls(endpoint, at_once, bit_by_bit):
    # Each gets its own random value, so that the endpoint computes a key exchange.
    at_once = at_once[:11] + os.urandom(32) + at_once[43:] if len(at_once) > 43 else at_once
    with contextlib.closing(endpoint.connect()) as stream:
        stream.sendall(at_once)
        stop = dripping(stream, bit_by_bit, 0.2)
        _, ended, after = until_closed(stream, endpoint.handshake_deadline + GRACE)
        stop()
    return (NO if ended == "still open" else YES), f"{ended} after {after:.1f} s"


def in_head(endpoint, at_once, bit_by_bit):
    with contextlib.closing(endpoint.open()) as stream:
        stop = dripping(stream, bit_by_bit, 0.1)
        begun = time.monotonic()
        seen = endpoint.exchange(stream, at_once, patience=endpoint.head_deadline + GRACE)
        stop()
        after = time.monotonic() - begun
    return (YES if seen.closed and not seen.served else NO), f"{seen} after {after:.1f} s"
