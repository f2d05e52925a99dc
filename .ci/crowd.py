#!/usr/bin/env python3
"""Crowds aegis with connections of strangers, for .ci/faults.

crowd.py silent ADDRESS:PORT COUNT   keeps so many open that say nothing; anew if they are closed
crowd.py halfway ADDRESS:PORT COUNT  opens so many, from many addresses, each with a handshake that never ends

Says "there" once they are, and leaves when its input ends.
"""
import select
import socket
import struct
import sys


def connect(address, number):
    stream = socket.socket()
    # Fifty of each address of this host, which is fewer than one may have.
    stream.bind((f"127.0.1.{1 + number // 50}", 0))
    stream.setblocking(False)
    stream.connect_ex(address)
    return stream


def hello(size):
    """A hello of 60,000 bytes, as far as this size, in records."""
    message = b"\x01\x00\xea\x60" + bytes(size - 4)
    pieces = (message[at : at + 16000] for at in range(0, size, 16000))
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(piece)) + piece for piece in pieces)


def keep(address, count):
    """Keeps them open until the input ends. Closed ones are opened anew, a few at a time."""
    crowd = {number: connect(address, 0) for number in range(count)}
    print("there", flush=True)
    while True:
        known = {stream: number for number, stream in crowd.items()}
        readable, _, _ = select.select([sys.stdin, *known], [], [], 1)
        if sys.stdin in readable:
            return
        for stream in readable[:20]:
            stream.close()
            crowd[known[stream]] = connect(address, 0)


def halfway(address, count):
    crowd = [connect(address, number) for number in range(count)]
    bytes_of_each = hello(65000)
    # A piece of each in turn, so that what one outgrows lies between what others hold.
    for at in range(0, len(bytes_of_each), 4000):
        for stream in crowd:
            stream.settimeout(5)
            try:
                stream.sendall(bytes_of_each[at : at + 4000])
            except OSError:
                pass
    print("there", flush=True)
    sys.stdin.read()


def main():
    deed = {"silent": keep, "halfway": halfway}[sys.argv[1]]
    host, port = sys.argv[2].rsplit(":", 1)
    deed((host, int(port)), int(sys.argv[3]))


main()
