import os
import socketserver
import wsgiref.simple_server

import prometheus_client

SOCKET = "/run/aegis/services/prometheus-wsgi.sock"


class Server(socketserver.UnixStreamServer):
    def server_bind(self):
        super().server_bind()
        self.base_environ = {"SERVER_NAME": "unix", "SERVER_PORT": "0", "GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_HOST": "", "CONTENT_LENGTH": "", "SCRIPT_NAME": ""}

    def get_app(self):
        return prometheus_client.make_wsgi_app()


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    def __init__(self, request, client_address, server):
        super().__init__(request, ("unix", 0), server)


if os.path.exists(SOCKET):
    os.unlink(SOCKET)
Server(SOCKET, Handler).serve_forever()
