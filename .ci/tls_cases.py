"""The handshakes and connections that .ci/tls_tools.py tries, and the alert that must end each."""

from tls_handshakes import (
    REQUEST, SERVED, TLS_1_2, TLS_1_3, Case, algorithm, at, body, both, cut, earlier, handshake, inner, key_updates, last_bit, longer, nothing,
    patched, plain_again, plain_record, put, put_plain, raw, same, send, signature, signed, unfragmented,
)  # fmt: skip
from tlslite.constants import ContentType, HandshakeType
from tlslite.messages import Certificate, CertificateVerify, ChangeCipherSpec, ClientHello, ClientKeyExchange, Finished, Message

# Alerts that the RFC requires. Where it names none, any alert is right, and so is closing.
MAC, OVERFLOW, DECODE, DECRYPT = {"bad_record_mac"}, {"record_overflow"}, {"decode_error"}, {"decrypt_error"}
ILLEGAL, UNEXPECTED, REQUIRED, BAD = {"illegal_parameter"}, {"unexpected_message"}, {"certificate_required"}, {"bad_certificate"}
HANDSHAKE, ALGORITHM, SYNTAX = {"handshake_failure"}, ILLEGAL | DECRYPT, DECODE | BAD
ANY = None

# Certificate of RFC 8446: the request's context, then a list of certificates with their extensions.
NO_CERTIFICATES = handshake(HandshakeType.certificate, bytes(4))
GARBAGE = handshake(HandshakeType.certificate, b"\0" + b"\0\0\x0d" + b"\0\0\x08" + b"\x30\x06garbag" + bytes(2))
CHANGE_CIPHER_SPEC, ALERT, DATA = ContentType.change_cipher_spec, ContentType.alert, ContentType.application_data
EARLY = Message(DATA, bytearray(REQUEST))


def certificate_verify(version):
    """Cases that TLS 1.2 and 1.3 share."""

    def case(what, expected, *actions, **more):
        return Case(f"CertificateVerify: {what}", expected, at(CertificateVerify, *actions), version=version, **more)

    return [
        case("one wrong bit", DECRYPT, signature(last_bit)),
        case("signed by another key", DECRYPT, same, key="stranger"),
        case("that of an earlier handshake", DECRYPT, earlier),
        case("an empty signature", DECRYPT, signature(lambda _: b"")),
        case("an algorithm of RSA", ALGORITHM, algorithm(0x0804)),
        case("Ed25519", ALGORITHM, algorithm(0x0807)),
        case("SHA-1, which was not offered", ALGORITHM, algorithm(0x0203)),
        case("an unknown algorithm", ALGORITHM, algorithm(0xFEFE)),
        case("a byte less", DECODE, body(cut)),
        case("a byte more", DECODE, body(longer)),
        case("no content", DECODE, body(lambda _: b"")),
        case("missing", UNEXPECTED, nothing),
        case("twice", UNEXPECTED, same, same),
    ]


def finished(version):
    def case(what, expected, *actions):
        return Case(f"Finished: {what}", expected, at(Finished, *actions), version=version)

    return [
        case("one wrong bit", DECRYPT, body(last_bit)),
        case("that of an earlier handshake", DECRYPT, earlier),
        case("a byte less", ANY, body(cut)),
        case("a byte more", ANY, body(longer)),
        case("no content", ANY, body(lambda _: b"")),
        case("missing", ANY, nothing),
        case("before it, data", UNEXPECTED, send(EARLY), same),
    ]


def cases():
    return [
        Case("an honest scrape", SERVED),
        Case("an honest scrape with one KeyUpdate", SERVED, after=key_updates(1)),
        *certificate_verify(TLS_1_3),
        Case("CertificateVerify: signed as a server", DECRYPT, at(CertificateVerify, signed(role=b"server"))),
        Case("CertificateVerify: SHA-384 with a key of P-256", ALGORITHM, at(CertificateVerify, signed(number=0x0503))),
        Case("CertificateVerify: over a transcript without the certificate", DECRYPT, both(
            at(Certificate, lambda client, message: setattr(client, "transcript", client._handshake_hash.copy()) or [message]),
            at(CertificateVerify, signed(transcript=lambda client: client.transcript)))),
        Case("Certificate: missing, and CertificateVerify too", UNEXPECTED, at((Certificate, CertificateVerify), nothing)),
        Case("Certificate: missing", UNEXPECTED, at(Certificate, nothing)),
        Case("Certificate: none", REQUIRED, at(Certificate, send(NO_CERTIFICATES))),
        Case("Certificate: none, and no CertificateVerify", REQUIRED, both(
            at(Certificate, send(NO_CERTIFICATES)), at(CertificateVerify, nothing))),
        Case("Certificate: twice", UNEXPECTED, at(Certificate, same, same)),
        Case("Certificate: the server's own", ANY, certificate="server", key="server"),
        Case("Certificate: the client CA's, with the scraper's key", ANY, certificate="ca"),
        Case("Certificate: an empty one", SYNTAX, at(Certificate, send(handshake(HandshakeType.certificate, b"\0\0\0\5" + bytes(5))))),
        Case("Certificate: not a certificate", BAD, at(Certificate, send(GARBAGE))),
        Case("Certificate: a byte less", DECODE, at(Certificate, body(cut))),
        Case("Certificate: a byte more", DECODE, at(Certificate, body(longer))),
        Case("Certificate: with the context of another request", ANY, at(Certificate, body(lambda data: b"\1x" + data[1:]))),
        Case("Certificate: of 16 MiB", ANY, at(Certificate, send(raw(b"\x0b\xff\xff\xff" + bytes(30000))))),
        Case("Certificate: compressed, which was not offered", UNEXPECTED, at(Certificate, send(handshake(25, b"\0\1" + b"\0\0\1" * 2 + b"x")))),
        Case("Certificate: after Finished", UNEXPECTED, after=put(NO_CERTIFICATES)),
        Case("CertificateVerify before Certificate", UNEXPECTED, at(Certificate, signed(), same)),
        *finished(TLS_1_3),
        Case("Finished: before Certificate", UNEXPECTED, at(Certificate, send(handshake(HandshakeType.finished, bytes(32))), same)),
        Case("Finished: twice", ANY, at(Finished, same, same)),
        Case("Finished: again after the handshake", UNEXPECTED, after=put(handshake(HandshakeType.finished, bytes(32)))),
        Case("Finished: with the begin of another message in its record", UNEXPECTED, at(
            Finished, lambda _, message: [raw(bytes(message.write()) + b"\1\0\0")])),
        Case("ClientHello: twice", ANY, at(ClientHello, same, plain_again)),
        Case("data right after ClientHello", ANY, at(ClientHello, same, plain_record(DATA, REQUEST))),
        Case("data before Certificate", UNEXPECTED, at(Certificate, send(EARLY), same)),
        Case("EndOfEarlyData", UNEXPECTED, at(Certificate, send(handshake(5)), same)),
        *records(),
        *after_the_handshake(),
        *tls_1_2(),
    ]  # fmt: skip


