import aiohttp.web
import prometheus_client

JOBS = prometheus_client.Counter("jobs", "Jobs done.")
JOBS.inc(3)


async def metrics(request):
    return aiohttp.web.Response(body=prometheus_client.generate_latest(), headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})


app = aiohttp.web.Application()
app.router.add_get("/metrics", metrics)
aiohttp.web.run_app(app, path="/run/aegis/services/aiohttp.sock")
