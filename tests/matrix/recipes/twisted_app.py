import prometheus_client
import twisted.internet.endpoints
import twisted.internet.reactor
import twisted.web.resource
import twisted.web.server

JOBS = prometheus_client.Counter("jobs", "Jobs done.")
JOBS.inc(3)


class Metrics(twisted.web.resource.Resource):
    def render_GET(self, request):
        request.setHeader("Content-Type", prometheus_client.CONTENT_TYPE_LATEST)
        return prometheus_client.generate_latest()


root = twisted.web.resource.Resource()
root.putChild(b"metrics", Metrics())
reactor = twisted.internet.reactor
endpoint = twisted.internet.endpoints.UNIXServerEndpoint(reactor, "/run/aegis/services/twisted.sock", mode=0o660)
endpoint.listen(twisted.web.server.Site(root))
reactor.run()
