#!/usr/bin/env python3
"""Hostile services, and a scraper that scrapes each of them again and again.

tricks.py FOLDER PORT PKI SECONDS PAUSE: listens on FOLDER/hostile-NAME.sock for each trick below,
scrapes each with PAUSE seconds in between, and prints one JSON object: for each service, how many
scrapes ended with which status or error.
"""

import array
import collections
import contextlib
import ctypes
import http.client
import json
import os
import pty
import select
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).resolve().parents[2] / "tests/tools"))

import scraper
from fake_service import CHUNKED, OK, FakeService, endless, fixed, listen, read_head, response

WHOLE = response()
TIMEOUT = 1.0
TRICKS = {}
LISTENERS = {}


def trick(function):
    """Serves one connection whose request was read."""
    TRICKS[function.__name__] = function
    return function


def listener(function):
    """Serves one listening socket: called once, in a thread, with the path of the socket."""
    LISTENERS[function.__name__] = function
    return function


# Passed descriptors.

KEPT = []


def lingering():
    """A TCP socket that takes an hour to close: its send queue is full and its peer does not read."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        stream = socket.socket()
        for each, option in ((server, socket.SO_RCVBUF), (stream, socket.SO_SNDBUF)):
            each.setsockopt(socket.SOL_SOCKET, option, 4096)
        stream.connect(server.getsockname())
        KEPT.append(server.accept()[0])
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    stream.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            stream.send(bytes(65536))
    return stream.detach()


def full_pipe():
    read, write = os.pipe2(os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, bytes(4096))
    os.close(read)
    return write


def nested():
    """A socket that waits in a socket that waits in a socket."""
    inner = lingering()
    for _ in range(3):
        left, right = socket.socketpair(socket.AF_UNIX)
        pass_along(left, b"x", inner)
        os.close(inner)
        left.close()
        inner = right.detach()
    return inner


def cycle():
    """Two sockets, each in the queue of the other, with a slow one: the garbage collector of the kernel closes it."""
    left, right = socket.socketpair(socket.AF_UNIX)
    slow = lingering()
    pass_along(left, b"x", right.fileno(), slow)
    pass_along(right, b"x", left.fileno())
    close_in_thread(slow)
    right.close()
    return left.detach()


def inotify():
    return ctypes.CDLL(None).inotify_init1(0)


def timer():
    return ctypes.CDLL(None).timerfd_create(1, 0)


def terminal():
    controller, other = pty.openpty()
    os.write(other, bytes(2048))
    os.close(other)
    return controller


DESCRIPTORS = {
    "lingering": lingering,
    "full_pipe": full_pipe,
    "pipe": lambda: os.pipe()[0],
    "eventfd": lambda: os.eventfd(0),
    "epoll": lambda: select.epoll().detach() if hasattr(select.epoll, "detach") else os.dup(select.epoll().fileno()),
    "timer": timer,
    "memfd": lambda: os.memfd_create("hostile"),
    "pidfd": lambda: os.pidfd_open(os.getpid()),
    "directory": lambda: os.open("/", os.O_RDONLY | os.O_DIRECTORY),
    "device": lambda: os.open("/dev/zero", os.O_RDONLY),
    "terminal": terminal,
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(),
    "inotify": inotify,
    "nested": nested,
    "cycle": cycle,
}


def close_in_thread(descriptor):
    """Closes a descriptor in a thread, because that can take an hour."""
    threading.Thread(target=os.close, args=(descriptor,), daemon=True).start()


def pass_along(stream, data, *descriptors, flags=0):
    along = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    try:
        stream.sendmsg([data], along, flags | socket.MSG_NOSIGNAL)
    except PermissionError:
        # The kernel refuses to pass them.
        stream.sendall(data)


def passing(make, when):
    def serve(stream):
        descriptor = make()
        try:
            if when == "with":
                pass_along(stream, WHOLE, descriptor)
            else:
                stream.sendall(WHOLE)
                pass_along(stream, b"more", descriptor)
        finally:
            # Now aegis has the last descriptor. (If the kernel refused to pass it, this blocks the thread
            # for an hour.)
            os.close(descriptor)

    return serve


for name, make in DESCRIPTORS.items():
    TRICKS[f"passes_{name}"] = passing(make, "with")
for name in ("lingering", "nested", "cycle"):
    TRICKS[f"passes_{name}_after"] = passing(DESCRIPTORS[name], "after")


@trick
def passes_out_of_band(stream):
    descriptor = lingering()
    stream.sendall(WHOLE[:20])
    pass_along(stream, WHOLE[20:21], descriptor, flags=socket.MSG_OOB)
    with contextlib.suppress(OSError):
        stream.sendall(WHOLE[21:])
    os.close(descriptor)


@trick
def passes_253(stream):
    descriptor = lingering()
    pass_along(stream, WHOLE, *[descriptor] * 253)
    os.close(descriptor)


@trick
def passes_itself(stream):
    pass_along(stream, WHOLE, stream.fileno())


@trick
def passes_with_every_byte(stream):
    with open("/dev/null", "rb") as file:
        for at in range(len(WHOLE)):
            pass_along(stream, WHOLE[at : at + 1], file.fileno())


# Credentials and data out of band.


@trick
def credentials(stream):
    own = struct.pack("iii", os.getpid(), os.getuid(), os.getgid())
    for at in range(0, len(WHOLE), 7):
        stream.sendmsg([WHOLE[at : at + 7]], [(socket.SOL_SOCKET, 2, own)])


@trick
def asks_for_credentials(stream):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    stream.sendall(WHOLE)
    stream.recvmsg(4096, 4096)


@trick
def out_of_band_in_the_head(stream):
    stream.sendall(WHOLE[:9])
    stream.send(b"!", socket.MSG_OOB)
    stream.sendall(WHOLE[9:])


@trick
def out_of_band_only(stream):
    while True:
        stream.send(b"!", socket.MSG_OOB)
        time.sleep(0.001)


@trick
def out_of_band_in_the_body(stream):
    stream.sendall(OK + b"Content-Length: 4000\r\n\r\n")
    for _ in range(1000):
        stream.sendall(b"up\n")
        stream.send(b"!", socket.MSG_OOB)


# Orders of shutdown, and connections that stay open.


def steps(before, how, after, wait):
    """Sends something, shuts one or both directions down, sends more, and waits before it closes."""

    def serve(stream):
        stream.sendall(before)
        if how is not None:
            stream.shutdown(how)
        stream.sendall(after)
        time.sleep(wait)

    return serve


TRICKS |= {
    "shuts_reading_first": steps(b"", socket.SHUT_RD, WHOLE, 0),
    "shuts_writing_first": steps(b"", socket.SHUT_WR, b"", TIMEOUT * 2),
    "shuts_both": steps(b"", socket.SHUT_RDWR, b"", TIMEOUT * 2),
    "shuts_writing_in_the_middle": steps(OK + b"Content-Length: 100\r\n\r\nup 1\n", socket.SHUT_WR, b"", TIMEOUT * 2),
    "answers_and_stays": steps(WHOLE, socket.SHUT_WR, b"", TIMEOUT * 3),
    "breaks_off": fixed(CHUNKED + b"5\r\nup"),
    "silent": steps(b"", None, b"", TIMEOUT * 3),
    "closes_at_once": fixed(b""),
}


# Malformed and endless responses.

ENDLESS = {
    "smallest_chunks": (CHUNKED, b"1\r\nx\r\n" * 1000),
    "chunks": (CHUNKED, b"400\r\n" + b"x" * 1024 + b"\r\n"),
    "body": (OK + b"Content-Length: 18446744073709551615\r\n\r\n", b"x" * 65536),
    "interim_answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "zeros_of_a_chunk_size": (CHUNKED, b"0" * 4096),
    "chunk_extensions": (CHUNKED + b"1;", b"x" * 4096),
    "trailers": (CHUNKED + b"0\r\n", b"X: x\r\n" * 100),
    "headers": (OK, b"X: x\r\n" * 100),
    "one_header": (OK + b"X: ", b"x" * 4096),
    "reason": (b"HTTP/1.1 200 ", b"x" * 4096),
    "empty_lines": (b"", b"\r\n" * 1000),
    "bytes": (b"", bytes(range(256)) * 16),
}
for name, (head, piece) in ENDLESS.items():
    TRICKS[f"endless_{name}"] = endless(head, piece)
TRICKS["drips_a_head"] = endless(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.02)
TRICKS["drips_a_body"] = endless(OK + b"Content-Length: 100000\r\n\r\n", b"x", 0.02)
TRICKS["drips_chunks"] = endless(CHUNKED, b"1\r\nx\r\n", 0.02)


RESPONSES = {
    "a_lone_byte": b"H",
    "two_answers": WHOLE * 2,
    "much_more_than_its_length": WHOLE + bytes(1 << 20),
    "two_lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nup 1\n\n",
    "switching_protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + bytes(1000),
    "not_modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "http_0_9": b"up 1\n",
    "http_2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a_script": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nup 1\n",
    "an_error": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000000),
}
for name, data in RESPONSES.items():
    TRICKS[f"sends_{name}"] = fixed(data)


# Listening sockets.


def kept(backlog, kind=socket.SOCK_STREAM, then=lambda server: None):
    """A listener that accepts nothing."""

    def listening(path):
        server = listen(path, backlog, kind)
        then(server)
        KEPT.append(server)

    return listening


LISTENERS |= {
    "never_accepts": kept(0),
    "does_not_listen": kept(None),
    "is_shut_down": kept(4, then=lambda server: server.shutdown(socket.SHUT_RDWR)),
    "is_of_packets": kept(4, socket.SOCK_SEQPACKET),
    "is_of_datagrams": kept(None, socket.SOCK_DGRAM),
}


@listener
def accepts_slowly(path):
    server = listen(path, 0)
    while True:
        time.sleep(0.3)
        stream, _ = server.accept()
        with stream, contextlib.suppress(OSError):
            stream.sendall(WHOLE)


@listener
def is_replaced_again_and_again(path):
    while True:
        with listen(path, 4):
            time.sleep(0.02)


@listener
def becomes_a_link(path):
    target = f"{path}.target"
    while True:
        with listen(path, 4):
            time.sleep(0.02)
            with contextlib.suppress(FileExistsError):
                os.symlink("/run/systemd/notify", target)
            os.rename(target, path)
            time.sleep(0.02)


def in_a_child(serve):
    child = os.fork()
    if child:
        KEPT.append(child)
        return child
    try:
        serve()
    finally:
        os._exit(0)


def answer_whole(stream):
    with stream, contextlib.suppress(OSError):
        stream.settimeout(TIMEOUT * 3)
        read_head(stream)
        stream.sendall(WHOLE)


@listener
def is_served_by_another_process(path):
    server = listen(path, 4)

    def serve():
        while True:
            answer_whole(server.accept()[0])

    in_a_child(serve)
    server.close()


@listener
def is_of_a_stopped_process(path):
    server = listen(path, 4)
    child = in_a_child(signal.pause)
    os.kill(child, signal.SIGSTOP)
    KEPT.append(server)


@listener
def hands_connections_to_another_process(path):
    server = listen(path, 4)
    left, right = socket.socketpair(socket.AF_UNIX)

    def serve():
        while True:
            for descriptor in socket.recv_fds(right, 1, 1)[1]:
                answer_whole(socket.socket(fileno=descriptor))

    in_a_child(serve)
    while True:
        stream, _ = server.accept()
        with stream:
            socket.send_fds(left, [b"x"], [stream.fileno()])


def scrape(name, port, tls, stop, pause, ended):
    while not stop.is_set():
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT * 4, context=tls)
        try:
            connection.request("GET", f"/hostile-{name}", headers={"X-Prometheus-Scrape-Timeout-Seconds": str(TIMEOUT)})
            answer = connection.getresponse()
            while answer.read(65536):
                pass
            how = f"{answer.status} {answer.headers.get('Aegis-Reason', '')}".strip()
        except (OSError, http.client.HTTPException) as error:
            how = type(error).__name__
        finally:
            connection.close()
        ended[name][how] += 1
        stop.wait(pause)


def main():
    folder, port, pki, seconds, pause = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Before threads start, because some of these fork.
    names = [*LISTENERS, *TRICKS]
    stop, ended = threading.Event(), collections.defaultdict(collections.Counter)
    try:
        for name, listening in LISTENERS.items():
            threading.Thread(target=listening, args=(f"{folder}/hostile-{name}.sock",), daemon=True).start()
        for name, one in TRICKS.items():
            FakeService(f"{folder}/hostile-{name}.sock", one)
        while any(not os.path.lexists(f"{folder}/hostile-{name}.sock") for name in names):
            time.sleep(0.02)
        print("ready", flush=True)
        arguments = (int(port), scraper.tls(pki), stop, float(pause), ended)
        scrapers = [threading.Thread(target=scrape, args=(name, *arguments)) for name in names]
        for thread in scrapers:
            thread.start()
            time.sleep(float(pause) / len(names))
        stop.wait(float(seconds))
        stop.set()
        for thread in scrapers:
            thread.join()
        print(json.dumps({name: ended[name] for name in names}), flush=True)
    finally:
        for child in KEPT:
            if isinstance(child, int):
                os.kill(child, signal.SIGKILL)
        # Does not wait for sockets that take an hour to close.
        os._exit(0)


main()
