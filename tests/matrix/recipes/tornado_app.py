import asyncio

import prometheus_client
import tornado.httpserver
import tornado.netutil
import tornado.web

JOBS = prometheus_client.Counter("jobs", "Jobs done.")
JOBS.inc(3)


class Metrics(tornado.web.RequestHandler):
    def get(self):
        self.write(prometheus_client.generate_latest())


async def main():
    server = tornado.httpserver.HTTPServer(tornado.web.Application([("/metrics", Metrics)]))
    server.add_socket(tornado.netutil.bind_unix_socket("/run/aegis/services/tornado.sock", mode=0o660))
    await asyncio.Event().wait()


asyncio.run(main())
