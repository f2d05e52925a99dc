import asyncio
import ssl
import sys

import aiohttp

url, pki = sys.argv[1:]
context = ssl.create_default_context(cafile=f"{pki}/ca.pem")
context.load_cert_chain(f"{pki}/prometheus.pem", f"{pki}/prometheus.key")


async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), raise_for_status=True) as session:
        for _ in range(2):
            async with session.get(url) as response:
                sys.stdout.write(await response.text())


asyncio.run(main())
