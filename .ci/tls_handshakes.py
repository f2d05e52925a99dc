"""A client of TLS that breaks RFC 8446 or RFC 5246 at one place, with tlslite-ng. .ci/tls_cases.py has the cases.

All later messages fit to the changed one. So a server that skips a check completes the handshake and serves.
"""

import collections
import contextlib
import socket

from tlslite.api import X509CertChain, parsePEMKey
from tlslite.constants import AlertDescription, ContentType, HandshakeType
from tlslite.errors import TLSAbruptCloseError, TLSRemoteAlert
from tlslite.handshakesettings import HandshakeSettings
from tlslite.keyexchange import KeyExchange
from tlslite.messages import Message
from tlslite.tlsconnection import TLSConnection

PATIENCE = 15
TLS_1_2, TLS_1_3 = (3, 3), (3, 4)
REQUEST = b"GET /node HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

SERVED = "served"

# `change` replaces messages of the client, `after` acts between the handshake and the request. If `harmless`, the client
# has proved who it is, and may be served.
Case = collections.namedtuple("Case", "what expected change after version certificate key ems harmless",
                              defaults=(None, None, TLS_1_3, "prometheus", "prometheus", True, False))  # fmt: skip


class OneWrite:
    """A socket that sends what was written when the client reads: the server then gets a whole flight at once."""

    def __init__(self, sock):
        self.sock, self.waiting = sock, b""

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def sendall(self, data):
        self.waiting += data

    def send(self, data):
        self.sendall(data)
        return len(data)

    def recv(self, size):
        waiting, self.waiting = self.waiting, b""
        # The server may have closed; its alert can still be read.
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(waiting)
        return self.sock.recv(size)


class Client(TLSConnection):
    def __init__(self, sock, change):
        self.wire, self.change = OneWrite(sock), change
        super().__init__(self.wire)

    def _sendMsg(self, msg, randomizeFirstBlock=True, update_hashes=True):
        for one in self.change(self, msg) if self.change else [msg]:
            yield from super()._sendMsg(one, randomizeFirstBlock, update_hashes)

    def put(self, *messages):
        """Sends messages as they are, outside of any transcript."""
        for message in messages:
            for _ in super()._sendMsg(message, update_hashes=False):
                pass

    def put_record(self, kind, data):
        """Sends a record without encryption."""
        self.wire.sendall(bytes([kind]) + b"\x03\x03" + len(data).to_bytes(2, "big") + data)


class Clients:
    """Connects to one server, with the certificates of one PKI."""

    def __init__(self, port, pki):
        self.port, self.pki, self.earlier = port, pki, {}

    def remember(self, _, message):
        self.earlier[type(message)] = message
        return [message]

    def run(self, case):
        """The bytes received over TLS, and how the connection ended."""
        chain, received = X509CertChain(), b""
        chain.parsePemList((self.pki / f"{case.certificate}.pem").read_text())
        key = parsePEMKey((self.pki / f"{case.key}.key").read_text(), private=True)
        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = case.version
        settings.useExtendedMasterSecret, settings.cipherNames = case.ems, ["aes128gcm"]
        # tlslite-ng would compress its certificate although the server did not offer that.
        settings.certificate_compression_send = settings.certificate_compression_receive = []
        with contextlib.closing(socket.create_connection(("127.0.0.1", self.port), PATIENCE)) as sock:
            client = Client(sock, case.change or (self.remember if case.expected == SERVED else None))
            client.private_key, client.earlier = key, self.earlier
            try:
                client.handshakeClientCert(chain, key, settings=settings, serverName="localhost", alpn=[b"http/1.1"])
                if case.after:
                    case.after(client)
                client.write(REQUEST)
                while piece := client.read():
                    received += piece
            except TLSRemoteAlert as alert:
                return received, AlertDescription.toStr(alert.description)
            except (TLSAbruptCloseError, ConnectionError):
                return received, "closed without an alert"
            except socket.timeout:
                return received, "still open"
        return received, "close_notify"


# Each of these returns an action: a function of the client and its message that returns what is sent in its place.


def same(_, message):
    return [message]


def nothing(*_):
    return []


def send(*messages):
    return lambda *_: messages


def plain_record(kind, data):
    """A record without encryption, which is in no transcript."""

    def act(client, _):
        client.put_record(kind, data)
        return []

    return act


def plain_again(client, message):
    """Sends a message once more, without encryption."""
    client.put_record(ContentType.handshake, bytes(message.write()))
    return []


def raw(data):
    return Message(ContentType.handshake, bytearray(data))


def handshake(kind, content=b""):
    return raw(bytes([kind]) + len(content).to_bytes(3, "big") + content)


def inner(kind, data=b""):
    """A record of any type in an encrypted one: the last byte that is not zero is its type (RFC 8446, section 5.2)."""
    return Message(0, bytearray(data + bytes([kind])))


def body(change):
    """The same message with another body, and with the length of that."""

    def act(_, message):
        data = bytes(message.write())
        return [handshake(data[0], change(data[4:]))]

    return act


def last_bit(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def cut(data):
    return data[:-1]


def longer(data):
    return data + b"\0"


def signature(change):
    """The same CertificateVerify with another signature, and with the length of that."""

    def act(data):
        signed = change(data[4:])
        return data[:2] + len(signed).to_bytes(2, "big") + signed

    return body(act)


def algorithm(number):
    """Names another signature algorithm. The signature is the same."""
    return body(lambda data: number.to_bytes(2, "big") + data[2:])


def signed(role=b"client", number=0x0403, transcript=lambda client: client._handshake_hash):
    """A CertificateVerify that is signed with the client's key."""

    def act(client, _):
        content = KeyExchange.calcVerifyBytes(TLS_1_3, transcript(client), divmod(number, 256), None, None, None, "sha256", role)
        # A signature of P-256 is over the first 256 bits of any hash.
        made = bytes(client.private_key.sign(content[:32], None, "sha256", None))
        return [handshake(HandshakeType.certificate_verify, number.to_bytes(2, "big") + len(made).to_bytes(2, "big") + made)]

    return act


def earlier(client, message):
    """The message of the last honest handshake."""
    return [client.earlier[type(message)]]


def at(kind, *actions):
    """Takes these actions in place of a message of this class. Other messages stay."""

    def change(client, message):
        for act in actions if isinstance(message, kind) else [same]:
            yield from act(client, message)

    return change


def both(first, second):
    """Two changes, of messages of different classes."""

    def change(client, message):
        for one in first(client, message):
            yield from second(client, one)

    return change


# Each of these returns what a client does between the handshake and its request.


def put(*messages):
    return lambda client: client.put(*messages)


def put_plain(kind, data):
    return lambda client: client.put_record(kind, data)


def key_updates(count, wants_answer=0):
    def act(client):
        for _ in range(count):
            for _ in client.send_keyupdate_request(wants_answer):
                pass

    return act


def patched(change):
    """Sends a record whose encrypted bytes were changed, header and all."""

    def act(client):
        before = len(client.wire.waiting)
        client.put(Message(ContentType.application_data, bytearray(REQUEST)))
        client.wire.waiting = client.wire.waiting[:before] + change(client.wire.waiting[before:])

    return act


def unfragmented(size):
    def act(client):
        for _ in client._recordLayer.sendRecord(Message(ContentType.application_data, bytearray(size))):
            pass

    return act