def records():
    return [
        Case("a record: changed", MAC, after=patched(last_bit)),
        Case("a record: of another version", ANY, after=patched(lambda data: data[:1] + b"\5\0" + data[3:])),
        Case("a record: of 2^14 + 1 bytes", OVERFLOW, after=unfragmented(2**14 + 1)),
        Case("a record: longer than any", OVERFLOW, after=unfragmented(2**14 + 300)),
        Case("a record: without encryption", ANY, after=put_plain(DATA, REQUEST)),
        Case("a record: without a type", UNEXPECTED, after=put(inner(0))),
        Case("a record: of an unknown type", UNEXPECTED, after=put(inner(99, b"x"))),
        Case("a record: an empty handshake message", UNEXPECTED, after=put(inner(22)), harmless=True),
        Case("a record: an empty handshake message before Finished", UNEXPECTED, at(Finished, send(inner(22)), same), harmless=True),
        Case("a record: an empty alert", UNEXPECTED, after=put(inner(21))),
        Case("ChangeCipherSpec: another value", UNEXPECTED, at(Certificate, plain_record(CHANGE_CIPHER_SPEC, b"\2"), same)),
        Case("ChangeCipherSpec: encrypted", UNEXPECTED, at(Certificate, send(inner(20, b"\1")), same)),
        Case("ChangeCipherSpec: after Finished", UNEXPECTED, after=put_plain(CHANGE_CIPHER_SPEC, b"\1")),
        Case("ChangeCipherSpec: a flood", ANY, at(Certificate, *[plain_record(CHANGE_CIPHER_SPEC, b"\1")] * 64, same)),
        Case("warnings: a flood", ANY, after=put(*[inner(ALERT, b"\1\x5a")] * 64)),
    ]


def after_the_handshake():
    def case(what, kind, expected=UNEXPECTED, content=b""):
        return Case(f"after the handshake: {what}", expected, after=put(handshake(kind, content)))

    return [
        Case("KeyUpdate: a flood", ANY, after=key_updates(64)),
        Case("KeyUpdate: a flood that wants answers", ANY, after=key_updates(64, wants_answer=1)),
        Case("KeyUpdate: before Finished", UNEXPECTED, at(Finished, send(handshake(HandshakeType.key_update, b"\0")), same)),
        case("a KeyUpdate with another value", HandshakeType.key_update, ILLEGAL, b"\2"),
        case("a KeyUpdate without content", HandshakeType.key_update, DECODE),
        case("ClientHello (renegotiation)", HandshakeType.client_hello, UNEXPECTED, b"\3\3" + bytes(32) + b"\0\0\2\x13\1\1\0\0\0"),
        case("HelloRequest", HandshakeType.hello_request),
        case("NewSessionTicket", HandshakeType.new_session_ticket, UNEXPECTED, bytes(8) + b"\0\0\1x\0\0"),
        case("CertificateRequest", HandshakeType.certificate_request, UNEXPECTED, b"\0\0\0"),
        case("an unknown message", 99),
    ]


def tls_1_2():
    def case(what, expected, *actions, **more):
        return Case(what, expected, *actions, version=TLS_1_2, **more)

    return [
        case("an honest scrape", SERVED),
        *certificate_verify(TLS_1_2),
        *finished(TLS_1_2),
        case("Certificate: missing", UNEXPECTED, at(Certificate, nothing)),
        case("Certificate: none", ANY, at(Certificate, send(handshake(HandshakeType.certificate, bytes(3))))),
        case("Certificate: none, and no CertificateVerify", ANY, both(
            at(Certificate, send(handshake(HandshakeType.certificate, bytes(3)))), at(CertificateVerify, nothing))),
        case("ClientKeyExchange: missing", UNEXPECTED, at(ClientKeyExchange, nothing)),
        case("ClientKeyExchange: not a point of the curve", ANY, at(ClientKeyExchange, body(lambda data: data[:1] + bytes(len(data) - 1)))),
        case("ChangeCipherSpec: missing", ANY, at(ChangeCipherSpec, nothing)),
        case("ChangeCipherSpec: before ClientKeyExchange", UNEXPECTED, at(ClientKeyExchange, plain_record(CHANGE_CIPHER_SPEC, b"\1"), same)),
        case("without Extended Master Secret", HANDSHAKE, ems=False),
        case("renegotiation", ANY, after=put(*[handshake(HandshakeType.client_hello, bytes(40))] * 4)),
    ]  # fmt: skip
