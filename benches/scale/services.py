"""The services of the fleet: 10 KiB and 100 series each, from one program."""

import asyncio
import contextlib
import time

SERIES = 100


def serve(sockets, ready):
    """Serves on all of these sockets until it is killed."""
    lines = [f'requests_handled_total{{method="GET",handler="/api/v1/objects/{n:04}",code="200",instance_kind="web"}}'.ljust(96) for n in range(SERIES)]

    async def answer(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            now = int(time.time())
            body = "# TYPE requests_handled_total counter\n" + "".join(f"{line} {now + n}\n" for n, line in enumerate(lines))
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write((head + body).encode())
            await writer.drain()
        writer.close()

    async def run():
        for path in sockets:
            await asyncio.start_unix_server(answer, path)
        ready.set()
        await asyncio.Event().wait()

    asyncio.run(run())
