#!/usr/bin/env python3
"""A fake service: listens on a Unix socket, reads the head of each request, and sends the given answer.

usage: fake_service.py MODE[=NUMBER] SOCKET...

    fixed        200 with a few metrics              sized=BYTES    200 with a body of that size
    silent       no answer                           stalled        a head and a part of the body
    dripping     a body that comes byte by byte      endless        a body of chunks without end

Prints `asked` for each request. The service runs until the process is ended.
"""

import contextlib
import os
import socket
import sys
import threading
import time

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
METRICS = b"".join(b'fake_jobs_total{number="%d"} %d\n' % (number, number) for number in range(200))


def response(body=b"up 1\n", status="200 OK", kind="text/plain; version=0.0.4"):
    """A complete response with its length."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


# Each of these returns an answer: a function of the stream, called after a request was read.


def fixed(data):
    return lambda stream: stream.sendall(data)


def stalled(data=b""):
    """Sends a part of a response, or nothing, and then waits until the client closes."""

    def answer(stream):
        stream.sendall(data)
        stream.recv(1)

    return answer


def endless(head, piece, pause=0.0):
    def answer(stream):
        stream.sendall(head)
        while True:
            stream.sendall(piece)
            time.sleep(pause)

    return answer


MODES = {
    "fixed": lambda _: fixed(response(METRICS)),
    "sized": lambda size: fixed(response(b"#" * int(size))),
    "silent": lambda _: stalled(),
    "stalled": lambda _: stalled(response(METRICS)[:600]),
    "dripping": lambda _: endless(OK + b"Content-Length: 1000000\r\n\r\n", b"x", 0.02),
    "endless": lambda _: endless(CHUNKED, b"400\r\n" + b"x" * 1024 + b"\r\n"),
}


def listen(path, backlog=256, kind=socket.SOCK_STREAM, rename=True):
    """A bound socket that replaces any file at the path in one step: no client sees it before it listens."""
    listener, new = socket.socket(socket.AF_UNIX, kind), f"{path}.new" if rename else str(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    listener.bind(new)
    os.chmod(new, 0o777)
    if backlog is not None:
        listener.listen(backlog)
    if rename:
        os.rename(new, path)
    return listener


def abandon(path):
    """Leaves a socket whose process has gone."""
    listen(path).close()


def read_head(stream):
    """The head of a request; empty if the client closed before its end."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = stream.recv(65536)
        if not piece:
            return b""
        head += piece
    return head


class FakeService:
    """Runs in threads of this process. `answer` is a response, or a function that is called with the stream."""

    def __init__(self, path, answer=None, **how):
        self.path, self.listener = path, listen(path, **how)
        self.answer = answer if callable(answer) else fixed(response() if answer is None else answer)
        self.connections, self.requests, self.closed = 0, [], False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while not self.closed:
                stream, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        with stream, contextlib.suppress(OSError):
            stream.settimeout(60)
            if head := read_head(stream):
                self.head_received(head)
                self.answer(stream)

    def head_received(self, head):
        """Keeps the last requests."""
        self.requests = [*self.requests[-99:], head]

    def close(self, unlink=True):
        self.closed = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if unlink:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def main():
    mode, _, number = sys.argv[1].partition("=")
    FakeService.head_received = lambda *_: print("asked", flush=True)
    for path in sys.argv[2:]:
        FakeService(path, MODES[mode](number))
    threading.Event().wait()


if __name__ == "__main__":
    main()
