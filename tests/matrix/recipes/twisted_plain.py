import twisted.internet.endpoints
import twisted.internet.reactor
import twisted.web.resource
import twisted.web.server


class Metrics(twisted.web.resource.Resource):
    def render_GET(self, request):
        return b"jobs_total 3\n"


root = twisted.web.resource.Resource()
root.putChild(b"metrics", Metrics())
reactor = twisted.internet.reactor
endpoint = twisted.internet.endpoints.UNIXServerEndpoint(reactor, "/run/aegis/services/twisted-plain.sock", mode=0o660)
endpoint.listen(twisted.web.server.Site(root))
reactor.run()
